"""The routes of a real application, looked up in it, and an address that each of them answers to."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.command_line import variables
from tests.server.running import PACKAGES

LIST = """
import json, sys
from tornado.web import RequestHandler
if sys.argv[1] == "public":
    from charrnn_server.public import PublicCharRNNServer as Server
else:
    from charrnn_server.app import CharRNNServer as Server
app = Server.initialize_server(argv=["--no-browser", "--ServerApp.allow_root=True", *sys.argv[2:]])
found = []
for group in app.web_app.default_router.rules:
    for rule in group.target.rules:
        handler = rule.target
        if not (isinstance(handler, type) and issubclass(handler, RequestHandler)):
            handler = rule.target_kwargs.get("handler", rule.target)
        methods = {}
        for name in handler.SUPPORTED_METHODS:
            method = getattr(handler, name.lower())
            if method is not RequestHandler._unimplemented_method:
                methods[name] = [getattr(method, "__allow_unauthenticated", False), getattr(method, "action", None)]
        found.append([rule.matcher.regex.pattern, f"{handler.__module__}.{handler.__qualname__}", methods])
print(json.dumps(found))
"""
GROUP = re.compile(r"\((?:\?P<\w+>|\?:)?[^()]*\)\??")
KINDS = ("training", "sampling", "corpus", "x")  # what stands in the place of groups that are no model's id


@dataclass(frozen=True)
class Route:
    """A pattern of addresses, and what can be done there: methods, whether each is open, and its action."""

    pattern: str
    handler: str
    methods: dict[str, tuple[bool, str | None]]

    @property
    def ours(self) -> bool:
        """Whether the handler is charrnn's."""
        return self.handler.startswith("charrnn_server.")

    def path(self, model_id: str) -> str:
        """An address that fits, with this model in it if it has one."""
        pattern = self.pattern.removeprefix("^").removesuffix("$").replace("/?", "")
        groups = GROUP.findall(pattern)
        for values in itertools.product((model_id, *KINDS, ""), repeat=len(groups)):
            fill = iter(values)
            path = GROUP.sub(lambda _, fill=fill: next(fill), pattern).replace("\\", "")  # type: ignore[misc]
            if re.fullmatch(pattern, path):
                return path
        raise AssertionError(f"no address fits {self.pattern}")


def routes(launch: str, folder: Path, *arguments: str) -> list[Route]:
    """All routes of an application, in the order in which they are asked: `personal` or `public`."""
    places = {f"JUPYTER_{name}_DIR": str(folder / "routes" / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    listed = subprocess.run(
        [sys.executable, "-c", LIST, launch, *arguments], capture_output=True, text=True, check=False, timeout=300,
        env=variables(**places, CHARRNN_DATA_FOLDER=str(folder / "routes" / "data"), PYTHONPATH=PACKAGES),
    )  # fmt: skip
    assert listed.returncode == 0, listed.stderr
    found = json.loads(listed.stdout.splitlines()[-1])
    return [
        Route(pattern, handler, {name: (is_open, action) for name, (is_open, action) in methods.items()})
        for pattern, handler, methods in found
    ]
