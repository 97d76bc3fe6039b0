"""A model's file can be taken home and brought elsewhere, and a file from a stranger is read as one."""

from __future__ import annotations

import json
import pickle
import socket
import struct
import zipfile
from collections.abc import Iterator
from email.message import Message
from pathlib import Path
from urllib.parse import unquote

import pytest
import requests

from charrnn import load
from tests.jobs.trainings import wait_for
from tests.s3 import S3
from tests.server.running import Server, running
from tests.server.sending import nothing_left, wire

NOTHING_TRAINED = "--CharRNNServer.supervise=False"


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that trains nothing."""
    with running(tmp_path_factory.mktemp("files"), NOTHING_TRAINED, CHARRNN_UPLOAD_LIMIT="5000000") as server:
        yield server


def imported(server: Server, file: bytes, name: str | None = None) -> str:
    answer = server.post("/models/import", files={"file": ("small.safetensors", file)}, data={"name": name or ""})
    assert answer.status_code == 201, answer.text
    id: str = answer.json()["id"]
    return id


def suggested_name(answer: requests.Response) -> str:
    """The file name that the header suggests, which older clients find in ASCII too."""
    header = answer.headers["Content-Disposition"]
    message = Message()
    message["Content-Disposition"] = header
    new = unquote(header.partition("filename*=UTF-8''")[2], errors="strict")
    old = message.get_filename()
    assert old == "".join(letter if letter.isascii() else "_" for letter in new)
    return new


def test_a_file_comes_as_a_form_or_as_the_body_and_is_handed_out_as_it_came(here: Server, model_file: Path) -> None:
    content = model_file.read_bytes()
    for sent, name in (
        ({"files": {"file": ("my verse.safetensors", content)}}, "my verse"),
        ({"files": {"file": ("small.safetensors", content)}, "data": {"name": "verse"}}, "verse"),
        ({"data": content, "headers": {"Content-Type": "application/octet-stream"}, "params": {"name": "raw"}}, "raw"),
        ({"data": content}, "model"),
    ):
        answer = here.post("/models/import", **sent)
        assert answer.status_code == 201, answer.text
        model = answer.json()
        assert (model["name"], model["can_write"], model["has_data"]) == (name, True, False)
        assert (model["step"], model["best_validation_loss"]) == (700, 1.5)
        assert answer.headers["Location"] == f"/charrnn/api/v1/models/{model['id']}"
        file = here.get(f"/models/{model['id']}/file")
        assert file.status_code == 200
        assert file.content == content
        assert file.headers["Content-Length"] == str(len(content))
        assert file.headers["Content-Type"] == "application/octet-stream"
        assert file.headers["X-Content-Type-Options"] == "nosniff"
        assert suggested_name(file) == f"{name}.safetensors"


def test_what_was_taken_home_writes_there(here: Server, model_file: Path, tmp_path: Path) -> None:
    id = imported(here, model_file.read_bytes())
    (tmp_path / "home.safetensors").write_bytes(here.get(f"/models/{id}/file").content)
    here_and_there = [
        load(path).generate("the", length=30, seed=1) for path in (model_file, tmp_path / "home.safetensors")
    ]
    assert here_and_there[0] == here_and_there[1]


def test_a_file_lies_in_a_bucket_as_well(s3_server: S3, model_file: Path, tmp_path: Path) -> None:
    storage = f"s3://{s3_server.bucket()}/charrnn"
    with running(tmp_path, NOTHING_TRAINED, CHARRNN_STORAGE_URL=storage, **s3_server.environment) as server:
        id = imported(server, model_file.read_bytes())
        assert server.get(f"/models/{id}/file").content == model_file.read_bytes()


@pytest.mark.parametrize(
    ("name", "saved"),
    [
        ("Gedichte über Käse", "Gedichte über Käse.safetensors"), ("日本語 🙂", "日本語 🙂.safetensors"),
        ('a"b\\c/d', "a_b_c_d.safetensors"), ("../../.bashrc", "_.._.bashrc.safetensors"),
        ("100%;x=y", "100%;x=y.safetensors"),
        ("...", "safetensors"), ("<b>&amp;</b>", "_b_&amp;__b_.safetensors"),
    ],
)  # fmt: skip
def test_a_name_never_breaks_the_header_or_the_folder(here: Server, model_file: Path, name: str, saved: str) -> None:
    id = imported(here, model_file.read_bytes(), name)
    answer = here.get(f"/models/{id}/file")
    assert suggested_name(answer) == saved
    assert answer.headers["Content-Disposition"].isascii()


def test_a_model_that_has_learned_nothing_has_no_file(here: Server) -> None:
    id = here.post("/models", json={"name": "poems"}).json()["id"]
    answer = here.get(f"/models/{id}/file")
    assert (answer.status_code, answer.json()["reason"]) == (409, "NothingLearned")
    assert here.get("/models/01m82e56cetys2x4dxfhtbw1z3/file").status_code == 404
    assert here.get(f"/models/{id}/file", headers={"Authorization": ""}).status_code == 403


def test_a_client_that_goes_away_while_it_takes_a_file_is_no_event(here: Server, model_file: Path) -> None:
    id = imported(here, model_file.read_bytes())
    for _ in range(5):
        with wire(here) as connection:
            connection.begin(f"/models/{id}/file", "GET")
            connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wait_for(lambda: here.get("/live").status_code == 204)
    assert "Traceback" not in here.messages


def header(entries: object, data: bytes = b"") -> bytes:
    text = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text + data


class Runs:
    """What a pickle would run."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("/tmp/charrnn-was-here"),))  # type: ignore[return-value]


def zip_bomb(folder: Path) -> bytes:
    path = folder / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.safetensors", bytes(50_000_000))
    return path.read_bytes()


OURS = {"__metadata__": {"charrnn": json.dumps({"format_version": 1, "kind": "model"})}}
HOSTILE = {
    "nothing": (b"", "cut off or empty"),
    "a few bytes": (b"\x10\0\0", "cut off or empty"),
    "a huge header": (struct.pack("<Q", 2**62) + b"{}", "announce a header of"),
    "a header longer than the file": (struct.pack("<Q", 5000) + b"{}", "cut off"),
    "no JSON": (header(b"{nothing}"), "not valid JSON"),
    "deep JSON": (header(b"[" * 100_000), "nested too deeply"),
    "many objects": (header(b"[" + b"{}," * 300_000 + b"{}]"), "lists and objects"),
    "a name given twice": (header(b'{"a": 1, "a": 2}'), "given twice"),
    "somebody else's": (
        header({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, bytes(4)), "not charrnn's",
    ),
    "2 GB that are not there": (
        header({**OURS, "w": {"dtype": "F32", "shape": [2**29], "data_offsets": [0, 2**31]}}, bytes(8)), "cut off",
    ),
    "a shape that overflows": (
        header({**OURS, "w": {"dtype": "F32", "shape": [2**62, 2**62], "data_offsets": [0, 8]}}, bytes(8)),
        "bytes where",
    ),
    "a negative shape": (
        header({**OURS, "w": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, bytes(4)), "no list of whole",
    ),
    "bytes between arrays": (
        header({**OURS, "w": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, bytes(8)), "starts at byte 4",
    ),
    "bytes at the end": (header(OURS, bytes(8)), "8 bytes too long"),
    "a newer format": (header({"__metadata__": {"charrnn": '{"format_version": 99}'}}), "newer charrnn"),
    "a pickle": (pickle.dumps(Runs()), "a pickle, which can run any code"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(100), "an HDF5 file"),
    "a text": (b"The kettle hums a low brown tune" * 10, "announce a header of"),
    "no arrays": (header(OURS), ""),
}  # fmt: skip


@pytest.mark.parametrize(("content", "words"), HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_file_is_refused(here: Server, content: bytes, words: str) -> None:
    before = here.memory()
    with nothing_left(here):
        answer = here.post("/models/import", files={"file": ("their model.safetensors", content)})
    assert (answer.status_code, answer.json()["reason"]) == (422, "InvalidModel"), answer.text
    assert answer.json()["message"].startswith("their model.safetensors: ")
    assert words in answer.json()["message"]
    assert here.memory() - before < 64_000_000
    assert not Path("/tmp/charrnn-was-here").exists()


def test_a_file_that_was_cut_anywhere_or_has_one_byte_more_is_refused(here: Server, model_file: Path) -> None:
    content = model_file.read_bytes()
    with nothing_left(here):
        for size in range(0, len(content), len(content) // 20):
            assert here.post("/models/import", data=content[:size]).status_code == 422
        assert here.post("/models/import", data=content + b"\0").status_code == 422


def test_an_archive_is_not_unpacked(here: Server, tmp_path: Path) -> None:
    before = here.memory()
    with nothing_left(here):
        answer = here.post("/models/import", files={"file": zip_bomb(tmp_path)})
    assert (answer.status_code, answer.json()["reason"]) == (422, "InvalidModel")
    assert "a zip archive" in answer.json()["message"]
    assert here.memory() - before < 30_000_000


def test_a_file_that_is_too_large_is_refused_before_it_is_sent(here: Server) -> None:
    with nothing_left(here), wire(here) as connection:
        connection.begin("/models/import", Content_Length=5_000_001)
        answer = connection.answer()
    assert (answer.status_code, answer.json()["reason"]) == (413, "TooLarge")


def test_a_model_is_called_what_can_be_shown(here: Server, model_file: Path) -> None:
    content = model_file.read_bytes()
    with nothing_left(here):
        for wrong in ("a\nb", " ", "x" * 201):
            answer = here.post("/models/import", files={"file": content}, data={"name": wrong})
            assert (answer.status_code, [*answer.json()["fields"]]) == (422, ["name"])
        answer = here.post("/models/import", files={"file": content}, data={"minutes": "3"})
        assert (answer.status_code, [*answer.json()["fields"]]) == (422, ["minutes"])
    traversing = here.post("/models/import", files={"file": ("../../../etc/cron.d/x.safetensors", content)})
    assert traversing.json()["name"] == "x"
