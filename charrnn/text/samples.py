"""Texts to begin with: one that every Python brings along, and well-known ones that are fetched when asked for.

It knows where sample texts come from and how to check that they arrived whole. It does not know vocabularies or ids.
Nothing is downloaded unless `fetch` or `write` is called with the name of a sample that has a URL.
"""

from __future__ import annotations

import hashlib
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from charrnn.errors import InvalidCorpus, WouldOverwrite
from charrnn.files import complete_or_absent

if TYPE_CHECKING:
    from http.client import HTTPResponse

PYTHON_BYTES = 3_000_000
_LONGEST_DOWNLOAD = 1 << 30  # bytes
_PIECE = 1 << 16  # bytes
_TIMEOUT = 30.0  # seconds without a byte
# Folders of the standard library that are not what one would call its code: tests, installed packages, tables.
_LEFT_OUT = {
    "test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__", "_bundled", "lib-dynload",
    "pydoc_data", "encodings", "turtledemo",
}  # fmt: skip


@dataclass(frozen=True)
class Sample:
    """A sample text. `url` and `sha256` are None when nothing has to be fetched."""

    name: str
    description: str
    url: str | None = None
    sha256: str | None = None


SAMPLES = {
    sample.name: sample
    for sample in (
        Sample("python", "Python's own standard library, as it is installed here: write Python"),
        Sample(
            "tiny-shakespeare",
            "40,000 lines of Shakespeare's plays, 1.1 MB: the text that character models are compared on",
            "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
            "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
        ),
    )
}


def names() -> list[str]:
    """The names of the samples; those that need no download come first."""
    return sorted(SAMPLES, key=lambda name: (SAMPLES[name].url is not None, name))


def write(
    name: str, path: str | Path, *, limit: int | None = PYTHON_BYTES, progress: Callable[[float], None] | None = None
) -> Path:
    """Write the sample `name` to `path`, fetching it if it has a URL. Returns the path.

    `limit`: at most so many bytes of whole modules of `python`; None for all of them. Other samples have one size.
    `progress` is called with the fraction that is fetched, where there is something to fetch, and may raise to give up.
    Raises InvalidCorpus when there is no such sample or it cannot be had, WouldOverwrite when another file is there.
    """
    sample, path = _sample(name), Path(path)
    content = _python(limit) if sample.url is None else _fetched(sample, path, progress)
    return _written(sample, content, path)


def fetch(name: str, folder: str | Path) -> Path:
    """The path of the sample `name` in `folder`, as `{name}.txt`; fetched unless it is already there and whole.

    Raises InvalidCorpus when there is no such sample, the network does not give it or its checksum is wrong, and
    WouldOverwrite when another file has that name.
    """
    return write(name, Path(folder) / f"{name}.txt")


def _sample(name: str) -> Sample:
    try:
        return SAMPLES[name]
    except KeyError:
        raise InvalidCorpus(f"there is no sample {name!r}; there are {', '.join(names())}") from None


def _written(sample: Sample, content: bytes, path: Path) -> Path:
    if path.exists():
        if path.is_file() and path.read_bytes() == content:
            return path
        raise WouldOverwrite(
            f"{path} is there already and is not the sample {sample.name}; remove it or choose another"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with complete_or_absent(path) as file:
            file.write(content)
    except OSError as error:
        raise InvalidCorpus(f"the sample {sample.name} cannot be written to {path}: {error.strerror}") from error
    return path


def _fetched(sample: Sample, path: Path, progress: Callable[[float], None] | None) -> bytes:
    """The bytes of a sample, from `path` if it is already there, else from its URL; checked either way."""
    if path.is_file() and _is_whole(sample, there := path.read_bytes()):
        return there
    if path.exists():
        raise WouldOverwrite(
            f"{path} is there already and is not the sample {sample.name}; remove it or choose another"
        )
    import http.client
    import urllib.request

    url = str(sample.url)
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT) as response:
            content = _read(response, progress)
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise InvalidCorpus(
            f"the sample {sample.name} could not be fetched from {url}: {reason}. Is this machine online? "
            f"A file fetched elsewhere does as well; the sample 'python' needs no network."
        ) from error
    if not _is_whole(sample, content):
        found = hashlib.sha256(content).hexdigest()
        raise InvalidCorpus(
            f"{url} gave {len(content):,} bytes that are not the sample {sample.name}: "
            f"their SHA-256 is {found}, not {sample.sha256}. Nothing was written"
        )
    return content


def _read(response: HTTPResponse, progress: Callable[[float], None] | None) -> bytes:
    """What a server sends, to its end. The fraction stays 0 where the server does not say how much will come."""
    content, announced = bytearray(), response.length
    while len(content) < _LONGEST_DOWNLOAD and (piece := response.read1(_PIECE)):
        content += piece
        if progress is not None:
            progress(min(1.0, len(content) / announced) if announced else 0.0)
    return bytes(content)


def _is_whole(sample: Sample, content: bytes) -> bool:
    return hashlib.sha256(content).hexdigest() == sample.sha256


def _python(limit: int | None) -> bytes:
    """Modules of the standard library in the order of a hash of their names, so that any stretch is a fair mixture."""
    folder = Path(sysconfig.get_path("stdlib"))
    modules = sorted(_modules(folder), key=lambda module: hashlib.sha256(module.encode()).digest())
    texts: list[bytes] = []
    left = limit
    for module in modules:
        text = _module_text(folder / module)
        if text is None or (left is not None and len(text) > left):
            continue
        texts.append(text)
        if left is not None:
            left -= len(text)
    if not texts:
        found = f"{len(modules)} modules are there" if modules else "this Python came without its sources"
        raise InvalidCorpus(f"no module of the standard library in {folder} fits the limit of {limit} bytes; {found}")
    return b"".join(texts)


def _modules(folder: Path) -> Iterator[str]:
    """Paths of modules below `folder`, with forward slashes on every system."""
    for path in folder.rglob("*.py"):
        relative = path.relative_to(folder)
        if not _LEFT_OUT.intersection(relative.parts[:-1]) and path.is_file():
            yield relative.as_posix()


def _module_text(path: Path) -> bytes | None:
    """A module, ended by two empty lines; None if it is empty, cannot be read or is not plain UTF-8."""
    try:
        text = path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").strip("\n")
    return f"{text}\n\n\n".encode() if text and "\0" not in text else None
