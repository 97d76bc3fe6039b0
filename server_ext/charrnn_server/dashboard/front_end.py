"""Voilà's front end: where its files lie, and what it wants to know before it starts.

It knows Voilà's and the widgets' files. It does not know kernels. Nothing of Voilà's is imported, which would cost the
server memory: only what runs in the browser is needed of it.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import json
import mimetypes
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jupyter_core.paths import jupyter_path
from jupyter_server.utils import url_path_join

#: the only extensions that a dashboard loads: the manager of widgets, what all of them are made of, and what ours are
EXTENSIONS = ("@voila-dashboards/widgets-manager8", "@jupyter-widgets/jupyterlab-manager", "anywidget")
STATIC, EXTENSION = "static", "labextensions"
_NAME = re.compile(r"[\w-][\w.-]*")
_COMPRESSED = frozenset({".js", ".css", ".json", ".svg", ".txt", ".eot", ".ttf"})


@functools.cache
def assets_version() -> str:
    """What changes with the files, so that a browser may keep them for good."""
    names = "".join(f"{name} {version(name)} " for name in ("voila", "anywidget", "ipywidgets"))
    return hashlib.sha256(names.encode()).hexdigest()[:12]


def _shared() -> Iterator[Path]:
    """Jupyter's folders of shared files, that of this very Python first."""
    seen = set()
    for folder in (str(Path(sys.prefix, "share", "jupyter")), *jupyter_path()):
        if folder not in seen:
            seen.add(folder)
            yield Path(folder)


@functools.cache
def _folders() -> dict[str, Path]:
    """Where the files of Voilà's page and of each extension are."""
    found: dict[str, Path] = {}
    for share in _shared():
        places = {STATIC: [share / "voila" / "templates" / "base" / "static"]}
        for name in EXTENSIONS:
            places[name] = [share / "voila" / "labextensions" / name, share / "labextensions" / name]
        for name, candidates in places.items():
            here = next((place for place in candidates if place.is_dir()), None)
            if here is not None:
                found.setdefault(name, here)
    return found


def file(path: str) -> Path | None:
    """The file behind the rest of an address, such as `static/voila.js`; None for all that is none of theirs."""
    *folders, name = path.split("/")
    if not _NAME.fullmatch(name):
        return None
    if folders == [STATIC]:
        folder = _folders().get(STATIC)
    elif len(folders) > 2 and folders[0] == EXTENSION and folders[-1] == "static":
        extension = _folders().get("/".join(folders[1:-1]))
        folder = None if extension is None else extension / "static"
    else:
        folder = None
    found = None if folder is None else folder / name
    return found if found is not None and found.is_file() else None


@dataclass(frozen=True)
class Asset:
    """A file as it is sent."""

    media: str
    plain: bytes
    packed: bytes | None  # by gzip, in the place of `plain`

    def unpacked(self) -> bytes:
        """The content for a browser that does not take it packed."""
        return self.plain if self.packed is None else gzip.decompress(self.packed)


@functools.lru_cache(maxsize=400)
def asset(path: Path) -> Asset:
    """The content of a file, kept: all of them together have 2 MB."""
    content = path.read_bytes()
    media = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    if path.suffix in _COMPRESSED:
        return Asset(media, b"", gzip.compress(content, 6, mtime=0))
    return Asset(media, content, None)


def _federated() -> Iterator[dict[str, Any]]:
    for name in EXTENSIONS:
        folder = _folders().get(name)
        if folder is not None:
            described = json.loads((folder / "package.json").read_text(encoding="utf-8"))
            yield {"name": name, **described["jupyterlab"]["_build"]}


@functools.cache
def configuration(dashboard: str) -> dict[str, Any]:
    """What Voilà's front end reads from its page. `dashboard` is the address below which everything of its is."""
    files = url_path_join(dashboard, "files", assets_version())
    return {
        "appVersion": version("voila"), "appUrl": "", "baseUrl": f"{dashboard.rstrip('/')}/", "themesUrl": "",
        "terminalsAvailable": False, "fullStaticUrl": f"{files}/{STATIC}",
        "fullLabextensionsUrl": f"{files}/{EXTENSION}", "extensionConfig": {},
        "progressiveRendering": False, "jupyterLabTheme": "light",
        "fullMathjaxUrl": None, "mathjaxConfig": None, "federated_extensions": list(_federated()),
    }  # fmt: skip
