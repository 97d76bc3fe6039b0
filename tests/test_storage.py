"""Storage does the same on a folder and on S3: a real folder, and moto's S3 over HTTP."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from charrnn.errors import FileNotInStorage, InvalidSettings, StorageUnavailable
from charrnn.storage import Storage, model_key
from tests import small_disk
from tests.command_line import variables
from tests.pausing import pause
from tests.s3 import S3, started

KEY = model_key("01abc", "corpus.txt")
HASTY = {"config_kwargs": {"connect_timeout": 0.5, "read_timeout": 0.5, "retries": {"total_max_attempts": 1}}}


@pytest.fixture
def local(tmp_path: Path) -> Storage:
    return Storage(f"file://{tmp_path}/storage")


@pytest.fixture
def remote(s3: S3) -> Storage:
    return Storage(f"s3://{s3.bucket()}/some/prefix")


@pytest.fixture(params=["local", "remote"])
def storage(request: pytest.FixtureRequest) -> Storage:
    found: Storage = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where copies are put."""
    (tmp_path / "copies").mkdir()
    return tmp_path / "copies"


def put(storage: Storage, content: bytes, key: str = KEY) -> None:
    with storage.scratch("models/01abc") as scratch:
        (scratch / "new").write_bytes(content)
        storage.put(scratch / "new", key, move=True)


def read(storage: Storage, key: str = KEY) -> bytes:
    with storage.open(key) as file:
        return file.read()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@contextlib.contextmanager
def unavailable(*words: str) -> Iterator[None]:
    """What is inside must fail, and say all this, in one line."""
    with pytest.raises(StorageUnavailable) as caught:
        yield
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_what_is_stored_can_be_read_and_replaced(storage: Storage, tmp_path: Path, folder: Path) -> None:
    path = tmp_path / "text.txt"
    for content in (b"first\n" * 1000, b"", b"second"):
        path.write_bytes(content)
        storage.put(path, KEY)
        assert path.read_bytes() == content
        assert storage.exists(KEY)
        assert storage.size(KEY) == len(content)
        assert read(storage) == content
        assert storage.get(KEY, folder, sha256=sha256(content), size=len(content)).read_bytes() == content


def test_a_stored_file_is_independent_of_where_it_came_from(storage: Storage, tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(b"stored")
    storage.put(path, KEY)
    with path.open("r+b") as file:
        file.write(b"edited")
    assert read(storage) == b"stored"


def test_a_file_that_is_moved_is_gone_from_where_it_was(storage: Storage, tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(b"moved")
    storage.put(path, KEY, move=True)
    assert not path.exists()
    assert read(storage) == b"moved"


def test_a_stored_file_can_be_read_in_pieces_from_anywhere(storage: Storage) -> None:
    content = bytes(range(256)) * 20_000
    put(storage, content)
    with storage.open(KEY) as file:
        assert file.read(3) == content[:3]
        file.seek(5_000_000)
        assert file.read(100) == content[5_000_000:5_000_100]
        assert file.read() == content[5_000_100:]
        assert file.read() == b""


def test_what_is_not_there_is_an_error_that_names_it_and_can_be_deleted(storage: Storage, folder: Path) -> None:
    put(storage, b"x", "models/01abc/other.txt")
    assert not storage.exists(KEY)
    assert not storage.exists("models/01abc")  # no file, but what files lie in
    for attempt in (storage.size, storage.open, lambda key: storage.get(key, folder)):
        with pytest.raises(FileNotInStorage, match=rf"{storage.url} has no {KEY}"):
            attempt(KEY)
    storage.delete(KEY)
    storage.delete_prefix("models/unknown")
    assert names(folder) == []


def test_files_are_deleted_by_key_or_all_of_one_model(storage: Storage) -> None:
    keys = [f"models/{model}/{name}" for model in ("a", "ab") for name in ("one", "two", "three")]
    for key in keys:
        put(storage, b"x", key)
    storage.delete("models/a/one", "models/ab/one", "models/ab/never-there")
    assert [key for key in keys if storage.exists(key)] == [key for key in keys if not key.endswith("one")]
    storage.delete_prefix("models/a/")
    assert [key for key in keys if storage.exists(key)] == ["models/ab/two", "models/ab/three"]


@pytest.mark.parametrize(
    "key",
    ["", "/etc/passwd", "../x", "models/../../x", "models//x", "models/.hidden", "a b", "a\n", "a?versionId=1", "ä"],
)
def test_a_key_that_leads_elsewhere_is_refused(local: Storage, tmp_path: Path, key: str) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(b"x")
    attempts = (
        lambda: local.put(path, key), lambda: local.get(key, tmp_path), lambda: local.open(key),
        lambda: local.size(key), lambda: local.exists(key), lambda: local.delete(KEY, key),
        lambda: local.delete_prefix(key), lambda: local.scratch(key).__enter__(),
    )  # fmt: skip
    for attempt in attempts:
        with pytest.raises(ValueError, match="is no key"):
            attempt()
    assert names(tmp_path) == ["text.txt"]


def test_a_file_to_store_that_is_not_there_is_the_callers_error(storage: Storage, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        storage.put(tmp_path / "nowhere", KEY)
    assert not storage.exists(KEY)


def test_a_scratch_folder_is_private_to_its_user_and_gone_at_the_end(storage: Storage) -> None:
    with storage.scratch("models/01abc") as one, storage.scratch("models/01abc") as other:
        assert one != other
        assert one.stat().st_mode & 0o777 == 0o700
        (one / "left").write_bytes(b"x")
    assert not one.exists()
    assert not other.exists()


def test_an_error_in_a_scratch_folder_stays_what_it_is(storage: Storage) -> None:
    def fail() -> None:
        with storage.scratch("models/01abc"):
            raise FileNotFoundError("of the caller")

    with pytest.raises(FileNotFoundError, match="of the caller"):
        fail()


def test_trying_whether_it_can_be_written_leaves_nothing_behind(local: Storage, remote: Storage, s3: S3) -> None:
    local.check()
    assert names(Path(local.url.removeprefix("file://"))) == []
    remote.check()
    assert "Contents" not in s3.client().list_objects_v2(Bucket=remote.url.split("/")[2])


def test_a_file_of_another_size_than_it_should_have_is_refused(storage: Storage, folder: Path) -> None:
    put(storage, b"truncated")
    with unavailable(KEY, "it has 9 bytes, not 1,000", "store it again"):
        storage.get(KEY, folder, size=1000)
    assert names(folder) == []


def test_many_writers_of_one_file_all_succeed_and_it_is_always_whole(storage: Storage, tmp_path: Path) -> None:
    contents = {bytes([number]) * 50_000 for number in range(4)}

    def write(content: bytes) -> None:
        for _ in range(10):
            put(storage, content)
            assert storage.get(KEY, tmp_path).read_bytes() in contents

    with ThreadPoolExecutor(len(contents)) as pool:
        list(pool.map(write, contents))


WRITES = """
import sys
from pathlib import Path
from charrnn.storage import Storage
storage, n = Storage(sys.argv[1]), 0
path = Path(sys.argv[2])
while True:
    n += 1
    path.write_bytes(bytes([n % 256]) * 3_000_000)
    storage.put(path, "models/01abc/corpus.txt")
    print(n, flush=True)
"""


def test_a_killed_writer_leaves_the_old_file_whole(storage: Storage, tmp_path: Path) -> None:
    for delay in (0.0, 0.003, 0.011):
        command = [sys.executable, "-c", WRITES, storage.url, str(tmp_path / "new")]
        with subprocess.Popen(command, env=variables(), stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(delay)  # some moment or other
            process.kill()
        content = storage.get(KEY, tmp_path).read_bytes()  # what it had sent may still arrive
        assert len(content) == 3_000_000
        assert len(set(content)) == 1
    put(storage, b"next")
    if storage.local:
        assert names(Path(storage.url.removeprefix("file://"), "models/01abc")) == ["corpus.txt"]


def test_a_file_has_another_version_once_it_is_replaced(storage: Storage) -> None:
    put(storage, b"one")
    version = storage.version(KEY)
    assert storage.version(KEY) == version
    put(storage, b"two")
    assert storage.version(KEY) != version


# ---- a folder


def test_a_local_file_is_handed_out_itself(local: Storage, folder: Path) -> None:
    put(local, b"x")
    assert local.get(KEY, folder) == Path(local.url.removeprefix("file://"), KEY)
    assert names(folder) == []


def test_moving_from_a_scratch_folder_is_a_rename(local: Storage, folder: Path) -> None:
    with local.scratch("models/01abc") as scratch:
        (scratch / "new").write_bytes(b"x")
        number = (scratch / "new").stat().st_ino
        local.put(scratch / "new", KEY, move=True)
    assert local.get(KEY, folder).stat().st_ino == number


FROM_ANOTHER_DISK = """
import sys
from pathlib import Path
from charrnn.storage import Storage
path, storage = Path(sys.argv[1], "text.txt"), Storage(f"file://{Path(sys.argv[1]).parent}/storage")
path.write_bytes(b"moved")
storage.put(path, "models/01abc/corpus.txt", move=True)
print(path.exists(), storage.open("models/01abc/corpus.txt").read())
"""


def test_a_file_can_be_moved_from_another_disk(tmp_path: Path) -> None:
    assert small_disk.output(FROM_ANOTHER_DISK, tmp_path / "disk", kilobytes=64) == "False b'moved'\n"


FULL = """
import sys
from pathlib import Path
from charrnn.errors import StorageUnavailable
from charrnn.storage import Storage
disk = Path(sys.argv[1])
storage, path = Storage(f"file://{disk}"), disk.parent / "text.txt"
path.write_bytes(b"o" * 30_000)
storage.put(path, "models/01abc/corpus.txt")
path.write_bytes(b"n" * 100_000)
try:
    storage.put(path, "models/01abc/corpus.txt")
except StorageUnavailable as error:
    print(str(error).replace(str(disk), "DISK"))
print(storage.size("models/01abc/corpus.txt"), [path.name for path in disk.rglob("*")])
(disk / "filler").write_bytes(b"x" * 32768)
try:
    storage.check()
except StorageUnavailable as error:
    print("no space" in str(error))
"""


def test_a_full_disk_is_an_error_that_says_so_and_the_old_file_stays(tmp_path: Path) -> None:
    assert small_disk.output(FULL, tmp_path / "disk", kilobytes=64).splitlines() == [
        "file://DISK (models/01abc/corpus.txt): no space is left; free some, or choose another place with "
        "CHARRNN_STORAGE_URL",
        "30000 ['models', '01abc', 'corpus.txt']",
        "True",
    ]


def test_a_place_that_is_no_folder_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    storage = Storage(f"file://{tmp_path}/file")
    for attempt in (storage.check, lambda: storage.put(tmp_path / "file", KEY)):
        with unavailable(str(tmp_path / "file"), "where a folder is needed"):
            attempt()


# ---- S3


def test_a_file_in_s3_that_is_replaced_while_it_is_read_says_so(remote: Storage) -> None:
    put(remote, b"one" * 2_000_000)
    with remote.open(KEY) as file:
        assert file.read(3) == b"one"
        put(remote, b"two" * 2_000_000)
        file.seek(5_000_000)
        with unavailable(KEY, "it was replaced while it was read"):
            file.read()


def test_a_copy_that_is_there_is_fetched_again_only_if_it_is_not_what_it_should_be(
    remote: Storage, folder: Path
) -> None:
    content = b"ids" * 100_000
    put(remote, content)
    copy = remote.get(KEY, folder, sha256=sha256(content), size=len(content))
    assert copy == folder / "corpus.txt"
    fetched = copy.stat().st_ino
    assert remote.get(KEY, folder, sha256=sha256(content), size=len(content)).stat().st_ino == fetched

    for damaged in (content[:-1], b"x" + content[1:], b""):
        copy.write_bytes(damaged)
        assert remote.get(KEY, folder, sha256=sha256(content), size=len(content)).read_bytes() == content
    copy.write_bytes(b"x" + content[1:])
    assert remote.get(KEY, folder).read_bytes() == content  # without a hash nothing can be believed
    assert names(folder) == ["corpus.txt"]


def test_a_stored_file_that_is_not_what_it_should_be_is_refused(remote: Storage, folder: Path) -> None:
    put(remote, b"something else")
    with unavailable(KEY, "its SHA-256 is", "store it again"):
        remote.get(KEY, folder, sha256=sha256(b"some content of"), size=14)
    assert names(folder) == []


def test_a_large_file_goes_and_comes_in_parts(remote: Storage, tmp_path: Path, folder: Path, s3: S3) -> None:
    path = tmp_path / "large"
    path.write_bytes(os.urandom(2**20) * 40)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    remote.put(path, KEY)
    bucket, _, prefix = remote.url.removeprefix("s3://").partition("/")
    assert s3.client().head_object(Bucket=bucket, Key=f"{prefix}/{KEY}")["ETag"].endswith('-3"')  # parts
    assert remote.get(KEY, folder, sha256=digest, size=40 * 2**20).stat().st_size == 40 * 2**20


NO_ROOM = """
import sys
from pathlib import Path
from charrnn.errors import StorageUnavailable
from charrnn.storage import Storage
folder = Path(sys.argv[1])
url = (folder.parent / "url").read_text()
try:
    Storage(url).get("models/01abc/corpus.txt", folder)
except StorageUnavailable as error:
    print(str(error).replace(str(folder), "FOLDER"))
print(list(folder.iterdir()))
"""


def test_no_room_for_a_copy_is_an_error_that_names_where(remote: Storage, tmp_path: Path) -> None:
    put(remote, b"x" * 200_000)
    (tmp_path / "url").write_text(remote.url)
    said = small_disk.output(NO_ROOM, tmp_path / "disk", kilobytes=64)
    assert said.startswith(f"FOLDER ({KEY}): no space is left")
    assert said.endswith("\n[]\n")


def test_an_s3_that_has_gone_is_an_error_soon_and_nothing_is_lost_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(b"x" * 3_000_000)
    with started(tmp_path / "log") as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        storage = Storage(f"s3://{server.bucket()}")
        storage.put(path, KEY)
        file = storage.open(KEY)
        assert file.read(1) == b"x"
    with file, unavailable(storage.url, KEY, "does not answer"):
        file.seek(2_000_000)
        file.read()
    began = time.monotonic()
    for attempt in (lambda: storage.put(path, KEY, move=True), lambda: storage.get(KEY, tmp_path), storage.check):
        with unavailable(storage.url, "does not answer", "AWS_ENDPOINT_URL"):
            attempt()
    assert time.monotonic() - began < 180
    assert names(tmp_path) == ["log", "text.txt"]


@pytest.mark.parametrize("size", [3, 8_000_000])  # what fits into the network's buffers, and what does not
def test_an_s3_that_hangs_is_an_error_and_the_file_is_the_old_or_the_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(b"o" * size)
    with started(tmp_path / "log") as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        url = f"s3://{server.bucket()}"
        Storage(url).put(path, KEY)  # in its own time
        storage = Storage(url, HASTY)
        monkeypatch.setattr("charrnn.storage._UPLOAD_SECONDS", 2)
        monkeypatch.setattr("charrnn.storage._SLOWEST_UPLOAD", 1e9)
        path.write_bytes(b"n" * size)
        pause(server.process)
        try:
            for attempt in (lambda: storage.put(path, KEY, move=True), lambda: storage.size(KEY)):
                with unavailable(url, KEY, "does not answer"):
                    attempt()
            assert path.exists()
        finally:
            server.process.send_signal(signal.SIGCONT)
        assert read(Storage(url)) in (b"o" * size, b"n" * size)


def test_what_s3_refuses_is_an_error_that_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(b"x")
    with started(tmp_path / "log", INITIAL_NO_AUTH_ACTION_COUNT="1") as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        storage = Storage(f"s3://{server.bucket()}")  # the one action that needs no right credentials
        for attempt in (lambda: storage.put(path, KEY), lambda: storage.get(KEY, tmp_path), storage.check):
            with unavailable(storage.url, "it refuses (", "which credentials"):
                attempt()

        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        with unavailable(storage.url, "no credentials were found", "AWS_ACCESS_KEY_ID"):
            Storage(storage.url).check()


def test_a_bucket_that_is_not_there_is_not_a_missing_file(s3: S3, tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(b"x")
    storage = Storage("s3://never-made/x")
    for attempt in (
        lambda: storage.put(path, KEY), lambda: storage.get(KEY, tmp_path), lambda: storage.open(KEY),
        lambda: storage.exists(KEY), lambda: storage.delete(KEY), lambda: storage.delete_prefix("models"),
        storage.check,
    ):  # fmt: skip
        with unavailable("s3://never-made/x", "no such bucket", "CHARRNN_STORAGE_URL"):
            attempt()


def test_without_s3fs_the_error_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['s3fs'] = None\n"
        "from charrnn.errors import InvalidSettings\n"
        "from charrnn.storage import Storage\n"
        "try: Storage('s3://bucket')\n"
        "except InvalidSettings as error: print(error)"
    )
    result = subprocess.run([sys.executable, "-c", code], env=variables(), capture_output=True, text=True, check=True)
    assert "needs s3fs" in result.stdout
    assert "pip install 'charrnn[s3]'" in result.stdout


def test_a_url_that_is_none_is_refused_without_saying_what_may_be_a_password() -> None:
    for url in ("gs://bucket", "/folder", "s3://key:secret@bucket"):
        with pytest.raises(InvalidSettings, match="CHARRNN_STORAGE_URL") as caught:
            Storage(url)
        assert "secret" not in str(caught.value)


def test_local_storage_loads_nothing_of_s3(tmp_path: Path) -> None:
    code = (
        "import sys; from charrnn.storage import Storage; Storage(sys.argv[1]).check()\n"
        "print([name for name in ('fsspec', 's3fs', 'botocore', 'numpy') if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, f"file://{tmp_path}"], env=variables(), capture_output=True, text=True, check=True
    )
    assert result.stdout == "[]\n"
