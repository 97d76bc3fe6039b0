"""Ctrl-C in the terminal of a server ends it, and whatever it had begun."""

from __future__ import annotations

import os
import pty
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from charrnn.jobs.status import Status
from tests.jobs.trainings import wait_for, workers_of
from tests.server.places import workspace_of
from tests.server.running import Server, running

ENDLESS = {"until_stopped": True, "rnn_size": 16, "num_layers": 1, "learning_rate": 1e-6}


def training(server: Server) -> str:
    """The id of a model that the server trains."""
    wanted = {"name": "poems", "sample": "python", "options": ENDLESS}
    id = str(server.post("/models", json=wanted).json()["id"])
    assert server.post(f"/models/{id}/start").status_code == 202
    wait_for(lambda: server.get(f"/models/{id}").json()["step"] > 0)
    return id


def press_ctrl_c_twice(server: Server) -> None:
    """As somebody who does not want to be asked. Jupyter asks for five seconds, then forgets about the first."""

    def pressed() -> None:
        before = server.messages.count("interrupted")
        server.process.send_signal(signal.SIGINT)
        wait_for(lambda: server.messages.count("interrupted") > before)
        server.process.send_signal(signal.SIGINT)

    def ended_or_forgotten() -> bool:
        return server.process.poll() is not None or server.messages.count("resuming operation") > forgotten

    while server.process.poll() is None:
        forgotten = server.messages.count("resuming operation")
        pressed()
        wait_for(ended_or_forgotten)


def assert_ended_in_order(server: Server, id: str) -> None:
    assert server.process.wait(90) == 0
    assert "Traceback" not in server.messages
    assert "Task was destroyed" not in server.messages
    wait_for(lambda: not workers_of(id))
    with workspace_of(server) as workspace:
        record = workspace.get(id)
        assert (record.status, record.error) == (Status.QUEUED, None)
        assert record.checkpoint is not None
        assert not workspace.supervised()


@pytest.fixture
def terminal() -> Iterator[int]:
    """What a server has as its standard input that runs in a terminal."""
    ours, theirs = pty.openpty()
    yield theirs
    os.close(ours)
    os.close(theirs)


def test_ctrl_c_twice_ends_a_server_that_asks_first(tmp_path: Path, terminal: int) -> None:
    asks = "--ServerApp.answer_yes=False"
    with running(tmp_path, asks, "--log-level=INFO", stdin=terminal) as server:
        id = training(server)
        press_ctrl_c_twice(server)
        assert_ended_in_order(server, id)


def test_ctrl_c_once_ends_a_server_that_trains(tmp_path: Path, terminal: int) -> None:
    with running(tmp_path, stdin=terminal) as server:
        id = training(server)
        server.process.send_signal(signal.SIGINT)
        assert_ended_in_order(server, id)


def test_an_interrupt_ends_a_server_that_has_nobody_to_ask(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        id = training(server)
        server.process.send_signal(signal.SIGINT)
        assert_ended_in_order(server, id)
