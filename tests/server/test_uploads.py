"""A text that is sent arrives as it is, as a form or by itself, and one request can do all that a training needs."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from charrnn.errors import InvalidCorpus
from charrnn.jobs.database import Database
from charrnn.text.corpus import ingest
from tests.jobs.trainings import wait_for
from tests.mariadb import Elsewhere, MariaDB
from tests.s3 import S3
from tests.server.running import TOKEN, Server, running
from tests.server.sending import END, FORM, TEXT, Wire, nothing_left, part, wire

POEM = ("Zwölf Boxkämpfer jagen Viktor\r\nquer über den großen Sylter Deich 🙂.\n" * 50).encode()
NOTHING_TRAINED = "--CharRNNServer.supervise=False"
PLACES = ["SQLite and files", "MariaDB and files", "SQLite and S3"]


@pytest.fixture(scope="module", params=PLACES)
def everywhere(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that trains nothing, on each kind of database and storage."""
    folder = tmp_path_factory.mktemp("uploads")
    (folder / "temporary").mkdir()
    environment = {"TMPDIR": str(folder / "temporary")}
    database, _, storage = request.param.partition(" and ")
    if database == "MariaDB":
        mysql: MariaDB | Elsewhere = request.getfixturevalue("mysql_server")
        environment["CHARRNN_DATABASE_URL"] = mysql.url(mysql.create())
        Database(environment["CHARRNN_DATABASE_URL"]).upgrade()
    if storage == "S3":
        s3: S3 = request.getfixturevalue("s3_server")
        environment |= {**s3.environment, "CHARRNN_STORAGE_URL": f"s3://{s3.bucket()}/charrnn"}
    with running(folder, NOTHING_TRAINED, **environment) as server:
        yield server


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that trains nothing and takes 10,000 bytes, for what does not depend on database or storage."""
    folder = tmp_path_factory.mktemp("uploads")
    (folder / "temporary").mkdir()
    with running(folder, NOTHING_TRAINED, CHARRNN_UPLOAD_LIMIT="10000", TMPDIR=str(folder / "temporary")) as server:
        yield server


def new_model(server: Server) -> str:
    answer = server.post("/models", json={"name": "poems"})
    assert answer.status_code == 201, answer.text
    id: str = answer.json()["id"]
    return id


def is_the_poem(corpus: dict[str, Any]) -> bool:
    characters = len(POEM.decode().replace("\r\n", "\n"))
    return (corpus["sha256"], corpus["bytes"], corpus["characters"]) == (
        hashlib.sha256(POEM).hexdigest(), len(POEM), characters,
    )  # fmt: skip


def test_a_text_comes_as_a_form_or_as_the_body_itself(everywhere: Server) -> None:
    id = new_model(everywhere)
    for sent in ({"files": {"file": ("poems.txt", POEM)}}, {"data": POEM, "headers": TEXT}):
        answer = everywhere.post(f"/models/{id}/corpus", **sent)
        assert answer.status_code == 201, answer.text
        model = answer.json()
        assert (model["id"], model["status"], model["has_data"]) == (id, "ready", True)
        assert is_the_poem(model["corpus"])
        assert model["corpus"]["name"] == ("poems.txt" if "files" in sent else "text")
        assert everywhere.get(f"/models/{id}").json() == model
    named = everywhere.post(f"/models/{id}/corpus", data=POEM, headers=TEXT, params={"name": "Boxkämpfer"}).json()
    assert named["corpus"]["name"] == "Boxkämpfer"


def test_one_request_makes_a_model_with_its_text_and_options_and_queues_it(everywhere: Server) -> None:
    options = {"minutes": "2.5", "rnn_size": "16", "cell": "gru"}
    for sent in (
        {"files": {"file": ("poems.txt", POEM)}, "data": {"name": "poems", **options}},
        {"data": POEM, "headers": TEXT, "params": {"name": "poems", **options}},
        {"files": {"file": ("poems.txt", POEM)}, "params": {"name": "poems", "cell": "gru"},
         "data": {"minutes": "2.5", "num_seqs": "", "rnn_size": "16"}},
    ):  # fmt: skip
        answer = everywhere.post("/uploads", **sent)
        assert answer.status_code == 201, answer.text
        model = answer.json()
        assert answer.headers["Location"] == f"/charrnn/api/v1/models/{model['id']}"
        assert (model["name"], model["status"]) == ("poems", "queued")
        assert model["options"] == {"minutes": 2.5, "rnn_size": 16, "cell": "gru"}
        assert model["place_in_queue"] is not None
        assert is_the_poem(model["corpus"])


def test_without_a_start_and_a_name_the_model_waits_and_is_called_like_its_file(everywhere: Server) -> None:
    model = everywhere.post("/uploads", files={"file": ("my poems.v2.txt", POEM)}, data={"start": "false"}).json()
    assert (model["name"], model["status"], model["corpus"]["name"]) == ("my poems.v2", "ready", "my poems.v2.txt")
    assert everywhere.post("/uploads", data=POEM, headers=TEXT, params={"start": "false"}).json()["name"] == "text"


def test_a_text_that_is_wrong_leaves_the_former_one_or_no_model(everywhere: Server) -> None:
    id = new_model(everywhere)
    before = everywhere.post(f"/models/{id}/corpus", data=POEM, headers=TEXT).json()
    with nothing_left(everywhere):
        for path in (f"/models/{id}/corpus", "/uploads"):
            answer = everywhere.post(path, files={"file": ("mine.txt", POEM + b"\xff")})
            assert answer.status_code == 422
            assert answer.json()["reason"] == "InvalidCorpus"
            assert answer.json()["message"].startswith(f"mine.txt is not UTF-8 at byte {len(POEM):,} (line 101)")
    assert everywhere.get(f"/models/{id}").json() == before


def test_a_text_in_chunks_of_any_size_is_put_together(everywhere: Server) -> None:
    def chunks() -> Iterator[bytes]:
        for size in (1, 2, 3, 500, 1000):
            for start in range(0, len(POEM), size):
                yield POEM[start : start + size]

    answer = everywhere.post("/uploads", data=chunks(), headers=TEXT, params={"start": "false"})
    assert answer.status_code == 201, answer.text
    assert answer.json()["corpus"]["sha256"] == hashlib.sha256(POEM * 5).hexdigest()


def test_the_text_of_a_model_that_has_learned_stays(here: Server, model_file: Path) -> None:
    id = here.post("/models/import", files={"file": model_file.read_bytes()}).json()["id"]
    with wire(here) as connection:  # refused before it is sent
        connection.begin(f"/models/{id}/corpus", Content_Length=9000, **TEXT)
        answer = connection.answer()
    assert answer.status_code == 409
    assert "keeps its text; a fork goes on with another one" in answer.json()["message"]


@pytest.mark.parametrize("order", ["before", "after"])
def test_fields_may_stand_before_the_file_or_after_it(here: Server, order: str) -> None:
    fields = part(b"x", "name", None) + part(b"false", "start", None) + part("7½".encode(), "whitelist", None)
    file = part(POEM)
    body = (fields + file if order == "before" else file + fields) + END
    with wire(here) as connection:
        connection.begin("/uploads", Content_Length=len(body), **FORM)
        for start in range(0, len(body), 97):
            connection.send(body[start : start + 97])
        answer = connection.answer()
    assert answer.status_code == 422
    assert answer.json()["fields"] == {"whitelist": "none of its characters is in poems.txt"}


def test_a_whole_training_is_one_line_of_curl(server: Server, tmp_path: Path) -> None:
    (tmp_path / "poems.txt").write_bytes(POEM)
    command = (
        f'curl -sS -H "Authorization: token {TOKEN}" -F file=@poems.txt -F name=poems -F max_steps=3 -F rnn_size=8 '
        f"{server.api}/uploads"
    )
    made = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert '"status": "queued"' in made.stdout
    (id,) = [model["id"] for model in server.get("/models").json()["models"] if model["corpus"]["name"] == "poems.txt"]
    wait_for(lambda: server.get(f"/models/{id}").json()["is_complete"])
    assert server.get(f"/models/{id}").json()["step"] == 3


@pytest.mark.parametrize(
    ("name", "upload"),
    [
        ("put", "-X POST -T poems.txt"), ("piped", "-X POST -T - <poems.txt"),
        ("raw", "--data-binary @poems.txt -H 'Content-Type: text/plain'"),
    ],
)  # fmt: skip
def test_curl_sends_a_file_as_it_is(here: Server, tmp_path: Path, name: str, upload: str) -> None:
    (tmp_path / "poems.txt").write_bytes(POEM)
    address = f"{here.api}/uploads?start=false&name={name}"
    command = f'curl -sS --fail-with-body -H "Authorization: token {TOKEN}" "{address}" {upload}'
    subprocess.run(command, shell=True, cwd=tmp_path, check=True, capture_output=True)
    found = here.get("/models", params={"prefix": name}).json()["models"]
    assert [is_the_poem(model["corpus"]) for model in found] == [True]


def test_what_curl_sends_without_saying_what_it_is_is_not_guessed_at(here: Server) -> None:
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = here.post("/uploads", data=POEM, headers=kind)
    assert answer.status_code == 415
    assert "-F file=@poems.txt" in answer.json()["message"]
    assert here.post("/uploads", json={"name": "poems"}).status_code == 415


WRONG_TEXTS = {
    "Windows-1252": "Où est passé le garçon ?\n".encode("cp1252") * 9,
    "UTF-16 with a mark": ("﻿" + "poems and poems\n" * 9).encode("utf-16-le"),
    "UTF-16 without": ("poems and poems\n" * 9).encode("utf-16-le"),
    "a NUL": b"hello\0world and more",
    "cut within a character": "première é".encode()[:-1],
    "a PDF": b"%PDF-1.7\n\xe2\xe3\xcf\xd3\n",
    "a ZIP": b"PK\x03\x04\x14\0\0\0\x08\0\xff",
    "no character": b"\xff" * 100,
    "nothing": b"",
    "a byte order mark": b"\xef\xbb\xbf",
    "one character": b"aaaa",
}


@pytest.mark.parametrize("content", WRONG_TEXTS.values(), ids=WRONG_TEXTS.keys())
def test_what_is_no_text_is_told_in_the_words_of_the_text_itself(here: Server, content: bytes, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_bytes(content)
    with pytest.raises(InvalidCorpus) as expected:
        ingest(tmp_path / "mine.txt", tmp_path / "ids")
    with nothing_left(here):
        answer = here.post("/uploads", files={"file": ("mine.txt", content)})
    assert answer.status_code == 422
    assert answer.json()["message"] == str(expected.value).replace(str(tmp_path / "mine.txt"), "mine.txt")


def test_options_that_cannot_be_are_refused_before_the_text_is_sent(here: Server) -> None:
    wrong = {
        "cell=brain": {"cell": "must be one of 'lstm', 'gru' or 'rnn', not 'brain'"},
        "rnn_siz=3": {"rnn_siz": "there is no such option; did you mean rnn_size?"},
        "minutes=soon": {"minutes": 'must be a number, not "soon"'},
        "rnn_size=1.5": {"rnn_size": 'must be a whole number, not "1.5"'},
        "whitelist_file=/etc/passwd": {
            "whitelist_file": "a file cannot be named here; give the characters as whitelist"
        },
        "start=maybe": {"start": "must be true or false, not 'maybe'"},
        "name=a%0D%0Ab": {"name": "holds U+000D, which cannot be shown"},
        "name=a&name=b": {"name": "given 2 times; once is enough"},
        "name=%FF": {"name": "is not UTF-8"},
    }
    for query, fields in wrong.items():
        with wire(here) as connection:
            connection.begin(f"/uploads?{query}", Content_Length=5000, **TEXT)
            answer = connection.answer()
        assert (answer.status_code, answer.json()["fields"]) == (422, fields)


@pytest.mark.parametrize("field", ["progress", "source", "sample", "self", "id", "owner", "files"])
def test_a_field_never_becomes_more_than_an_option(here: Server, field: str) -> None:
    with nothing_left(here):
        answer = here.post("/uploads", files={"file": POEM}, data={field: "/etc/passwd"})
    assert answer.status_code == 422
    assert answer.json()["fields"][field].startswith("there is no such option")


def test_what_is_said_in_the_address_is_not_said_again_in_the_form(here: Server) -> None:
    answer = here.post("/uploads", files={"file": POEM}, params={"name": "a"}, data={"name": "b"})
    assert (answer.status_code, answer.json()["fields"]) == (
        422, {"name": "given both in the address and in the form"},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("../../../../etc/passwd", "passwd"), (r"C:\\texts\\poems.txt", "poems.txt"), ("..", ".."), ("", "text"),
        ("a%0D%0Ab.txt", "a··b.txt"),
        ("a%22b.txt", 'a"b.txt'), ("日本語.txt", "日本語.txt"), ("\x1b[31mred.txt", "·[31mred.txt"),
    ],
)  # fmt: skip
def test_a_file_name_is_only_what_it_is_called(here: Server, sent: str, shown: str) -> None:
    body = part(POEM, file_name=sent) + part(b"false", "start", None) + END
    with wire(here) as connection:
        connection.begin("/uploads", Content_Length=len(body), **FORM)
        connection.send(body)
        answer = connection.answer()
    assert answer.status_code == 201, answer.text
    assert answer.json()["corpus"]["name"] == shown
    stored = {path for path in here.folder.rglob("*") if path.is_file()}
    assert not [path for path in stored if path.name in ("passwd", "poems.txt")]


def test_a_text_may_have_as_many_bytes_as_there_is_room_for_and_not_one_more(here: Server) -> None:
    text = (b"0123456789" * 1000)[:10_000]
    start = {"start": "false"}
    for count, status in ((10_000, 201), (10_001, 413)):
        content = (text + b"!")[:count]
        for sent in (
            {"data": content, "headers": TEXT, "params": start},
            {"data": iter([content[:5000], content[5000:]]), "headers": TEXT, "params": start},
            {"files": {"file": content}, "data": start},
        ):
            answer = here.post("/uploads", **sent)
            assert answer.status_code == status, answer.text
            if status == 413:
                assert "10,000" in answer.json()["message"]
                assert answer.json()["reason"] == "TooLarge"


def test_a_field_without_a_file_name_may_hold_the_text_too(here: Server) -> None:
    answer = here.post("/uploads", files={"file": (None, POEM)}, data={"start": "false"})
    assert answer.status_code == 201, answer.text
    assert is_the_poem(answer.json()["corpus"])


def test_several_texts_are_taken_in_side_by_side(here: Server) -> None:
    half = len(POEM) // 2
    with wire(here) as first, wire(here) as second, wire(here) as third:
        for connection in (first, second, third):
            connection.begin("/uploads?start=false", Content_Length=len(POEM), **TEXT)
            connection.send(POEM[:half])

        def ended(connection: Wire) -> bool:
            connection.send(POEM[half:])
            return is_the_poem(connection.answer().json()["corpus"])

        assert all(ended(connection) for connection in (third, first, second))


def test_a_text_is_called_what_can_be_shown(here: Server) -> None:
    id = new_model(here)
    for name in ("", "a\nb", "x" * 201):
        for path in (f"/models/{id}/corpus", "/models/import", "/uploads"):
            answer = here.post(path, data=POEM, headers=TEXT, params={"name": name})
            assert (answer.status_code, [*answer.json()["fields"]]) == (422, ["name"])
    assert not here.get(f"/models/{id}").json()["has_data"]
