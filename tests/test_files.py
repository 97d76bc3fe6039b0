"""A file is whole or not there: also when its writer gives up, is killed, finds the disk full, or is one of many."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from charrnn.files import complete_or_absent, put_in_place, working_folder
from tests import small_disk
from tests.command_line import variables


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_old_file_is_seen_until_the_new_one_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    for content, before in ((b"first", None), (b"second", b"first")):
        with complete_or_absent(path) as file:
            file.write(content)
            file.flush()
            assert (path.read_bytes() if path.exists() else None) == before
        assert path.read_bytes() == content
    assert names(tmp_path) == ["a.txt"]


def test_a_writer_that_gives_up_changes_nothing_and_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"old")

    def give_up(reason: type[BaseException]) -> None:
        with complete_or_absent(path) as file:
            file.write(b"new")
            raise reason

    for reason in (ValueError, KeyboardInterrupt):
        with pytest.raises(reason):
            give_up(reason)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.txt"]


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"), complete_or_absent(tmp_path / "nowhere" / "a.txt"):
        pytest.fail("there is nothing to write to")


def test_a_name_with_the_signs_of_a_pattern_is_a_name(tmp_path: Path) -> None:
    bystander = tmp_path / ".ab.00000000.part"
    bystander.touch()
    with complete_or_absent(tmp_path / "[a]*") as file:
        file.write(b"x")
    assert names(tmp_path) == [bystander.name, "[a]*"]


FULL = """
import sys
from pathlib import Path
from charrnn.files import complete_or_absent
path = Path(sys.argv[1], "a.txt")
with complete_or_absent(path) as file:
    file.write(b"o" * 30_000)
try:
    with complete_or_absent(path) as file:
        file.write(b"n" * 100_000)
except OSError as error:
    print(error.strerror)
print(path.read_bytes() == b"o" * 30_000, [path.name for path in path.parent.iterdir()])
"""


def test_a_full_disk_is_an_error_and_the_old_file_stays(tmp_path: Path) -> None:
    assert small_disk.output(FULL, tmp_path / "disk", kilobytes=64) == "No space left on device\nTrue ['a.txt']\n"


KILLED = """
import sys, time
from pathlib import Path
from charrnn.files import complete_or_absent
with complete_or_absent(Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    print("writing", flush=True)
    time.sleep(600)
"""


def test_what_a_killed_writer_left_is_removed_by_the_next_and_a_living_one_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"

    def write() -> None:
        with complete_or_absent(path) as file:
            file.write(b"whole")

    command = [sys.executable, "-c", KILLED, str(path)]
    with subprocess.Popen(command, env=variables(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        write()
        assert len(names(tmp_path)) == 2
        process.kill()
    assert len(names(tmp_path)) == 2
    assert path.read_bytes() == b"whole"
    write()
    assert names(tmp_path) == ["a.txt"]


def test_many_writers_of_one_file_all_succeed_and_the_file_is_always_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    contents = {bytes([number]) * 5000 for number in range(4)}

    def write(content: bytes) -> None:
        for _ in range(100):
            with complete_or_absent(path) as file:
                file.write(content)
            assert path.read_bytes() in contents

    with ThreadPoolExecutor(len(contents)) as pool:
        list(pool.map(write, contents))
    assert names(tmp_path) == ["a.txt"]


def test_a_file_that_is_written_already_takes_its_place_or_nothing_changes(tmp_path: Path) -> None:
    path, written = tmp_path / "a.txt", tmp_path / "elsewhere" / "b"
    path.write_bytes(b"old")
    with pytest.raises(FileNotFoundError):
        put_in_place(written, path)
    assert path.read_bytes() == b"old"
    written.parent.mkdir()
    written.write_bytes(b"new")
    put_in_place(written, path)
    assert path.read_bytes() == b"new"
    assert names(written.parent) == []


def test_a_working_folder_is_private_and_gone_at_the_end_with_all_that_is_in_it(tmp_path: Path) -> None:
    with working_folder(tmp_path, "m") as folder:
        assert folder.parent == tmp_path
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "deep").mkdir()
        (folder / "deep" / "file").touch()
        with working_folder(tmp_path, "m") as other:
            assert other != folder
        assert (folder / "deep" / "file").exists()
    assert names(tmp_path) == []


KILLED_WHILE_WORKING = """
import sys, time
from pathlib import Path
from charrnn.files import working_folder
with working_folder(Path(sys.argv[1]), "m") as folder:
    (folder / "file").touch()
    print(folder, flush=True)
    time.sleep(600)
"""


def test_the_working_folder_of_a_killed_process_is_removed_by_the_next_of_that_name(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED_WHILE_WORKING, str(tmp_path)]
    with subprocess.Popen(command, env=variables(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        left = Path(process.stdout.readline().strip())
        with working_folder(tmp_path, "m"):
            assert (left / "file").exists()
        process.kill()
    with working_folder(tmp_path, "n"):
        assert left.exists()
    with working_folder(tmp_path, "m"):
        assert not left.exists()
    assert names(tmp_path) == []
