"""What a request asks for, taken strictly: a name that is not known or a value that cannot be is told, by its name.

It knows what values look like in an address and in JSON. It does not know what they are for.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from tornado.httputil import HTTPServerRequest

from charrnn import choices
from charrnn.errors import InvalidOptions
from charrnn_server import contract

#: makes of a value what is worked with, or raises ValueError with what would be right: "must be …"
Reader: TypeAlias = Callable[[Any], Any]

LARGEST = 2**53  # of whole numbers that every program reads as they are written
_JUPYTERS = frozenset({"token", "_xsrf", "no_track_activity"})  # parameters that Jupyter reads
_MODEL_ID = re.compile("[0-9a-hjkmnp-tv-z]{26}")
BUDGETS = ("minutes", "max_steps", "max_epochs")
_FEW = 8  # names that are worth being told all of them
_TYPES = {
    "integer": "a whole number", "number": "a number", "boolean": "true or false", "string": "text", "array": "a list",
}  # fmt: skip


def query(request: HTTPServerRequest, **readers: Reader) -> dict[str, Any]:
    """The parameters of the address that were given. Raises InvalidOptions."""
    given, problems = _parameters(request)
    return _taken(given, readers, "parameter", problems)


def parameters(request: HTTPServerRequest) -> dict[str, str]:
    """All parameters of the address as they stand there, whatever their names are. Raises InvalidOptions."""
    given, problems = _parameters(request)
    _refuse(problems)
    return given


def _parameters(request: HTTPServerRequest) -> tuple[dict[str, str], dict[str, str]]:
    """The parameters of the address, but for Jupyter's, and what is wrong with others."""
    given: dict[str, str] = {}
    problems = {}
    for raw_name, values in request.query_arguments.items():
        name = raw_name.encode("latin-1").decode("utf-8", "replace")
        if name in _JUPYTERS:
            continue
        try:
            (given[name],) = [value.decode("utf-8") for value in values]
        except UnicodeDecodeError:
            problems[name] = "is not UTF-8"
        except ValueError:
            problems[name] = f"given {len(values)} times; once is enough"
    return given, problems


def body(document: Mapping[str, Any], *required: str, **readers: Reader) -> dict[str, Any]:
    """The members of a JSON object that were given; those that are `required` must be. Raises InvalidOptions."""
    return _taken(document, readers, "field", {name: "is needed" for name in required if name not in document})


def training_options(document: Mapping[str, Any], *also: str) -> dict[str, Any]:
    """Training options from a JSON object, as they were given: names, types and ranges are right.

    No file of this machine can be named among them. `also`: other names that could have been meant. Raises
    InvalidOptions.
    """
    from charrnn.network.options import ALIASES

    properties = contract.schema("training")["properties"]
    problems = _unknown(document, [*properties, *ALIASES], "option", also)
    problems |= {
        name: f"must be {_words(properties[name])}, not {_shown(value)}"
        for name, value in document.items()
        if name in properties and value not in (None, "auto") and not _has_type(value, properties[name])
    }
    _refuse(problems)
    choices.parsed(document)
    return dict(document)


def training_words(given: Mapping[str, str], *also: str) -> dict[str, Any]:
    """Training options from an address or a form, where all values are text. Otherwise as `training_options`."""
    properties = contract.schema("training")["properties"]
    return training_options(
        {name: _of_type(value, _types(properties.get(name, {}))) for name, value in given.items()}, *also
    )


def _of_type(value: str, types: set[str]) -> Any:
    """The value of one of these types that a text stands for; the text itself, if it stands for none."""
    if "boolean" in types and value in ("true", "false"):
        return value == "true"
    if "integer" in types and re.fullmatch("-?[0-9]{1,18}", value):
        return int(value)
    if "number" in types and re.fullmatch(r"-?[0-9]{1,18}(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?", value):
        return float(value)
    return value


def budget(document: Mapping[str, Any]) -> dict[str, Any]:
    """The budgets for more of a training from a JSON object: numbers, nothing else. Raises InvalidOptions."""
    _refuse(_unknown(document, list(BUDGETS), "field"))
    return choices.parsed(training_options(document)).model_dump(exclude_unset=True)


def sampling_options(document: Mapping[str, Any]) -> dict[str, Any]:
    """Sampling options from a JSON object, as they were given: names, types and ranges are right.

    Raises InvalidOptions.
    """
    from charrnn.network.sampling import SAMPLING_ALIASES

    _refuse(_unknown(document, [*contract.schema("sampling")["properties"], *SAMPLING_ALIASES], "option"))
    choices.merged_sampling({}, document)
    return dict(document)


# readers --------------------------------------------------------------------------------------------------------------


def text(value: Any) -> str:
    """Any text."""
    if not isinstance(value, str):
        raise ValueError("must be text")
    return value


def short_text(value: Any) -> str:
    """A text no longer than a name."""
    if len(text(value)) > choices.NAME_LENGTH:
        raise ValueError(f"must have at most {choices.NAME_LENGTH} characters")
    return str(value)


def one_of(*words: str) -> Reader:
    """One of these words."""

    def read(value: Any) -> str:
        if value not in words:
            raise ValueError(f"must be {' or '.join(words)}")
        return str(value)

    return read


def yes_or_no(value: Any) -> bool:
    """True or false, of JSON."""
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def mapping(value: Any) -> dict[str, Any]:
    """A JSON object."""
    if not isinstance(value, dict):
        raise ValueError("must be a JSON object")
    return value


def whole(least: int, most: int) -> Reader:
    """A whole number, as digits in an address."""

    def read(value: str) -> int:
        number = int(value) if re.fullmatch("-?[0-9]{1,18}", value) else None
        if number is None or not least <= number <= most:
            raise ValueError(f"must be a whole number from {least} to {most}")
        return number

    return read


def model_id(value: str) -> str:
    """The id of a model, which need not be there any more."""
    if not _MODEL_ID.fullmatch(value):
        raise ValueError("must be the id of a model, such as `next` of the page before")
    return value


# ----------------------------------------------------------------------------------------------------------------------


def _taken(
    given: Mapping[str, Any], readers: Mapping[str, Reader], kind: str, problems: Mapping[str, str]
) -> dict[str, Any]:
    problems = _unknown(given, list(readers), kind) | dict(problems)
    values = {}
    for name in [name for name in given if name not in problems]:
        try:
            values[name] = readers[name](given[name])
        except ValueError as error:
            problems[name] = f"{error}, not {_shown(given[name])}"
    _refuse(problems)
    return values


def _unknown(given: Mapping[str, Any], names: list[str], kind: str, also: tuple[str, ...] = ()) -> dict[str, str]:
    problems = {}
    for name in given:
        if name not in names:
            near = difflib.get_close_matches(name[:60], [*names, *also], n=1)
            few = f"; there is {', '.join(names)}" if 0 < len(names) <= _FEW else ""
            problems[name[:60]] = f"there is no such {kind}{f'; did you mean {near[0]}?' if near else few}"
    return problems


def _refuse(problems: Mapping[str, str]) -> None:
    if problems:
        raise InvalidOptions("; ".join(f"{name}: {problem}" for name, problem in problems.items()), problems)


def _has_type(value: Any, schema: Mapping[str, Any]) -> bool:
    """Whether it has one of the types of a property. Numbers are looked at closer by those who know their ranges."""
    if isinstance(value, bool):
        return "boolean" in _types(schema)
    if isinstance(value, int | float):
        return bool({"integer", "number"} & _types(schema))
    return isinstance(value, str) and "string" in _types(schema)


def _types(schema: Mapping[str, Any]) -> set[str]:
    return {each["type"] for each in schema.get("anyOf", [schema]) if "type" in each}


def _words(schema: Mapping[str, Any]) -> str:
    return " or ".join(_TYPES[each] for each in sorted(_types(schema) - {"null"}))


def _shown(value: Any) -> str:
    shown = json.dumps(value, ensure_ascii=False)
    return shown if len(shown) <= 60 else f"{shown[:59]}…"
