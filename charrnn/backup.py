"""A copy of a whole workspace in one tar file, and a workspace from such a copy: any database, any storage.

It knows the tables and the keys of files that their rows name. It does not know what the files hold.

Trainings need not wait. The rows are those of one moment. Files come after them, and one that was replaced meanwhile is
copied as it is then: a checkpoint that is a little further than its row, which a training goes on from all the same.
Where a file is gone by then, the rows are read again. The list of what there has to be stands at the end of the tar
file, so that no part of one is ever taken for the whole.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from sqlalchemy import Connection, Table, delete, insert, select

from charrnn.config import Settings
from charrnn.errors import FileNotInStorage, InvalidBackup, WouldOverwrite
from charrnn.jobs.database import Database, revisions
from charrnn.jobs.schema import Base, Model, Supervisor, UtcDateTime
from charrnn.storage import Storage, model_key

FORMAT = 1
CONTENTS = "backup.json"
ROWS = 1000  # read or written at a time
TRIES = 5  # to find rows whose files are all there
TABLES: tuple[Table, ...] = tuple(
    table for table in Base.metadata.sorted_tables if table.name != Supervisor.__tablename__
)


@dataclass(frozen=True)
class Copied:
    """What was copied. `missing`: keys of files that the database names and the storage has not."""

    models: int
    files: int
    bytes: int
    missing: tuple[str, ...] = ()


def back_up(settings: Settings, output: BinaryIO) -> Copied:
    """Write the copy of a workspace to `output`, which need not be able to seek."""
    database, storage = _database(settings), Storage(settings.storage_url)
    database.prepare()
    contents: dict[str, dict[str, Any]] = {}
    try:
        with tempfile.TemporaryDirectory() as temporary, tarfile.open(fileobj=output, mode="w|") as tar:
            folder = Path(temporary)
            for _ in range(TRIES):
                rows = {table.name: folder / f"{table.name}.jsonl" for table in TABLES}
                counts, keys = database.snapshot(partial(_dump, paths=rows))
                missing = [key for key in keys if f"storage/{key}" not in contents]
                missing = [key for key in missing if not _copy_file(storage, key, folder, tar, contents)]
                if not missing:
                    break
            for name, path in rows.items():
                contents[f"database/{name}.jsonl"] = _add(tar, f"database/{name}.jsonl", path)
            about = {"format": FORMAT, "revision": database.revision(), "missing": missing, "contents": contents}
            (folder / CONTENTS).write_text(json.dumps(about, indent=1), encoding="utf-8")
            _add(tar, CONTENTS, folder / CONTENTS)
    finally:
        database.close()
    files = [about["bytes"] for name, about in contents.items() if name.startswith("storage/")]
    return Copied(counts[Model.__tablename__], len(files), sum(files), tuple(missing))


def restore(settings: Settings, source: BinaryIO) -> Copied:
    """Make the workspace again that `source` is a copy of. The database must have no models, or no tables.

    Files come first and rows last, all of them in one transaction, so that it may simply be begun again after a
    failure. Raises InvalidBackup for what is no copy, or not the whole of one, and WouldOverwrite for a database that
    is in use; then nothing has changed.
    """
    database, storage = _database(settings), Storage(settings.storage_url)
    try:
        if database.revision() is not None:
            database.prepare()
            database.read(_require_empty)
        with storage.scratch("restore") as folder:
            about, found = _unpacked(source, folder)
            if about["revision"] != (newest := revisions()[-1]):
                raise InvalidBackup(
                    f"the copy is of revision {about['revision']} of the tables, this charrnn makes {newest}; restore "
                    "it with the charrnn that made it, and upgrade then"
                )
            database.upgrade()
            files = {name: path for name, path in found.items() if name.startswith("storage/")}
            size = sum(path.stat().st_size for path in files.values())
            for name, path in files.items():
                storage.put(path, name.removeprefix("storage/"), move=True)
            models = database.write(lambda connection: _load(connection, found))
    finally:
        database.close()
    return Copied(models, len(files), size, tuple(about["missing"]))


def _database(settings: Settings) -> Database:
    return Database(settings.database_url.get_secret_value(), settings.database_tls, settings.database_tls_ca)


def _dump(connection: Connection, paths: dict[str, Path]) -> tuple[dict[str, int], list[str]]:
    """Write the rows to files. Returns how many there are by table, and the keys that they name."""
    counts = dict.fromkeys(paths, 0)
    keys: list[str] = []
    for table in TABLES:
        with paths[table.name].open("w", encoding="utf-8") as file:
            for row in connection.execution_options(yield_per=ROWS).execute(select(table)).mappings():
                counts[table.name] += 1
                file.write(json.dumps(dict(row), default=datetime.isoformat) + "\n")
                if table.name == Model.__tablename__:
                    keys += _keys(dict(row))
    return counts, keys


def _keys(model: dict[str, Any]) -> Iterator[str]:
    """The keys of a model's files."""
    corpus = model["corpus"] or {}
    named = [corpus.get("text_key"), corpus.get("ids_key"), model["checkpoint"], model["model_file"]]
    yield from filter(None, named)
    if model["parent_id"] is not None:
        yield model_key(model["id"], "parent.safetensors")


def _copy_file(
    storage: Storage, key: str, folder: Path, tar: tarfile.TarFile, contents: dict[str, dict[str, Any]]
) -> bool:
    """Whether there is such a file, which then is in the tar file."""
    try:
        path = storage.get(key, folder)
        contents[f"storage/{key}"] = _add(tar, f"storage/{key}", path)
    except (FileNotInStorage, FileNotFoundError):
        return False
    if path.is_relative_to(folder):
        path.unlink()
    return True


def _add(tar: tarfile.TarFile, name: str, path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        about = tarfile.TarInfo(name)
        about.size, about.mode = path.stat().st_size, 0o600
        about.mtime = int(path.stat().st_mtime)
        hashed = _Hashed(file)
        tar.addfile(about, hashed)
    return {"bytes": about.size, "sha256": hashed.sha256.hexdigest()}


class _Hashed:
    """A file whose SHA-256 is known when it has been read."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.sha256 = file, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        piece = self.file.read(size)
        self.sha256.update(piece)
        return piece


def _require_empty(connection: Connection) -> None:
    if connection.execute(select(Model.id).limit(1)).first() is not None:
        raise WouldOverwrite("the database has models already; restore into an empty one")


def _unpacked(source: BinaryIO, folder: Path) -> tuple[dict[str, Any], dict[str, Path]]:
    """The list of contents, and where each of them lies in `folder` now. Raises InvalidBackup unless all is whole."""
    found: dict[str, Path] = {}
    hashes: dict[str, str] = {}
    try:
        with tarfile.open(fileobj=source, mode="r|") as tar:
            for member in tar:
                packed = tar.extractfile(member)
                if packed is None:
                    raise InvalidBackup(f"this is no backup of charrnn: {member.name} in it is no file")
                path = found[member.name] = folder / f"{len(found)}.part"
                with path.open("wb") as file:
                    hashed = _Hashed(packed)  # type: ignore[arg-type]
                    shutil.copyfileobj(hashed, file, 2**20)
                hashes[member.name] = hashed.sha256.hexdigest()
    except (tarfile.TarError, EOFError) as error:
        raise InvalidBackup(f"this is no backup of charrnn, or not the whole of one ({error})") from error
    if CONTENTS not in found:
        raise InvalidBackup("this is no backup of charrnn, or not the whole of one: the list at its end is missing")
    about: dict[str, Any] = json.loads(found.pop(CONTENTS).read_text(encoding="utf-8"))
    if about.get("format") != FORMAT:
        raise InvalidBackup(f"the backup has format {about.get('format')}, and this charrnn reads {FORMAT}")
    for name, facts in about["contents"].items():
        if hashes.get(name) != facts["sha256"]:
            raise InvalidBackup(f"the backup is damaged: {name} is {'not what it was' if name in found else 'missing'}")
    return about, {name: found[name] for name in about["contents"]}


def _load(connection: Connection, found: dict[str, Path]) -> int:
    """Insert all rows. Returns how many models there are."""
    _require_empty(connection)
    for table in reversed(TABLES):
        connection.execute(delete(table))  # a new database has the row of a counter
    models = 0
    for table in TABLES:
        moments = [column.name for column in table.columns if isinstance(column.type, UtcDateTime)]
        with found[f"database/{table.name}.jsonl"].open(encoding="utf-8") as file:
            batch: list[dict[str, Any]] = []
            for line in file:
                row = json.loads(line)
                row |= {name: datetime.fromisoformat(row[name]) for name in moments if row[name] is not None}
                batch.append(row)
                models += table.name == Model.__tablename__
                if len(batch) == ROWS:
                    connection.execute(insert(table), batch)
                    batch = []
            if batch:
                connection.execute(insert(table), batch)
    return models
