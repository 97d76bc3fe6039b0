"""Whatever goes wrong with an upload is told as soon as it can be known, and leaves nothing behind."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from charrnn.jobs.database import Database
from tests.jobs.trainings import wait_for
from tests.mariadb import MariaDB
from tests.server.running import Server, running
from tests.server.sending import (
    BOUNDARY,
    END,
    FORM,
    TEXT,
    files,
    names,
    nothing_left,
    part,
    wait_until_stored,
    wire,
)

LIMIT = 2_000_000
POEM = b"The kettle hums a low brown tune,\nthe cat has claimed the chair,\n" * 100
NOTHING_TRAINED = "--CharRNNServer.supervise=False"
QUIET = (NOTHING_TRAINED, "--CharRNNServer.silence=1")
PATIENT = (NOTHING_TRAINED, "--CharRNNServer.silence=600")  # nobody is dropped for being silent


def faulty(folder: Path, **environment: str) -> dict[str, str]:
    (folder / "temporary").mkdir(exist_ok=True)
    return {"CHARRNN_UPLOAD_LIMIT": str(LIMIT), "TMPDIR": str(folder / "temporary"), **environment}


@pytest.fixture(scope="module", params=["SQLite", "MariaDB"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that trains nothing, takes 2 MB and waits a second for more."""
    folder = tmp_path_factory.mktemp("faults")
    environment = faulty(folder)
    if request.param == "MariaDB":
        mariadb: MariaDB = request.getfixturevalue("mariadb_server")
        mariadb.start()
        mariadb.execute("CREATE DATABASE faults")
        environment["CHARRNN_DATABASE_URL"] = mariadb.url("faults")
        Database(mariadb.url("faults")).upgrade()
    with running(folder, *QUIET, **environment) as server:
        yield server
        assert "Traceback" not in server.messages  # nothing of all this is an event


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The same, for what does not depend on the database."""
    folder = tmp_path_factory.mktemp("faults")
    with running(folder, *QUIET, **faulty(folder)) as server:
        yield server
        assert "Traceback" not in server.messages  # nothing of all this is an event


# before the body ------------------------------------------------------------------------------------------------------


def test_a_body_that_is_too_large_is_refused_before_it_is_sent(server: Server) -> None:
    with nothing_left(server), wire(server) as connection:
        connection.begin("/uploads", Content_Length=LIMIT + 1, **TEXT)
        answer = connection.answer()
    assert answer.status_code == 413
    assert answer.json() == {
        "message": "2,000,001 bytes are too many: 2,000,000 are the limit here", "reason": "TooLarge",
    }  # fmt: skip


def test_whoever_waits_for_leave_to_send_is_refused_without_it(server: Server) -> None:
    with nothing_left(server), wire(server) as connection:
        connection.begin("/uploads", Content_Length=10**12, Expect="100-continue", **TEXT)
        assert connection.answer().status_code == 413
        assert connection.hears_nothing_more()


def test_whoever_may_not_send_is_told_so_before(server: Server) -> None:
    id = server.post("/models", json={"name": "a model"}).json()["id"]
    refused = {
        (f"/models/{id}/corpus", 403): {"Authorization": "token wrong"},
        ("/uploads", 403): {"Authorization": None},
        ("/models/import", 403): {"Authorization": None, "Cookie": "_xsrf=abc"},
        ("/models/01m82e56cetys2x4dxfhtbw1z3/corpus", 404): TEXT,
        ("/uploads", 415): {"Content-Type": "application/json"},
        ("/uploads", 400): {"Content-Type": "multipart/form-data"},
    }
    for (path, status), headers in refused.items():
        with nothing_left(server), wire(server) as connection:
            connection.begin(path, Content_Length=1_000_000, **headers)
            answer = connection.answer()
        assert answer.status_code == status, answer.text
        assert answer.json()["message"]


def test_a_page_of_another_site_cannot_upload(server: Server) -> None:
    body = part(POEM) + END
    with nothing_left(server), wire(server) as connection:
        connection.begin(
            "/uploads", Content_Length=len(body), Authorization=None, Origin="https://elsewhere.example",
            Cookie="_xsrf=2|1|1|1", **FORM,
        )  # fmt: skip
        connection.send(body)
        assert connection.answer().status_code in (403, 404)


@pytest.mark.parametrize("length", ["-5", "abc", "1e3", "10, 11", "0x10"])
def test_a_length_that_is_none_is_refused(here: Server, length: str) -> None:
    with nothing_left(here), wire(here) as connection:
        connection.begin("/uploads", Content_Length=length, **TEXT)
        connection.send(POEM)
        assert connection.socket.recv(12) == b"HTTP/1.1 400"
    assert "Traceback" not in here.messages


# in the middle of the body --------------------------------------------------------------------------------------------


def test_chunks_are_refused_as_soon_as_they_are_too_many(server: Server) -> None:
    with nothing_left(server), wire(server) as connection:
        connection.begin("/uploads", Transfer_Encoding="chunked", **TEXT)
        for _ in range(LIMIT // 50_000):
            connection.send_chunk(b"poem " * 10_000)
        connection.send_chunk(b"!")
        answer = connection.answer()  # though the body has not ended
    assert answer.status_code == 413
    assert answer.json()["reason"] == "TooLarge"


def test_a_byte_that_is_no_text_is_told_while_the_rest_is_still_to_come(server: Server) -> None:
    with nothing_left(server), wire(server) as connection:
        connection.begin("/uploads", Content_Length=LIMIT, **TEXT)
        connection.send(POEM + b"\xe9t\xe9\n")
        answer = connection.answer()
        assert answer.status_code == 422
        assert f"not UTF-8 at byte {len(POEM):,} (line 201) and looks like Windows-1252" in answer.json()["message"]
        assert answer.headers["Connection"] == "close"
        wait_for(lambda: not any("incoming" in path for path in files(server)))  # though it goes on sending
        connection.send(POEM)
        assert connection.hears_nothing_more()


def test_whoever_goes_on_sending_what_was_refused_is_hung_up_on(here: Server) -> None:
    with nothing_left(here), wire(here) as connection:
        connection.begin("/uploads", Transfer_Encoding="chunked", **TEXT)
        connection.send_chunk(b"\xff\xff\xff\xff")
        assert connection.answer().status_code == 422
        sent, chunk = 0, b"%x\r\n%s\r\n" % (100_000, b"poem " * 20_000)
        while sent < 10**9 and connection.takes(chunk):
            sent += len(chunk)
        assert sent < 100_000_000


def test_who_is_refused_in_the_middle_can_read_why_after_sending_all(here: Server) -> None:
    content = b"\xff" + POEM * 200
    assert len(content) < LIMIT
    for data in (content, iter([content])):
        answer = here.post("/uploads", data=data, headers=TEXT)
        assert (answer.status_code, answer.json()["reason"]) == (422, "InvalidCorpus")


def test_an_upload_that_falls_silent_is_dropped(server: Server) -> None:
    before = time.monotonic()
    with nothing_left(server), wire(server) as connection:
        connection.begin("/uploads", Content_Length=LIMIT, **TEXT)
        connection.send(POEM)
        wait_until_stored(server, len(POEM))
        assert connection.hears_nothing_more()
        assert time.monotonic() - before >= 1


def test_an_upload_that_never_begins_is_dropped(server: Server) -> None:
    with nothing_left(server), wire(server) as connection:
        connection.begin("/uploads", Content_Length=LIMIT, **TEXT)
        assert connection.hears_nothing_more()


def test_an_upload_that_is_slow_is_waited_for(tmp_path: Path) -> None:
    silence = "--CharRNNServer.silence=6"
    with running(tmp_path, NOTHING_TRAINED, silence, **faulty(tmp_path)) as server, wire(server) as connection:
        connection.begin("/uploads?name=slow&start=false", Content_Length=8, **TEXT)
        for letter in b"slow\npoe":
            connection.send(bytes([letter]))
            time.sleep(1)  # together longer than it may be silent
        assert connection.answer().json()["name"] == "slow"


def test_a_connection_that_breaks_leaves_nothing(server: Server) -> None:
    id = server.post("/models", json={"name": "without a text"}).json()["id"]
    before = server.get(f"/models/{id}").json()
    for path, headers, beginning in (
        ("/uploads", TEXT, POEM),
        (f"/models/{id}/corpus", TEXT, POEM),
        ("/uploads", FORM, part(b"poems", "name", None) + part(POEM)),
        ("/models/import", FORM, part(POEM, file_name="small.safetensors")),
    ):
        for abruptly in (False, True):
            with nothing_left(server), wire(server) as connection:
                connection.begin(path, Content_Length=LIMIT, **headers)
                connection.send(beginning)
                wait_until_stored(server, len(POEM) - len(BOUNDARY) - 8)
                if abruptly:
                    connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    assert server.get(f"/models/{id}").json() == before


def test_a_body_that_is_shorter_than_announced_is_no_text(server: Server) -> None:
    with nothing_left(server), wire(server) as connection:
        connection.begin("/uploads", Content_Length=len(POEM) + 1, **TEXT)
        connection.send(POEM)
        connection.socket.shutdown(socket.SHUT_WR)
        assert connection.hears_nothing_more()


def test_chunks_that_are_none_are_no_text(server: Server) -> None:
    for nonsense in (b"zz\r\npoem\r\n", b"-4\r\npoem\r\n", b"4\r\npoemX\r\n", b"ffffffffffffffffff\r\npoem\r\n"):
        with nothing_left(server), wire(server) as connection:
            connection.begin("/uploads", Transfer_Encoding="chunked", **TEXT)
            connection.send_chunk(POEM)
            connection.send(nonsense)
            connection.socket.shutdown(socket.SHUT_WR)
            while connection.socket.recv(1000):
                pass
    assert "Traceback" not in server.messages


# forms ----------------------------------------------------------------------------------------------------------------

BROKEN_FORMS = {
    "nothing": (b"", 400, "the form is cut off"),
    "no boundary at the end": (part(POEM), 400, "the form is cut off"),
    "another boundary": (b"--other\r\n\r\n", 400, "the form is broken"),
    "no form at all": (POEM, 400, "the form is broken"),
    "no file": (part(b"poems", "name", None) + END, 400, "no file in the form; it belongs into the field 'file'"),
    "no file chosen": (part(b"", file_name="") + END, 400, "no file was chosen"),
    "two files": (part(POEM) + part(POEM) + END, 400, "there are two files in the form"),
    "a file in another field": (part(POEM, "text") + END, 400, "there is a file in the field 'text'"),
    "a form within the form": (
        part(POEM, "file", None, "Content-Type: multipart/mixed; boundary=inner") + END, 400, "a form within the form",
    ),
    "a file in base64": (part(b"cG9lbQ==", "file", "a", "Content-Transfer-Encoding: base64") + END, 400, "as base64"),
    "a part without a name": (f"--{BOUNDARY}\r\n\r\npoem\r\n".encode() + END, 400, "does not say what it is"),
    "a part that is no field": (
        f"--{BOUNDARY}\r\nContent-Disposition: attachment; name=file\r\n\r\n".encode() + END, 400, "does not say what",
    ),
    "a field twice": (part(b"a", "name", None) * 2 + part(POEM) + END, 400, "the field 'name' is given twice"),
    "a field that is no text": (part(b"\xff", "name", None) + part(POEM) + END, 400, "the field 'name' is not UTF-8"),
    "a field that is too large": (part(b"a" * 64_001, "name", None) + part(POEM) + END, 413, "more than 64,000 bytes"),
    "too many fields": (
        b"".join(part(b"a", f"n{number}", None) for number in range(65)) + part(POEM) + END, 400, "more than 64 fields",
    ),
    "a header without end": (part(POEM, "file", "a" * 20_000) + END, 400, "he"),
    "too many headers": (part(POEM, "file", "a", *["X: y"] * 50) + END, 400, "he"),
    "a header of no characters": (part(POEM, "file", "a", "X\0: y") + END, 400, "the form is broken"),
    "a line that ends halfway": (b"--" + BOUNDARY.encode() + b"\rX", 400, "the form is broken"),
}  # fmt: skip


@pytest.mark.parametrize(("body", "status", "words"), BROKEN_FORMS.values(), ids=BROKEN_FORMS.keys())
@pytest.mark.parametrize("piece", [170, 100_000])
def test_a_form_that_is_broken_is_refused(here: Server, body: bytes, status: int, words: str, piece: int) -> None:
    with nothing_left(here), wire(here) as connection:
        connection.begin("/uploads", Content_Length=len(body), **FORM)
        for start in range(0, len(body), piece):
            if not connection.takes(body[start : start + piece]):
                break  # it was refused before its end
        answer = connection.answer()
    assert answer.status_code == status, answer.text
    assert words in answer.json()["message"]
    assert "Traceback" not in here.messages


@pytest.mark.parametrize("boundary", ["", '""', "a" * 300, "?" * 80])
def test_a_boundary_that_cannot_be_is_refused(here: Server, boundary: str) -> None:
    kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    with nothing_left(here):
        answer = here.post("/uploads", data=part(POEM) + END, headers=kind)
    assert answer.status_code == 400


# the server -----------------------------------------------------------------------------------------------------------


def test_uploads_that_stall_keep_nobody_from_anything(tmp_path: Path) -> None:
    with running(tmp_path, *PATIENT, **faulty(tmp_path)) as server:
        with ExitStack() as stalled:
            for _ in range(40):
                connection = stalled.enter_context(wire(server))
                connection.begin("/uploads", Content_Length=LIMIT, **TEXT)
                connection.send(b"The kettle")
            assert server.get("/models").status_code == 200
            answer = server.post("/uploads", data=POEM, headers=TEXT, params={"start": "false"})
            assert answer.status_code == 201
        wait_for(lambda: not any("incoming" in path for path in files(server)))


def test_what_a_killed_server_was_receiving_is_cleared_away(tmp_path: Path) -> None:
    with running(tmp_path, *PATIENT, **faulty(tmp_path)) as server, wire(server) as connection:
        connection.begin("/uploads", Content_Length=LIMIT, **TEXT)
        connection.send(POEM)
        left = wait_until_stored(server, len(POEM))
        server.process.kill()
        server.process.wait()
    assert left.exists()
    with running(tmp_path, *PATIENT, **faulty(tmp_path)) as server:
        assert names(server) == []
        assert server.post("/uploads", data=POEM, headers=TEXT, params={"start": "false"}).status_code == 201
        assert not left.exists()
        assert not any("incoming" in path for path in files(server))


def test_a_server_that_ends_does_not_wait_for_an_upload(tmp_path: Path) -> None:
    with running(tmp_path, *PATIENT, **faulty(tmp_path)) as server, wire(server) as connection:
        connection.begin("/uploads", Content_Length=LIMIT, **TEXT)
        connection.send(POEM)
        wait_until_stored(server, len(POEM))
        assert server.stop(signal.SIGTERM) in (0, -signal.SIGTERM)
        assert connection.hears_nothing_more()


def test_a_database_that_goes_away_meanwhile_is_told_and_nothing_is_left(
    mariadb_server: MariaDB, tmp_path: Path
) -> None:
    mariadb_server.start()
    mariadb_server.execute("CREATE DATABASE goes_away")
    url = mariadb_server.url("goes_away")
    Database(url).upgrade()
    with running(tmp_path, *PATIENT, **faulty(tmp_path, CHARRNN_DATABASE_URL=url)) as server:
        with wire(server) as connection:
            connection.begin("/uploads", Content_Length=2 * len(POEM), **TEXT)
            connection.send(POEM)
            wait_until_stored(server, len(POEM))
            mariadb_server.stop()
            connection.send(POEM)
            answer = connection.answer()
        assert (answer.status_code, answer.json()["reason"]) == (503, "DatabaseUnavailable")
        assert "Retry-After" in answer.headers
        wait_for(lambda: files(server) == set())
        mariadb_server.start()
        assert names(server) == []


def test_a_storage_that_cannot_be_written_is_told_before_the_body(tmp_path: Path) -> None:
    (tmp_path / "occupied").write_text("a file where a folder is needed")
    storage = f"file://{tmp_path / 'occupied'}"
    with (
        running(tmp_path, *QUIET, **faulty(tmp_path, CHARRNN_STORAGE_URL=storage)) as server,
        wire(server) as connection,
    ):
        connection.begin("/uploads", Content_Length=LIMIT, **TEXT)
        answer = connection.answer()
        assert (answer.status_code, answer.json()["reason"]) == (503, "StorageUnavailable")
        assert names(server) == []


def test_whoever_hangs_up_while_the_text_is_read_in_leaves_no_model(tmp_path: Path) -> None:
    text = POEM * (60_000_000 // len(POEM))  # which takes long enough to read
    environment = faulty(tmp_path, CHARRNN_UPLOAD_LIMIT=str(len(text)))
    with running(tmp_path, NOTHING_TRAINED, **environment) as server:
        with wire(server) as connection:
            connection.begin("/uploads?start=false", Content_Length=len(text), **TEXT)
            connection.send(text)
            wait_until_stored(server, len(text))
        wait_for(lambda: not files(server) and not names(server))
