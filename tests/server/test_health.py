"""A probe gets its answer without being asked who it is; how things are is told to those who may read."""

from __future__ import annotations

from pathlib import Path

from tests.jobs.trainings import wait_for
from tests.server.running import Server, running


def test_whoever_asks_hears_that_the_server_lives(server: Server) -> None:
    answer = server.get("/live", headers={"Authorization": ""})
    assert (answer.status_code, answer.content) == (204, b"")


def test_programs_that_only_want_the_head_get_it(server: Server, model_file: Path) -> None:
    assert server.ask("HEAD", "/live", headers={"Authorization": ""}).status_code == 204
    id = server.post("/models/import?name=small", data=model_file.read_bytes()).json()["id"]
    for path in ("/models", f"/models/{id}", f"/models/{id}/file"):
        whole, head = server.get(path), server.ask("HEAD", path)
        assert (head.status_code, head.content) == (200, b"")
        for name in ("Content-Type", "Content-Length"):
            assert head.headers[name] == whole.headers[name], path
    assert server.ask("HEAD", "/models/nothing").status_code == 404
    assert server.ask("HEAD", "/models", headers={"Authorization": ""}).status_code == 403
    refused = server.ask("HEAD", f"/models/{id}/start")
    assert (refused.status_code, "POST" in refused.headers["Allow"]) == (405, True)


def test_a_server_of_its_own_opens_its_workspace_before_anybody_asks(tmp_path: Path) -> None:
    with running(tmp_path, "--CharRNNServer.supervise=False") as server:
        wait_for((server.folder / "data" / "charrnn.sqlite3").exists)
        assert server.get("/models").json()["models"] == []


def test_a_healthy_server_says_so_of_each_of_its_parts(server: Server) -> None:
    wait_for(lambda: server.get("/health").status_code == 200)
    well = {"ok": True, "message": None}
    assert server.get("/health").json() == {"ok": True, "database": well, "storage": well, "supervisor": well}


def test_how_things_are_is_not_for_everybody(server: Server) -> None:
    answer = server.get("/health", headers={"Authorization": ""})
    assert answer.status_code == 403
    assert answer.json()["message"] == "nobody is logged in, and no token was sent"


def test_what_is_not_there_is_told_in_json(server: Server) -> None:
    answer = server.get("/modles")
    assert answer.status_code == 404
    assert answer.json()["message"].startswith("there is nothing at /charrnn/api/v1/modles")
