"""What the API promises: `openapi.yaml`, filled with what it need not say twice.

Options of training and of sampling come from charrnn's own JSON Schema, and every operation gets the errors that any
of them can end with. It does not know the handlers: tests hold the document against them.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

FILE = Path(__file__).parent / "openapi.yaml"
OPTIONS = "x-options"  # an object has, or an operation takes in its query, the options of training or sampling too
PROBLEMS = "x-problems"  # statuses that this operation can end with, besides those of every operation
ANY_PROBLEMS = (401, 403, 405, 422, 429, 503)
METHODS = ("get", "post", "put", "patch", "delete")


@functools.cache
def schema(kind: str) -> dict[str, Any]:
    """The JSON Schema of the options of `training` or `sampling`."""
    if kind == "training":
        from charrnn.network.options import TrainingOptions

        return TrainingOptions.model_json_schema()
    from charrnn.network.sampling import sampling_schema

    return sampling_schema()


@functools.cache
def document(base_url: str) -> dict[str, Any]:
    """The OpenAPI document of a server whose pages begin with `base_url`. It is shared: do not change it."""
    import yaml  # type: ignore[import-untyped]

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    whole: dict[str, Any] = yaml.load(FILE.read_bytes(), loader)
    whole["servers"] = [{"url": base_url.rstrip("/") or "/", "description": "this server"}]
    for each in whole["components"]["schemas"].values():
        _fill_object(each)
    for path in whole["paths"].values():
        for method in path.keys() & METHODS:
            _fill_operation(path[method])
    return whole


def _fill_object(target: dict[str, Any]) -> None:
    """Null stands for an option that is not given, or is put back to its default."""
    kind = target.get(OPTIONS)
    if kind is not None:
        options = {name: _or_null(each) for name, each in schema(kind)["properties"].items()}
        target["properties"] = {**options, **target.get("properties", {})}


def _or_null(property: dict[str, Any]) -> dict[str, Any]:
    if {"type": "null"} in property.get("anyOf", ()):
        return property
    about = ("title", "description", "default")
    value = {name: each for name, each in property.items() if name not in about}
    return {
        **{name: each for name, each in property.items() if name in about},
        "anyOf": [value, {"type": "null"}],
    }


def _fill_operation(operation: dict[str, Any]) -> None:
    kind = operation.get(OPTIONS)
    if kind is not None:
        given = {each.get("name") for each in operation["parameters"]}
        operation["parameters"] += [
            _parameter(name, each) for name, each in schema(kind)["properties"].items() if name not in given
        ]
    responses = operation["responses"]
    problem = "PageProblem" if "pages" in operation["tags"] else "Problem"
    any_problems = ANY_PROBLEMS if operation.get("security") != [] else (405,)  # where nobody is asked for anything
    for status in sorted({*any_problems, *operation.pop(PROBLEMS, ())}):
        responses.setdefault(str(status), {"$ref": f"#/components/responses/{problem}{status}"})


def _parameter(name: str, property: dict[str, Any]) -> dict[str, Any]:
    """An option as a parameter of the query, where there is no null: it is left out."""
    kinds = [each for each in property.get("anyOf", ()) if each != {"type": "null"}]
    plain = {key: value for key, value in property.items() if key not in ("anyOf", "title", "description", "default")}
    value = {**plain, **(kinds[0] if kinds else {})}
    if value.get("type") == "array":
        value = value["items"]
    if property.get("default") not in (None, []):
        value["default"] = property["default"]
    return {"name": name, "in": "query", "description": property["description"], "schema": value}
