"""What is known of a text and of its training, over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from charrnn.jobs.records import Metric
from charrnn.workspace import Workspace
from tests.server.places import BY_HAND, new_model, workspace_of
from tests.server.running import Server, running
from tests.workspace.played import TEXT, Attempt

LINES = ["going on at step 0", "step 100, loss 2.5", "<b>é 界 🙂</b>", "done"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("reports"), BY_HAND) as server:
        yield server


@pytest.fixture(scope="module")
def model(server: Server) -> str:
    """The path of a model that has told what a training tells."""
    with workspace_of(server) as workspace:
        return f"/models/{told(workspace)}"


def told(workspace: Workspace) -> str:
    id = workspace.create("poems", TEXT).id
    workspace.start(id)
    attempt = Attempt(workspace)
    attempt.deliver(
        lines=list(enumerate(LINES)),
        metrics=[Metric(step=step, train_loss=3 - step / 100, seconds=step / 10) for step in (0, 50, 100)],
        samples=[(step, f"the kettle {step}") for step in (1, 2, 5)],
    )
    attempt.end()
    return id


def test_the_log_is_read_on_from_where_one_was(server: Server, model: str) -> None:
    read: list[dict[str, Any]] = []
    after = -1
    while lines := (page := server.get(f"{model}/log", params={"after": after, "limit": 3}).json())["lines"]:
        assert page["next"] == lines[-1]["position"]
        read, after = read + lines, page["next"]
    assert [(line["position"], line["text"]) for line in read] == list(enumerate(LINES))
    assert page == {"lines": [], "next": len(LINES) - 1}


@pytest.mark.parametrize(
    ("accept", "query", "as_text"),
    [
        (None, "", False),
        ("*/*", "", False),
        ("text/plain", "", True),
        ("text/html, */*;q=0.8", "", False),
        ("application/json;q=0.5, text/*;q=0.9", "", True),
        ("image/png", "", False),
        ("text/plain;q=x", "", False),
        ("application/json", "?format=text", True),
        ("text/plain", "?format=json", False),
    ],
)
def test_the_log_comes_as_it_is_asked_for(
    server: Server, model: str, accept: str | None, query: str, as_text: bool
) -> None:
    authorization = {"Authorization": f"token {server.token}"}
    answer = server.get(f"{model}/log{query}", headers={**authorization, "Accept": accept})
    assert answer.status_code == 200
    if as_text:
        assert answer.headers["Content-Type"] == "text/plain; charset=UTF-8"
        assert answer.content.decode() == "".join(f"{line}\n" for line in LINES)
    else:
        assert answer.headers["Content-Type"] == "application/json"
        assert [line["text"] for line in answer.json()["lines"]] == LINES
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


def test_curves_and_samples_come_by_step(server: Server, model: str) -> None:
    metrics = server.get(f"{model}/metrics").json()["metrics"]
    assert [(point["step"], point["train_loss"], point["seconds"]) for point in metrics] == [
        (0, 3.0, 0.0), (50, 2.5, 5.0), (100, 2.0, 10.0),
    ]  # fmt: skip
    assert metrics[0]["validation_loss"] is None
    after = server.get(f"{model}/metrics", params={"after": 0, "limit": 1}).json()["metrics"]
    assert [point["step"] for point in after] == [50]
    samples = server.get(f"{model}/samples", params={"after": 1}).json()
    assert samples == {"samples": [{"step": 2, "text": "the kettle 2"}, {"step": 5, "text": "the kettle 5"}]}


def test_the_report_on_a_text_warns_of_what_could_go_wrong(server: Server) -> None:
    with workspace_of(server) as workspace:
        id = workspace.create("short", TEXT[:650]).id
    report = server.get(f"/models/{id}/report").json()
    assert (report["characters"], report["unknown"]) == (650, 0)
    assert report["preview"] == TEXT[:300].decode()
    assert report["commonest"][0] == [" ", TEXT[:650].count(b" ")]
    assert report["warnings"][0].startswith("Very short")


def test_where_there_is_nothing_yet_the_answer_says_so(server: Server) -> None:
    path = f"/models/{new_model(server)['id']}"
    assert server.get(f"{path}/log").json() == {"lines": [], "next": -1}
    assert server.get(f"{path}/log?format=text").content == b""
    assert server.get(f"{path}/metrics").json() == {"metrics": []}
    assert server.get(f"{path}/samples").json() == {"samples": []}
    answer = server.get(f"{path}/report")
    assert (answer.status_code, answer.json()) == (409, {"message": "'poems' has no text", "reason": "NoText"})


@pytest.mark.parametrize(
    ("path", "query", "field"),
    [
        ("log", "after=-2", "after"),
        ("log", f"after={2**53 + 1}", "after"),
        ("log", "limit=10001", "limit"),
        ("log", "format=xml", "format"),
        ("metrics", "after=1.5", "after"),
        ("metrics", "format=text", "format"),
        ("samples", "limit=0", "limit"),
        ("report", "verbose=1", "verbose"),
    ],
)
def test_a_query_is_taken_strictly(server: Server, model: str, path: str, query: str, field: str) -> None:
    answer = server.get(f"{model}/{path}?{query}")
    assert (answer.status_code, list(answer.json()["fields"])) == (422, [field])


def test_what_can_be_given_is_told_as_charrnn_itself_knows_it(server: Server) -> None:
    training, sampling = (server.get(f"/schemas/{kind}").json() for kind in ("training", "sampling"))
    assert training["properties"]["cell"]["enum"] == ["lstm", "gru", "rnn"]
    assert sampling["properties"]["temperature"]["default"] == 1.0
    assert server.get("/schemas/cooking").status_code == 404
    samples = server.get("/samples").json()["samples"]
    assert [(sample["name"], sample["needs_network"]) for sample in samples] == [
        ("python", False), ("tiny-shakespeare", True),
    ]  # fmt: skip
    assert all(sample["description"] for sample in samples)


def test_a_log_as_long_as_an_answer_may_be_is_told_whole(server: Server, tmp_path: Path) -> None:
    with workspace_of(server) as workspace:
        id = workspace.create("long", TEXT).id
        workspace.start(id)
        attempt = Attempt(workspace)
        attempt.deliver(lines=[(number, f"line {number}") for number in range(2_500)])
        attempt.end()
    assert len(server.get(f"/models/{id}/log").json()["lines"]) == 1_000
    assert len(server.get(f"/models/{id}/log?limit=2000").json()["lines"]) == 2_000
    assert server.get(f"/models/{id}/log?format=text").text.count("\n") == 2_500
