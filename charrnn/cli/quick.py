"""Commands that start at once: their options are read without pydantic.

It knows how typer keeps the reader of an option's value, nothing of any command.
"""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperCommand


class QuickCommand(TyperCommand):
    """A typer command whose parameters are plain str, int, float and bool, each optional.

    typer reads values through pydantic, and importing that would be a quarter of the time from the shell to a
    thousand characters.
    """

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        for parameter in self.params:
            descriptor = vars(parameter).get("type_descriptor")
            if descriptor is not None:
                vars(parameter)["_runtime_param"] = _Reader(descriptor.annotation)


NAMES: dict[type, str] = {int: "a whole number", float: "a number"}


class _Reader:
    """Reads one parameter's value: the `coerce` that typer calls."""

    def __init__(self, kind: type) -> None:
        self.kind = kind

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        if value is None or isinstance(value, self.kind):
            return value
        try:
            return self.kind(value)
        except ValueError:
            message = f"{value!r} is not {NAMES.get(self.kind, 'valid')}"
            raise typer.BadParameter(message, ctx=ctx, param=param) from None
