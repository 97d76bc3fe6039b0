"""Where texts, checkpoints and models lie: files on this machine, or objects in S3.

It knows how a file comes to lie there whole or not at all, how one is fetched to be read, and what to say when that
fails. It does not know what the files hold or which of them is current: the database does.

Local files are handled as plain files, since fsspec, which speaks to S3, can neither flush one to the disk nor rename
one in place. S3's credentials and endpoint come from where all its clients look: `AWS_ACCESS_KEY_ID`,
`AWS_SECRET_ACCESS_KEY`, `AWS_ENDPOINT_URL`, profiles, the machine's role.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import random
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, BinaryIO, cast

from charrnn.errors import CharRNNError, FileNotInStorage, InvalidSettings, StorageUnavailable
from charrnn.files import complete_or_absent, put_in_place, sync_folder, working_folder

PIECE = 16 * 2**20  # bytes that are copied, fetched or, of a large file, sent at a time
_READ_AHEAD = 2**20  # bytes fetched at least when somebody reads a file in S3 bit by bit
_UPLOAD_SECONDS, _SLOWEST_UPLOAD = 60, 50_000  # seconds and bytes a second: an upload that takes longer is given up
_PATIENCE = 20  # times that a file in S3 may be replaced while it is fetched
_SILENCE = ("EndpointConnectionError", "ConnectTimeoutError", "ConnectionClosedError", "ReadTimeoutError")
_KEY = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)*", re.ASCII)


def model_key(model_id: str, name: str) -> str:
    """The key of a model's file."""
    return f"models/{model_id}/{name}"


def split_url(url: str) -> tuple[str, str]:
    """Scheme and place of a storage URL: `file` and an absolute path, or `s3` and bucket/prefix. Raises ValueError."""
    scheme, _, place = url.partition("://")
    if scheme == "file" and place.startswith("/") and place.strip("/"):
        return scheme, place
    if scheme == "s3" and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]+(/[^/?#@]+)*/?", place):
        return scheme, place.rstrip("/")
    hint = "; credentials do not belong in it" if "@" in place else ""
    raise ValueError(f"must be file:///an/absolute/folder or s3://bucket/prefix{hint}")


class Storage:
    """Files by key, such as `models/…/corpus.txt`: words of letters, digits and `._-`, with slashes between them.

    Raises StorageUnavailable when the place does not answer, refuses or is full, and FileNotInStorage for a key that
    it does not have. A key that is none is a ValueError.
    """

    def __init__(self, url: str, options: Mapping[str, Any] | None = None) -> None:
        """`url`: `file:///folder` or `s3://bucket/prefix`; `options`: more arguments of s3fs.

        Nothing is opened yet. Raises InvalidSettings for another URL, or when s3fs is not installed.
        """
        try:
            scheme, place = split_url(url)
        except ValueError as error:
            raise InvalidSettings(f"CHARRNN_STORAGE_URL (storage_url): {error}") from None
        self.url = url.rstrip("/")
        self.local = scheme == "file"
        self._place: _Folder | _Bucket = _Folder(Path(place)) if self.local else _Bucket(place, options or {})

    def __repr__(self) -> str:
        return f"Storage({self.url!r})"

    def put(self, path: Path, key: str, *, move: bool = False) -> None:
        """Store the file `path`, whole or not at all, in place of what the key had. `move`: it is not needed any more.

        To move a file from a `scratch` folder of local storage is a rename, whatever its size.
        """
        _check(key)
        if not path.is_file():
            raise FileNotFoundError(errno.ENOENT, "there is no such file to store", str(path))
        with self._explaining(key, missing=False):
            self._place.put(path, key, move)

    def get(self, key: str, folder: Path, *, sha256: str | None = None, size: int | None = None) -> Path:
        """A file to read and not to change: the stored one where it is local, else a copy in `folder` of the same name.

        The copy appears whole or not at all, and is checked by `size` (bytes) and `sha256` (hexadecimal) if they are
        given; one that is there already and has that hash is not fetched again. Of a local file only the size is
        checked. Raises StorageUnavailable for a file that is not what it should be.
        """
        _check(key)
        with self._explaining(key, folder):
            return self._place.get(key, folder, sha256, size)

    def open(self, key: str) -> BinaryIO:
        """The stored file, to be read from and closed."""
        _check(key)
        with self._explaining(key):
            file = self._place.open(key)
        return file if self.local else io.BufferedReader(_Remote(file, lambda: self._explaining(key)), _READ_AHEAD)

    def size(self, key: str) -> int:
        """The stored file's size in bytes."""
        _check(key)
        with self._explaining(key):
            return self._place.size(key)

    def version(self, key: str) -> str:
        """Another one after the file was replaced: to know whether what was read before is still what is there."""
        _check(key)
        with self._explaining(key):
            return self._place.version(key)

    def exists(self, key: str) -> bool:
        """Whether there is a file with this key."""
        try:
            self.size(key)
        except FileNotInStorage:
            return False
        return True

    def delete(self, *keys: str) -> None:
        """Remove files; those that are not there are removed already."""
        for key in keys:
            _check(key)
        for key in keys:
            with self._explaining(key, missing=False):
                self._place.delete(key)

    def delete_prefix(self, prefix: str) -> None:
        """Remove everything whose key begins with `prefix` and a slash, scratch folders too."""
        prefix = prefix.rstrip("/")
        _check(prefix)
        with self._explaining(prefix, missing=False):
            self._place.delete_prefix(prefix)

    @contextlib.contextmanager
    def scratch(self, prefix: str) -> Iterator[Path]:
        """A private folder on this machine to write in, removed at the end.

        With local storage it lies beside the files of `prefix`, so that storing what was written there is a rename.
        What killed processes left for the same prefix is removed first.
        """
        prefix = prefix.rstrip("/")
        _check(prefix)
        with contextlib.ExitStack() as stack:
            with self._explaining(prefix, missing=False):
                folder = stack.enter_context(self._place.scratch(prefix))
            yield folder

    def check(self) -> None:
        """Write something and remove it. Raises StorageUnavailable if that cannot be done."""
        with self._explaining("a file to try", missing=False):
            self._place.try_to_write()

    @contextlib.contextmanager
    def _explaining(self, key: str, folder: Path | None = None, *, missing: bool = True) -> Iterator[None]:
        """Raise what goes wrong inside as an error of ours. `folder`: where a copy is written; `missing`: the file may
        be what is missing."""
        try:
            yield
        except CharRNNError:
            raise
        except self._place.errors as error:
            if missing and isinstance(error, FileNotFoundError) and _code(error) != "NoSuchBucket":
                raise FileNotInStorage(f"{self.url} has no {key}") from error
            where = self.url if self.local or folder is None or not _is_full(error) else str(folder)
            raise StorageUnavailable(f"{where} ({key}): {_reason(error)}") from error


class _Folder:
    """Storage in a folder of this machine."""

    errors: tuple[type[Exception], ...] = (OSError,)

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, path: Path, key: str, move: bool) -> None:
        target = self.root / key
        self._make(target.parent)
        if move:
            try:
                return put_in_place(path, target)
            except OSError as error:
                if error.errno != errno.EXDEV:  # on another disk, where only copying helps
                    raise
        with path.open("rb") as source, complete_or_absent(target) as file:
            shutil.copyfileobj(source, file, PIECE)
        if move:
            path.unlink()
        return None

    def get(self, key: str, folder: Path, sha256: str | None, size: int | None) -> Path:
        _require_size(key, self.size(key), size)
        return self.root / key

    def open(self, key: str) -> BinaryIO:
        return (self.root / key).open("rb")

    def size(self, key: str) -> int:
        path = self.root / key
        if path.is_dir():
            raise FileNotFoundError(key)
        return path.stat().st_size

    def version(self, key: str) -> str:
        status = (self.root / key).stat()
        return f"{status.st_ino}-{status.st_mtime_ns}-{status.st_size}"

    def delete(self, key: str) -> None:
        (self.root / key).unlink(missing_ok=True)

    def delete_prefix(self, prefix: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.root / prefix)

    def scratch(self, prefix: str) -> AbstractContextManager[Path]:
        self._make(self.root / prefix)
        return working_folder(self.root / prefix, "scratch")

    def try_to_write(self) -> None:
        self._make(self.root)
        with working_folder(self.root, "check") as folder, complete_or_absent(folder / "check") as file:
            file.write(b"charrnn\n")

    def _make(self, folder: Path) -> None:
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            sync_folder(folder.parent)


class _Bucket:
    """Storage in S3, under a prefix of a bucket. There a file is whole as soon as it is there."""

    def __init__(self, root: str, options: Mapping[str, Any]) -> None:
        try:
            import aiobotocore.session  # type: ignore[import-untyped]
            import aiohttp
            import botocore.exceptions  # type: ignore[import-untyped]
            import botocore.handlers  # type: ignore[import-untyped]
            import fsspec  # type: ignore[import-untyped]
            import s3fs  # type: ignore[import-untyped]  # noqa: F401
        except ImportError as error:
            raise InvalidSettings(
                f"CHARRNN_STORAGE_URL (storage_url): s3:// needs {error.name}, which is not installed; "
                "pip install 'charrnn[s3]' would be right"
            ) from None
        self.root = root
        self.errors: tuple[type[Exception], ...] = (
            OSError, botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError, aiohttp.ClientError,
        )  # fmt: skip
        patience = {"connect_timeout": 5, "read_timeout": 30, "retries": {"mode": "standard", "total_max_attempts": 3}}
        session = aiobotocore.session.AioSession()
        # Else an upload asks first whether it may begin, and waits for the answer without end.
        session.unregister("before-call.s3", botocore.handlers.add_expect_header)
        defaults = {
            "config_kwargs": patience, "session": session, "use_listings_cache": False, "skip_instance_cache": True,
        }  # fmt: skip
        self.s3 = fsspec.filesystem("s3", **{**defaults, **options})
        self.s3.retries = 2  # each of so many attempts as above

    def put(self, path: Path, key: str, move: bool) -> None:
        limit = _UPLOAD_SECONDS + path.stat().st_size / _SLOWEST_UPLOAD  # a hanging upload has no other end
        self.s3.put_file(str(path), self._path(key), chunksize=PIECE, max_concurrency=4, timeout=limit)
        if move:
            path.unlink()

    def get(self, key: str, folder: Path, sha256: str | None, size: int | None) -> Path:
        from s3fs.utils import FileExpired  # type: ignore[import-untyped]

        copy = folder / key.rpartition("/")[2]
        for _ in range(_PATIENCE):
            with contextlib.suppress(FileExpired):  # it was replaced meanwhile
                return self._fetch(key, copy, sha256, size)
            time.sleep(random.uniform(0.005, 0.05))
        return self._fetch(key, copy, sha256, size)

    def _fetch(self, key: str, copy: Path, sha256: str | None, size: int | None) -> Path:
        digest = hashlib.sha256()
        with self.s3.open(self._path(key), cache_type="none") as remote:
            _require_size(key, remote.size, size)
            if sha256 is not None and copy.is_file() and copy.stat().st_size == remote.size and _sha256(copy) == sha256:
                return copy
            with complete_or_absent(copy) as file:
                while piece := remote.read(PIECE):
                    digest.update(piece)
                    file.write(piece)
                _require_size(key, file.tell(), remote.size)
                if sha256 is not None and digest.hexdigest() != sha256:
                    raise StorageUnavailable(
                        f"{key} is damaged: its SHA-256 is {digest.hexdigest()}, not {sha256}; store it again"
                    )
        return copy

    def open(self, key: str) -> BinaryIO:
        return cast(BinaryIO, self.s3.open(self._path(key), block_size=_READ_AHEAD, cache_type="readahead"))

    def size(self, key: str) -> int:
        about = self.s3.info(self._path(key), refresh=True)
        if about["type"] != "file":
            raise FileNotFoundError(key)
        return int(about["size"])

    def version(self, key: str) -> str:
        about = self.s3.info(self._path(key), refresh=True)
        return f"{about.get('ETag')}-{about.get('LastModified')}"

    def delete(self, key: str) -> None:
        self.s3.rm_file(self._path(key))

    def delete_prefix(self, prefix: str) -> None:
        for path in self.s3.find(self._path(prefix)):
            if path.startswith(self._path(prefix) + "/"):  # it finds a file of that very name too
                self.s3.rm_file(path)

    def scratch(self, prefix: str) -> AbstractContextManager[Path]:
        return working_folder(Path(tempfile.gettempdir()), f"charrnn-{prefix.replace('/', '-')}")

    def try_to_write(self) -> None:
        path = self._path(f"check-{os.urandom(4).hex()}")
        self.s3.pipe_file(path, b"charrnn\n")
        self.s3.rm_file(path)

    def _path(self, key: str) -> str:
        return f"{self.root}/{key}"


class _Remote(io.RawIOBase):
    """A file in S3 whose errors while it is read are errors of ours."""

    def __init__(self, file: BinaryIO, explaining: Callable[[], AbstractContextManager[None]]) -> None:
        self._file, self._explaining = file, explaining

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with self._explaining():
            piece = self._file.read(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        self._file.close()
        super().close()


def _check(key: str) -> None:
    if not _KEY.fullmatch(key):
        raise ValueError(f"{key!r} is no key of a file in the storage; models/ID/corpus.txt would be one")


def _require_size(key: str, size: int, expected: int | None) -> None:
    if expected is not None and size != expected:
        raise StorageUnavailable(f"{key} is damaged: it has {size:,} bytes, not {expected:,}; store it again")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_full(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def _code(error: BaseException) -> str | None:
    """S3's own word for what went wrong, which s3fs keeps in the error that its error comes from."""
    response = getattr(error.__cause__ or error, "response", None)
    return response["Error"].get("Code") if isinstance(response, Mapping) and "Error" in response else None


def _reason(error: Exception) -> str:
    """What went wrong and what would be right."""
    name = type(error).__name__
    if _is_full(error):
        return "no space is left; free some, or choose another place with CHARRNN_STORAGE_URL"
    if _code(error) == "NoSuchBucket":
        return "there is no such bucket; create it, or name another with CHARRNN_STORAGE_URL"
    if name in ("NoCredentialsError", "PartialCredentialsError"):
        return "no credentials were found; AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a role, would be right"
    if isinstance(error, (NotADirectoryError, FileExistsError)):
        return f"{error.filename} is a file where a folder is needed; choose another place with CHARRNN_STORAGE_URL"
    if isinstance(error, PermissionError):
        return f"it refuses ({error.strerror or error}); check who may write there, and with which credentials"
    if isinstance(error, TimeoutError) or name in _SILENCE:
        return f"it does not answer ({error or name}); check the network, and AWS_ENDPOINT_URL where it is not Amazon's"
    if name == "FileExpired":
        return "it was replaced while it was read; to read it again would be right"
    return str(getattr(error, "strerror", None) or error)
