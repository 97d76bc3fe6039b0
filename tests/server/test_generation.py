"""Writing over HTTP: what charrnn writes itself, whole or as it is written, for many at once."""

from __future__ import annotations

import codecs
import itertools
import re
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import unquote

import pytest
import requests

import charrnn
from charrnn.network.model import Model
from charrnn.text.vocabulary import Vocabulary
from tests.jobs.trainings import wait_for
from tests.server.running import TOKEN, Server, running
from tests.server.streams import told
from tests.workspace.played import LETTERS, TEXT, Attempt, saved_model


@pytest.fixture(scope="module")
def workspace(server: Server) -> Iterator[charrnn.Workspace]:
    """The models of the server, put there by this process."""
    workspace = charrnn.Workspace(data_folder=server.folder / "data")
    yield workspace
    workspace.close()


@pytest.fixture(scope="module")
def id(workspace: charrnn.Workspace, model_file: Path) -> str:
    """A small model."""
    return workspace.import_model(model_file, "small").id


@pytest.fixture(scope="module")
def slow(workspace: charrnn.Workspace, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model that takes its time: some 10,000 characters a second."""
    path = tmp_path_factory.mktemp("slow") / "slow.safetensors"
    Model.initial("lstm", Vocabulary(LETTERS), rnn_size=512, num_layers=2, embedding_size=16).save(path)
    return workspace.import_model(path, "slow").id


STREAMED = ["text/event-stream", "text/plain"]


def figure(server: Server, name: str) -> int:
    """One of the figures that the server tells to Prometheus."""
    metrics = requests.get(f"{server.site}/metrics", headers={"Authorization": f"token {TOKEN}"}, timeout=120).text
    found = re.search(rf"^{name} (\S+)", metrics, re.MULTILINE)
    assert found, f"there is no {name}"
    return int(float(found[1]))


def being_written(server: Server) -> int:
    """How many texts the server writes now."""
    return figure(server, "charrnn_texts_being_written")


# -- what is written -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"prompt": "the ", "length": 300, "seed": 7},
        {"prompt": "", "length": 50, "temperature": 0},
        {"prompt": "tea", "length": 400, "seed": 1, "temperature": 0.7, "top_k": 5, "top_p": 0.9},
        {"prompt": "tea", "length": 400, "seed": 1, "stop": ["e"]},
        {"prompt": "tea", "length": 0},
    ],
)
def test_a_text_is_the_one_that_charrnn_writes(server: Server, id: str, model_file: Path, options: dict) -> None:
    answer = server.post(f"/models/{id}/generate", json=options)
    assert answer.status_code == 200
    seed = {"seed": options["seed"]} if "seed" in options else {}
    text = charrnn.load(model_file).generate(**options)
    assert answer.json() == {"text": text, "prompt": options["prompt"], **seed, "unknown": []}


def test_several_texts_come_together_each_as_charrnn_writes_it(server: Server, id: str, model_file: Path) -> None:
    answer = server.post(f"/models/{id}/generate", json={"prompt": "a", "length": 90, "seed": 3, "count": 70}).json()
    assert answer["texts"] == charrnn.load(model_file).generate("a", length=90, seed=3, count=70)


def test_a_model_writes_with_the_options_that_are_set_for_it(
    server: Server, workspace: charrnn.Workspace, model_file: Path
) -> None:
    id = workspace.import_model(model_file, "set").id
    workspace.set_sampling(id, prompt="so ", length=40, seed=5)
    assert server.post(f"/models/{id}/generate").json()["text"] == charrnn.load(model_file).generate(
        "so ", length=40, seed=5
    )


def test_characters_that_the_model_has_never_seen_are_named(server: Server, id: str) -> None:
    asked = {"prompt": "ein Ei 🥚\n", "length": 5}
    path = f"/models/{id}/generate"
    assert server.post(path, json=asked).json()["unknown"] == ["E", "🥚"]
    *_, done = told(server.post(path, json=asked, headers={"Accept": "text/event-stream"}, stream=True))
    assert done.data["unknown"] == ["E", "🥚"]
    plain = server.post(path, json=asked, headers={"Accept": "text/plain"})
    assert unquote(plain.headers["CharRNN-Unknown"]) == "E🥚"


def test_a_sample_is_prompt_and_text_as_the_classic_program_gave_them(
    server: Server, id: str, model_file: Path
) -> None:
    text = charrnn.load(model_file).generate("the ", length=200, seed=9)
    for names in ("prompt=the%20&length=200&seed=9", "start_string=the+&max_length=200&seed=9"):
        answer = server.get(f"/models/{id}/sample?{names}")
        assert answer.headers["Content-Type"] == "text/plain; charset=UTF-8"
        assert answer.text == "the " + text


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("text/html, application/json;q=0.9", "application/json"),
        ("text/plain", "text/plain; charset=UTF-8"),
        ("application/json;q=0.5, text/event-stream", "text/event-stream"),
    ],
)
def test_the_form_of_the_answer_is_the_one_that_is_accepted(
    server: Server, id: str, accept: str, content_type: str
) -> None:
    answer = server.post(f"/models/{id}/generate", json={"length": 5}, headers={"Accept": accept})
    assert answer.headers["Content-Type"] == content_type


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"length": -1}, "length"),
        ({"length": 5_000_000, "count": 3}, "length"),
        ({"prompt": "x" * 10_001}, "prompt"),
        ({"temperature": "hot"}, "temperature"),
        ({"id": "other"}, "id"),
        ({"self": 1}, "self"),
        ({"prompt": "a", "start_string": "b"}, "prompt"),
    ],
)
def test_what_cannot_be_written_is_refused_by_name(server: Server, id: str, asked: dict, field: str) -> None:
    answer = server.post(f"/models/{id}/generate", json=asked)
    assert answer.status_code == 422
    assert field in answer.json()["fields"]


def test_plain_text_is_one_text(server: Server, id: str) -> None:
    answer = server.post(f"/models/{id}/generate", json={"count": 2}, headers={"Accept": "text/plain"})
    assert answer.status_code == 422
    assert "count" in answer.json()["fields"]
    assert server.get(f"/models/{id}/sample?length=many").json()["fields"].keys() == {"length"}


def test_a_model_that_has_learned_nothing_says_when_it_will_write(server: Server, workspace: charrnn.Workspace) -> None:
    id = workspace.create("empty").id
    answer = server.post(f"/models/{id}/generate", json={})
    assert answer.status_code == 409
    assert "has learned nothing yet" in answer.json()["message"]
    assert server.post(f"/models/{'0' * 26}/generate", json={}).status_code == 404


# -- as it is written ------------------------------------------------------------------------------------------------


def test_a_text_comes_while_it_is_written(server: Server, slow: str) -> None:
    path, wanted = f"/models/{slow}/generate", {"headers": {"Accept": "text/event-stream"}, "stream": True}
    wait_for(lambda: being_written(server) == 0)
    with server.post(path, json={"length": 5_000_000}, **wanted) as answer:
        events = told(answer)
        assert next(events).data["text"]
        assert being_written(server) == 1
    wait_for(lambda: being_written(server) == 0)
    *texts, done = told(server.post(path, json={"prompt": "the ", "length": 10_000, "seed": 2}, **wanted))
    assert len(texts) > 5
    assert {event.name for event in texts} == {"text"}
    assert len("".join(event.data["text"] for event in texts)) == 10_000
    assert (done.name, done.data["reasons"], done.data["seed"]) == ("done", ["length"], 2)


def test_pieces_of_several_texts_are_told_apart(server: Server, id: str, model_file: Path) -> None:
    asked = {"prompt": "a", "length": 3_000, "seed": 4, "count": 3, "stop": ["zz", "tt"]}
    answer = server.post(f"/models/{id}/generate", json=asked, headers={"Accept": "text/event-stream"}, stream=True)
    *texts, done = told(answer)
    expected = charrnn.load(model_file).generate(**asked)
    for index, text in enumerate(expected):
        assert "".join(event.data["text"] for event in texts if event.data["index"] == index) == text
    assert len(done.data["reasons"]) == 3


def test_plain_text_comes_in_whole_characters(server: Server, workspace: charrnn.Workspace, tmp_path: Path) -> None:
    path = tmp_path / "emoji.safetensors"
    Model.initial("gru", Vocabulary("🥚🐔äöü漢字"), rnn_size=64).save(path)
    id = workspace.import_model(path).id
    asked = {"prompt": "🥚", "length": 30_000, "seed": 1}
    with server.post(f"/models/{id}/generate", json=asked, headers={"Accept": "text/plain"}, stream=True) as answer:
        pieces = [chunk.decode("utf-8") for chunk in answer.raw.read_chunked()]
    assert len(pieces) > 1
    assert "".join(pieces) == charrnn.load(path).generate(**asked)


# -- together --------------------------------------------------------------------------------------------------------


def test_texts_that_are_asked_of_one_model_at_once_share_its_steps(
    server: Server, workspace: charrnn.Workspace, tmp_path: Path
) -> None:
    path = tmp_path / "usual.safetensors"
    Model.initial("lstm", Vocabulary(LETTERS), rnn_size=128, num_layers=2).save(path)
    id = workspace.import_model(path).id

    before, texts, length = figure(server, "charrnn_characters_stepped_total"), 12, 50_000
    with ThreadPoolExecutor(texts) as pool:
        asked = [pool.submit(server.post, f"/models/{id}/generate", json={"length": length}) for _ in range(texts)]
        assert all(len(answer.result().json()["text"]) == length for answer in asked)
    assert length <= figure(server, "charrnn_characters_stepped_total") - before < texts * length / 2


def test_seeded_texts_are_the_same_in_company(server: Server, id: str, model_file: Path) -> None:
    model = charrnn.load(model_file)

    def right(seed: int) -> bool:
        asked = {"prompt": "t" * seed, "length": 200 + 50 * seed, "seed": seed if seed % 3 else None}
        text = server.post(f"/models/{id}/generate", json=asked).json()["text"]
        return text == model.generate(**asked) if seed % 3 else len(text) == asked["length"]

    with ThreadPoolExecutor(24) as pool:
        assert all(pool.map(right, range(48)))


def test_a_client_that_goes_away_stops_its_text_and_no_other(server: Server, slow: str) -> None:
    wait_for(lambda: being_written(server) == 0)
    endless, path = {"length": 5_000_000}, f"/models/{slow}/generate"
    stays = server.post(path, json=endless, headers={"Accept": "text/event-stream"}, stream=True)
    events = told(stays)
    goes = [server.post(path, json=endless, headers={"Accept": form}, stream=True) for form in STREAMED * 3]
    body = b'{"length": 5000000}'
    with socket.create_connection(("127.0.0.1", server.port)) as waits_for_all_of_it:
        waits_for_all_of_it.sendall(
            f"POST /charrnn/api/v1{path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            f"Authorization: token {TOKEN}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        wait_for(lambda: being_written(server) == 8)
    for answer in goes:
        answer.close()
    wait_for(lambda: being_written(server) == 1)
    assert all(event.data["text"] for event in itertools.islice(events, 20))
    assert being_written(server) == 1
    stays.close()
    wait_for(lambda: being_written(server) == 0)


def test_more_texts_than_are_written_at_once_wait_in_line(tmp_path: Path, model_file: Path) -> None:
    with running(tmp_path, "--CharRNNServer.streams=2", "--CharRNNServer.supervise=False") as server:
        workspace = charrnn.Workspace(data_folder=server.folder / "data")
        id = workspace.import_model(model_file).id
        workspace.close()
        with ThreadPoolExecutor(13) as pool:
            path, model = f"/models/{id}/generate", charrnn.load(model_file)

            def right(seed: int) -> bool:
                text = server.post(path, json={"length": 50, "seed": seed}).json()["text"]
                return text == model.generate(length=50, seed=seed)

            many = pool.submit(server.post, path, json={"length": 3_000, "count": 40, "seed": 1})
            assert all(pool.map(right, range(12)))
            assert many.result().json()["texts"] == model.generate(length=3_000, count=40, seed=1)

            endless, stream = {"length": 200_000, "count": 40}, {"Accept": "text/event-stream"}
            with server.post(path, json=endless, headers=stream, stream=True) as answer:
                events = told(answer)
                assert next(events).data["text"]
                assert all(pool.map(right, range(12)))
                assert being_written(server) > 0, "they had their turns between"


def test_only_so_many_models_write_at_a_time(tmp_path: Path, model_file: Path) -> None:
    with running(tmp_path, "--CharRNNServer.supervise=False", CHARRNN_MODEL_CACHE="1") as server:
        workspace = charrnn.Workspace(data_folder=server.folder / "data")
        first, second = (workspace.import_model(model_file).id for _ in range(2))
        workspace.close()
        endless = server.post(
            f"/models/{first}/generate", json={"length": 9_000_000}, headers={"Accept": "text/plain"}, stream=True
        )
        characters = endless.iter_content(10)
        assert next(characters)
        answer = server.post(f"/models/{second}/generate", json={"length": 10})
        assert (answer.status_code, answer.json()["reason"]) == (429, "QuotaExceeded")
        assert int(answer.headers["Retry-After"]) > 0
        characters.close()
        wait_for(lambda: server.post(f"/models/{second}/generate", json={"length": 10}).status_code == 200)


# -- during training -------------------------------------------------------------------------------------------------


def test_a_better_model_writes_what_begins_after_it_was_saved(tmp_path: Path) -> None:
    with running(tmp_path, "--CharRNNServer.supervise=False") as server:
        workspace = charrnn.Workspace(data_folder=server.folder / "data")
        id = workspace.create("poems", TEXT).id
        workspace.start(id)
        attempt = Attempt(workspace)
        assert server.post(f"/models/{id}/generate", json={}).status_code == 409
        old, new = (saved_model(tmp_path / f"{seed}.safetensors", seed) for seed in (1, 2))
        attempt.publish(old, step=10)
        asked = {"length": 400_000, "seed": 6}
        with server.post(f"/models/{id}/generate", json=asked, headers={"Accept": "text/plain"}, stream=True) as answer:
            characters = answer.iter_content(1)
            begin = next(characters)
            attempt.publish(new, step=20)
            later = server.post(f"/models/{id}/generate", json={"length": 50, "seed": 6}).json()["text"]
            assert later == charrnn.load(new).generate(length=50, seed=6)
            whole = codecs.decode(begin + b"".join(answer.iter_content(None)), "utf-8")
        assert whole == charrnn.load(old).generate(**asked)
        workspace.close()


# -- predictions and scores ------------------------------------------------------------------------------------------


def test_the_likeliest_next_characters_are_those_that_charrnn_predicts(
    server: Server, id: str, model_file: Path
) -> None:
    answer = server.post(f"/models/{id}/predict", json={"prompt": "the €", "top": 4, "temperature": 0.8}).json()
    with pytest.warns(charrnn.network.UnknownCharacters):
        expected = charrnn.load(model_file).predict("the €", top=4, temperature=0.8)
    assert answer == {"predictions": [vars(prediction) for prediction in expected], "unknown": ["€"]}
    assert len(server.post(f"/models/{id}/predict").json()["predictions"]) == 10


def test_a_score_tells_what_each_character_costs(server: Server, id: str, model_file: Path) -> None:
    answer = server.post(f"/models/{id}/score", json={"text": "the €uro"}).json()
    expected = charrnn.load(model_file).score("the €uro")
    assert answer["nats_per_character"] == expected.nats_per_character
    assert [each["character"] for each in answer["characters"]] == list("the €uro")
    nats = [each["nats"] for each in answer["characters"]]
    assert nats[0] is None
    assert nats[4] is None
    assert nats[1:4] == expected[1:4].tolist()
    assert server.post(f"/models/{id}/score", json={"text": ""}).json() == {
        "nats_per_character": None,
        "characters": [],
    }


@pytest.mark.parametrize(
    ("route", "asked", "field"),
    [
        ("predict", {"top": 0}, "top"),
        ("predict", {"temperature": -1}, "temperature"),
        ("predict", {"prompt": "x" * 10_001}, "prompt"),
        ("predict", {"length": 5}, "length"),
        ("score", {}, "text"),
        ("score", {"text": 5}, "text"),
        ("score", {"text": "x" * 100_001}, "text"),
    ],
)
def test_what_cannot_be_looked_at_is_refused_by_name(
    server: Server, id: str, route: str, asked: dict, field: str
) -> None:
    answer = server.post(f"/models/{id}/{route}", json=asked)
    assert answer.status_code == 422
    assert answer.json()["fields"].keys() == {field}
