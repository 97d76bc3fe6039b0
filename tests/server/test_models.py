"""Models over HTTP: made, listed, looked at, changed, deleted."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.mariadb import MariaDB
from tests.server.places import BY_HAND, PLACES, new_model, server_in
from tests.server.running import TOKEN, Server

SECRETS = re.compile("worker_|lease|checkpoint|model_file|deaths|_key|ids_sha256|/models/|corpus-[0-9a-f]{8}")


@pytest.fixture(scope="module", params=PLACES)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with server_in(request.param, request, tmp_path_factory, BY_HAND) as server:
        yield server


def test_a_new_model_is_where_the_answer_says(server: Server) -> None:
    answer = server.post("/models", json={"name": " poems ", "options": {"minutes": 2, "num_layers": 1}})
    assert answer.status_code == 201
    address = answer.headers["Location"]
    assert address == f"{server.base_url}charrnn/api/v1/models/{answer.json()['id']}"
    model = requests.get(
        f"http://127.0.0.1:{server.port}{address}", headers={"Authorization": f"token {TOKEN}"}, timeout=120
    ).json()
    assert model == answer.json()
    assert (model["name"], model["status"], model["corpus"]) == ("poems", "draft", None)
    assert model["options"] == model["train_params"] == {"minutes": 2, "num_layers": 1}
    assert [model[name] for name in ("has_data", "is_in_progress", "is_complete", "can_write")] == [False] * 4


def test_a_sample_text_is_all_that_a_model_needs_to_be_ready(server: Server) -> None:
    model = new_model(server, "write Python", sample="python")
    assert (model["status"], model["has_data"], model["corpus"]["name"]) == ("ready", True, "python")
    assert model["corpus"]["characters"] > 1_000_000
    report = server.get(f"/models/{model['id']}/report").json()
    assert {name: report[name] for name in ("characters", "distinct", "preview")} == {
        name: model["corpus"][name] for name in ("characters", "distinct", "preview")
    }


def test_where_files_lie_and_who_trains_is_nobody_elses_business(server: Server) -> None:
    id = new_model(server, sample="python")["id"]
    server.post(f"/models/{id}/start")
    for path in ("/models", f"/models/{id}"):
        text = server.get(path).text
        assert id in text
        assert not SECRETS.search(text), SECRETS.search(text)
    server.post(f"/models/{id}/stop")


def test_models_are_listed_page_by_page_the_newest_first(server: Server) -> None:
    made = [new_model(server, f"leaf {number}")["id"] for number in range(5)]
    new_model(server, "another")
    listed: list[str] = []
    after: dict[str, str] = {}
    while True:
        page = server.get("/models", params={"prefix": "LEAF", "limit": "2", **after}).json()
        assert (page["total"], page["exact"]) == (5, True)
        listed += [model["id"] for model in page["models"]]
        if page["next"] is None:
            break
        after = {"after": page["next"]}
    assert listed == made[::-1]
    assert server.get("/models", params={"prefix": "leaf", "status": "ready"}).json()["models"] == []
    assert server.get("/models", params={"prefix": "leaf", "status": "draft"}).json()["total"] == 5


def test_those_that_wait_say_how_long_the_queue_is(server: Server) -> None:
    ids = [new_model(server, f"waiting {number}", sample="python")["id"] for number in range(2)]
    for id in ids:
        server.post(f"/models/{id}/start")
    first, second = (server.get(f"/models/{id}").json()["place_in_queue"] for id in ids)
    assert second == first + 1
    listed = server.get("/models", params={"prefix": "waiting"}).json()["models"]
    assert [model["place_in_queue"] for model in listed] == [second, first]
    for id in ids:
        server.post(f"/models/{id}/stop")
        assert server.get(f"/models/{id}").json()["place_in_queue"] is None


def test_name_options_and_sampling_are_changed_together_or_not_at_all(server: Server) -> None:
    before = new_model(server, options={"minutes": 2, "seed": 7})
    path = f"/models/{before['id']}"
    refused = server.ask("PATCH", path, json={"name": "verse", "options": {"cell": "gru"}, "sampling": {"top_p": 0}})
    assert (refused.status_code, list(refused.json()["fields"])) == (422, ["top_p"])
    assert server.get(path).json() == before
    changed = server.ask(
        "PATCH", path, json={"name": "verse", "options": {"max_steps": 5, "seed": None}, "sampling": {"top_p": 0.5}}
    )
    assert changed.status_code == 200
    model = changed.json()
    assert (model["name"], model["options"], model["sampling"]) == ("verse", {"max_steps": 5}, {"top_p": 0.5})
    assert server.ask("PATCH", path, json={}).json() == model


def test_a_deleted_model_is_gone(server: Server) -> None:
    id = new_model(server, sample="python")["id"]
    server.post(f"/models/{id}/start")
    refused = server.ask("DELETE", f"/models/{id}")
    assert (refused.status_code, refused.json()["reason"]) == (409, "InvalidTransition")
    server.post(f"/models/{id}/stop")
    answer = server.ask("DELETE", f"/models/{id}")
    assert (answer.status_code, answer.content) == (204, b"")
    for method in ("GET", "PATCH", "DELETE"):
        assert server.ask(method, f"/models/{id}").status_code == 404


@pytest.mark.parametrize(
    "id", ["x", "01JQXYZ", "0" * 26, "%00", "%FF", "..%2F..%2Fetc", "%F0%9F%99%82", "a" * 3000, "%25s", "' OR 1=1 --"]
)
def test_an_id_that_is_nobodys_is_told_in_json(server: Server, id: str) -> None:
    looks = [("GET", path, None) for path in ("", "/log", "/metrics", "/samples", "/report")]
    deeds = [("POST", path, {}) for path in ("/start", "/stop", "/fork")]
    changes = [("POST", "/continue", {"minutes": 1}), ("PATCH", "", {"name": "mine"}), ("DELETE", "", None)]
    for method, path, body in (*looks, *deeds, *changes):
        answer = server.ask(method, f"/models/{id}{path}", json=body)
        assert (answer.status_code, answer.json()["reason"]) == (404, "ModelNotFound"), answer.url
        assert answer.json()["message"].startswith("there is no model")


@pytest.mark.parametrize(
    ("query", "field", "message"),
    [
        ("limit=0", "limit", 'must be a whole number from 1 to 200, not "0"'),
        ("limit=201", "limit", 'must be a whole number from 1 to 200, not "201"'),
        ("limit=ten", "limit", 'must be a whole number from 1 to 200, not "ten"'),
        ("limit=%D9%A1", "limit", 'must be a whole number from 1 to 200, not "١"'),
        ("limit=", "limit", 'must be a whole number from 1 to 200, not ""'),
        ("limit=1&limit=2", "limit", "given 2 times; once is enough"),
        ("limt=10", "limt", "there is no such parameter; did you mean limit?"),
        ("colour=red", "colour", "there is no such parameter; there is status, prefix, after, limit"),
        ("after=yesterday", "after", 'must be the id of a model, such as `next` of the page before, not "yesterday"'),
        ("prefix=" + "a" * 201, "prefix", 'must have at most 200 characters, not "' + "a" * 58 + "…"),
        ("prefix=%FF", "prefix", "is not UTF-8"),
        (
            "status=done",
            "status",
            "must be one of draft, ready, queued, running, complete, stopped, failed, not 'done'",
        ),
    ],
)
def test_a_query_is_taken_strictly(server: Server, query: str, field: str, message: str) -> None:
    answer = server.get(f"/models?{query}")
    assert (answer.status_code, answer.json()["reason"]) == (422, "InvalidOptions")
    assert answer.json()["fields"] == {field: message}
    assert answer.json()["message"] == f"{field}: {message}"


@pytest.mark.parametrize(
    ("body", "field", "message"),
    [
        ({}, "name", "is needed"),
        ({"name": None}, "name", "must be text, not null"),
        ({"name": " "}, "name", "a model needs one"),
        ({"nmae": "poems", "name": "poems"}, "nmae", "there is no such field; did you mean name?"),
        ({"name": "poems", "options": []}, "options", "must be a JSON object, not []"),
        ({"name": "poems", "options": {"rnn_sze": 3}}, "rnn_sze", "there is no such option; did you mean rnn_size?"),
        ({"name": "poems", "options": {"rnn_size": "3"}}, "rnn_size", 'must be a whole number, not "3"'),
        ({"name": "poems", "options": {"rnn_size": 0}}, "rnn_size", "must be at least 1, not 0"),
        ({"name": "poems", "options": {"until_stopped": 1}}, "until_stopped", "must be true or false, not 1"),
        ({"name": "poems", "options": {"minutes": True}}, "minutes", "must be a number, not true"),
        ({"name": "poems", "options": {"cell": ["gru"]}}, "cell", 'must be text, not ["gru"]'),
        ({"name": "poems", "options": {"id": None}}, "id", "there is no such option"),
    ],
)
def test_a_body_is_taken_strictly(server: Server, body: dict[str, Any], field: str, message: str) -> None:
    before = server.get("/models").json()["total"]
    answer = server.post("/models", json=body)
    assert (answer.status_code, answer.json().get("fields")) == (422, {field: message})
    assert server.get("/models").json()["total"] == before


@pytest.mark.parametrize("name", ["source", "whitelist_file", "progress", "self"])
def test_no_file_of_the_servers_machine_can_be_named(server: Server, name: str) -> None:
    secret = server.folder / "secret"
    secret.write_text("my grandmother's recipe")
    answer = server.post("/models", json={"name": "thief", "options": {name: str(secret)}})
    assert (answer.status_code, list(answer.json()["fields"])) == (422, [name])
    id = new_model(server)["id"]
    for ask, path in (("PATCH", ""), ("POST", "/start"), ("POST", "/fork")):
        body: dict[str, Any] = {name: str(secret)} if path == "/start" else {"options": {name: str(secret)}}
        assert server.ask(ask, f"/models/{id}{path}", json=body).status_code == 422
    assert server.get("/models", params={"prefix": "thief"}).json()["total"] == 0


@pytest.mark.parametrize(
    "body", ['{"name": ', "[]", '"poems"', '{"name": NaN}', '{"name": "\\ud800"}', '{"name": "\xff"}', "[" * 100_000]
)
def test_what_is_no_json_object_is_not_read(server: Server, body: str) -> None:
    answer = server.post("/models", data=body.encode("latin-1"))
    assert (answer.status_code, answer.json()["reason"]) == (400, "Bad Request")
    assert answer.json()["message"].startswith("the body ")


def test_without_its_database_the_server_says_when_to_ask_again(
    mariadb_server: MariaDB, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    with server_in("MariaDB", request, tmp_path_factory, BY_HAND) as server:
        model = new_model(server)
        mariadb_server.stop()
        try:
            answer = server.get("/models")
            assert (answer.status_code, answer.json()["reason"]) == (503, "DatabaseUnavailable")
            assert int(answer.headers["Retry-After"]) > 0
            assert server.get("/live").status_code == 204
        finally:
            mariadb_server.start()
        assert server.get("/models").json()["models"] == [model]
