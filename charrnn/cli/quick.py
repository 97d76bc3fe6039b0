"""Commands that start at once: their options are read without pydantic.

It knows how typer keeps the reader of an option's value, nothing of any command.
"""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

# typer reads values through pydantic, and importing that would be a quarter of the time from the shell to a thousand
# characters. A typer that keeps its readers elsewhere ignores ours and uses its own.


class QuickGroup(TyperGroup):
    """A group of commands whose own parameters are flags."""

    def get_params(self, ctx: Any) -> Any:
        return _read_plainly(super().get_params(ctx))


class QuickCommand(TyperCommand):
    """A command whose parameters are str, int, float or bool."""

    def get_params(self, ctx: Any) -> Any:
        return _read_plainly(super().get_params(ctx))


def _read_plainly(parameters: Any) -> Any:
    for parameter in parameters:
        descriptor = vars(parameter).get("type_descriptor")
        if descriptor is not None:
            vars(parameter)["_runtime_param"] = _Reader(descriptor.annotation)
    return parameters


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
            wanted = "a whole number" if self.kind is int else "a number"
            raise typer.BadParameter(f"{value!r} is not {wanted}", ctx=ctx, param=param) from None
