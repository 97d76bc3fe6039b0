"""How things are spelled on the command line: an option of the library with its type and its help, a whole command.

It knows names and types, not what any option or command does.
"""

from __future__ import annotations

import inspect
import shlex
import types
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal, Optional, Union, get_args, get_origin

import typer


def parameter(
    name: str, annotation: Any, *, help: str = "", panel: str | None = None, hidden: bool = False
) -> inspect.Parameter:
    """A keyword that typer reads from --NAME (with hyphens) and that is None unless it is given."""
    kind, choices = value_type(annotation)
    option = typer.Option(
        "--" + name.replace("_", "-"),
        help=help,
        metavar="|".join(choices) if choices else None,
        rich_help_panel=panel,
        hidden=hidden,
    )
    optional: Any = Optional[kind]  # noqa: UP045 (kind is a value here)
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[optional, option])


def value_type(annotation: Any) -> tuple[type, tuple[str, ...]]:
    """The type a word on the command line is read as, and the words to choose from where there are but a few."""
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        members = [member for member in get_args(annotation) if member is not type(None)]
        return value_type(members[0]) if len(members) == 1 else (str, ())
    if origin is Annotated:
        return value_type(get_args(annotation)[0])
    if origin is Literal:
        return str, get_args(annotation)
    return (annotation if annotation in (int, float, bool) else str), ()


def with_options(command: Callable[..., None], options: Iterable[inspect.Parameter]) -> Callable[..., None]:
    """`command` with `options` in the place of its **keywords, for typer to read."""
    signature = inspect.signature(command, eval_str=True)
    named = [each for each in signature.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
    command.__signature__ = signature.replace(parameters=[*named, *options])  # type: ignore[attr-defined]
    return command


def command(*words: str) -> str:
    """What to type for `charrnn` and these words."""
    return shlex.join(["charrnn", *words])
