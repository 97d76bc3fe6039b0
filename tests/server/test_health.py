"""A probe gets its answer without being asked who it is; how things are is told to those who may read."""

from __future__ import annotations

from tests.jobs.trainings import wait_for
from tests.server.running import Server


def test_whoever_asks_hears_that_the_server_lives(server: Server) -> None:
    answer = server.get("/live", headers={"Authorization": ""})
    assert (answer.status_code, answer.content) == (204, b"")


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
