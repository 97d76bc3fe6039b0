"""The contract as a person reads it: chapters of operations, what each takes and answers, and how to call it.

It knows OpenAPI, as far as our document uses it, and words. It does not know HTML.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from urllib.parse import urlencode

from charrnn_server.contract import METHODS, OPTIONS, schema

Node: TypeAlias = Mapping[str, Any]

SHAPES = ("Model", "TrainingOptions", "SamplingOptions", "Problem")  # that have a place of their own
ADDRESS, TOKEN, ID = "$SERVER", "$TOKEN", "$ID"  # in commands
EXAMPLE_BODIES = {
    "multipart/form-data": "-F file=@sonnets.txt", "application/octet-stream": "-T model.safetensors",
    "application/x-www-form-urlencoded": '--data-urlencode "token=$ADMIN_TOKEN"',
}  # fmt: skip
EXAMPLE_ANSWERS = {"text/event-stream": "-N", "application/octet-stream": "-OJ"}
_TYPES = {
    "integer": "whole number", "number": "number", "boolean": "true or false", "string": "text", "array": "list",
    "object": "object", "null": "null",
}  # fmt: skip


@dataclass(frozen=True)
class Value:
    """Something that is given or comes back.

    `where` is its place in a request, `shape` what it looks like if that has a place of its own, `options` such a shape
    all of whose members may stand here.
    """

    name: str
    kind: str
    description: str = ""
    default: str = ""
    where: str = ""
    required: bool = False
    options: str = ""
    shape: str = ""


@dataclass(frozen=True)
class Body:
    """What is sent or comes back, in one of its forms. `shape` is the name of a chapter's schema."""

    media: str
    values: list[Value] = field(default_factory=list)
    example: str = ""
    shape: str = ""


@dataclass(frozen=True)
class Answer:
    status: str
    description: str
    bodies: list[Body]

    @property
    def good(self) -> bool:
        """Whether it is what was wanted."""
        return self.status[0] in "23"


@dataclass(frozen=True)
class Operation:
    id: str
    method: str
    path: str
    summary: str
    description: str
    parameters: list[Value]
    bodies: list[Body]
    answers: list[Answer]
    curl: str


@dataclass(frozen=True)
class Chapter:
    name: str
    description: str
    operations: list[Operation]


@dataclass(frozen=True)
class Manual:
    summary: str
    description: str
    server: str
    chapters: list[Chapter]
    problems: list[Answer]
    shapes: list[tuple[str, str, list[Value], str]]  # name, description, values, example


def read(document: Node) -> Manual:
    """The whole document."""
    return _Reader(document).manual()


class _Reader:
    def __init__(self, document: Node) -> None:
        self.document = document

    def manual(self) -> Manual:
        info, parts = self.document["info"], self.document["components"]
        operations = [(tag, operation) for tag, operation in self._operations()]
        chapters = [
            Chapter(tag["name"], tag["description"], [each for name, each in operations if name == tag["name"]])
            for tag in self.document["tags"]
        ]
        problems = [
            self._answer(name.removeprefix("Problem"), answer)
            for name, answer in parts["responses"].items()
            if name.startswith("Problem")
        ]
        shapes = [self._shape(name, parts["schemas"][name]) for name in SHAPES]
        server = self.document["servers"][0]["url"].rstrip("/")
        return Manual(info["summary"], info["description"], server, chapters, problems, shapes)

    def _operations(self) -> Iterator[tuple[str, Operation]]:
        for path, item in self.document["paths"].items():
            for method in METHODS:
                if method in item:
                    yield item[method]["tags"][0], self._operation(path, method, item)

    def _operation(self, path: str, method: str, item: Node) -> Operation:
        operation = item[method]
        parameters = [self._resolved(each) for each in (*item.get("parameters", ()), *operation.get("parameters", ()))]
        bodies = self._bodies(self._resolved(operation.get("requestBody", {})))
        answers = [self._answer(status, answer) for status, answer in sorted(operation["responses"].items())]
        open_to_all = operation.get("security") == []
        return Operation(
            operation["operationId"], method.upper(), path, operation["summary"], operation.get("description", ""),
            self._parameters(parameters, operation.get(OPTIONS)), bodies, answers,
            _curl(method.upper(), path, parameters, bodies, answers, open_to_all),
        )  # fmt: skip

    def _parameters(self, parameters: list[Node], options: str | None) -> list[Value]:
        hidden = schema(options)["properties"] if options else ()
        shown = [
            self._value(each["name"], each["schema"], each.get("description", ""), each["in"], each.get("required"))
            for each in parameters
            if each["name"] not in hidden
        ]
        return shown + _all_options(options, "query")

    def _bodies(self, holder: Node) -> list[Body]:
        return [self._body(media, content) for media, content in holder.get("content", {}).items()]

    def _body(self, media: str, content: Node) -> Body:
        shape = _shape_of(content["schema"])
        found = self._resolved(content["schema"])
        example = content.get("example", found.get("examples", [""])[0])
        return Body(media, self._values(found), _as_text(example), shape)

    def _values(self, found: Node) -> list[Value]:
        options = found.get(OPTIONS)
        hidden = schema(options)["properties"] if options else ()
        required = found.get("required", ())
        shown = [
            self._value(name, each, required=name in required)
            for name, each in found.get("properties", {}).items()
            if name not in hidden
        ]
        return shown + _all_options(options, "")

    def _value(
        self, name: str, given: Node, description: str = "", where: str = "", required: bool | None = False
    ) -> Value:
        found = self._resolved(given)
        default = found.get("default")
        return Value(
            name, self._kind(given), description or found.get("description", ""),
            "" if default in (None, []) else _as_text(default), where, bool(required), shape=_shape_of(given),
        )  # fmt: skip

    def _kind(self, given: Node) -> str:
        """What it can be, in words: `whole number, 1 to 200, or null`."""
        found = self._resolved(given)
        if "anyOf" in found:
            return ", or ".join(kind for kind in map(self._kind, found["anyOf"]) if kind)
        if "enum" in found:
            return " | ".join(map(str, found["enum"]))
        if found.get("format") in ("binary", "date-time"):
            return {"binary": "file", "date-time": "time"}[found["format"]]
        types = found.get("type", "object")
        words = [_TYPES[each] for each in ([types] if isinstance(types, str) else types)]
        return ", or ".join(words) + _bounds(found)

    def _shape(self, name: str, found: Node) -> tuple[str, str, list[Value], str]:
        values = [self._value(each, given) for each, given in found["properties"].items()]
        return name, found.get("description", ""), values, _as_text(found.get("examples", [""])[0])

    def _answer(self, status: str, answer: Node) -> Answer:
        found = self._resolved(answer)
        return Answer(status, found["description"], self._bodies(found))

    def _resolved(self, node: Node) -> Node:
        if "$ref" not in node:
            return node
        target: Any = self.document
        for step in node["$ref"].removeprefix("#/").split("/"):
            target = target[step]
        return self._resolved(target)


def _shape_of(given: Node) -> str:
    named: str = given.get("$ref", "").rpartition("/")[2]
    return named if named in SHAPES else ""


def _all_options(options: str | None, where: str) -> list[Value]:
    if options is None:
        return []
    return [Value("…", "", f"every option of {options}", where=where, options=f"{options.capitalize()}Options")]


def _bounds(found: Node) -> str:
    least, most = found.get("minimum"), found.get("maximum")
    if least is not None and most is not None:
        return f", {least:,} to {most:,}"
    bounds = {
        "minimum": "at least", "exclusiveMinimum": "more than", "maximum": "at most", "exclusiveMaximum": "less than",
    }  # fmt: skip
    told = [f"{words} {found[name]:,}" for name, words in bounds.items() if name in found]
    return "".join(f", {each}" for each in told)


def _as_text(example: Any) -> str:
    return example if isinstance(example, str) else json.dumps(example, ensure_ascii=False, indent=2)


def _curl(
    method: str, path: str, parameters: list[Node], bodies: list[Body], answers: list[Answer], open_to_all: bool
) -> str:
    """A command that asks for it, with the body's first form."""
    media = {body.media for answer in answers if answer.good for body in answer.bodies}
    plain = "POST" if bodies else "GET"  # what curl does unasked
    words = [
        *(words for kind, words in EXAMPLE_ANSWERS.items() if kind in media),
        *([] if method == plain else [f"-X {method}"]),
        *([] if open_to_all else [f'-H "Authorization: Bearer {TOKEN}"']),
        *_curl_body(bodies),
    ]
    query = {}
    for each in parameters:
        if each["in"] == "path":
            path = path.replace(f"{{{each['name']}}}", ID if each["name"] == "id" else each["example"])
        elif each["in"] == "query" and "example" in each:
            query[each["name"]] = each["example"]
    words.append(f'"{ADDRESS}{path}{"?" * bool(query)}{urlencode(query)}"')
    return "curl " + " \\\n  ".join(words)


def _curl_body(bodies: list[Body]) -> list[str]:
    if not bodies:
        return []
    first = bodies[0]
    if first.media in EXAMPLE_BODIES:
        return [EXAMPLE_BODIES[first.media]]
    return [f"-H 'Content-Type: {first.media}'", f"-d {shlex.quote(json.dumps(json.loads(first.example)))}"]
