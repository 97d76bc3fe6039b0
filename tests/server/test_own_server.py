"""What `jupyter charrnn` prints."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from tornado.websocket import WebSocketClientConnection

from charrnn_server.app import needs_attention
from charrnn_server.own_server import OwnServerApp
from tests.command_line import variables
from tests.jobs.trainings import wait_for
from tests.server.dashboards import Guest, heard, kernels, message
from tests.server.running import PACKAGES, running

ENDS = "Ctrl-C ends it. What is being trained is saved then, and goes on with the next start."


def test_it_prints_one_address_and_how_it_ends_and_nothing_else(tmp_path: Path) -> None:
    with running(tmp_path, token=None, spare_dashboards=1) as server:
        wait_for(lambda: ENDS in server.messages)
        told, ends = server.messages.splitlines()
        address = told.removeprefix("charrnn is at ")
        assert address.startswith(f"http://127.0.0.1:{server.port}/charrnn?token=")
        assert ends == ENDS
        page = requests.get(address, timeout=120)
        assert page.status_code == 200
        assert "charrnn-page" in page.text


def test_pages_that_come_and_go_are_not_told(tmp_path: Path) -> None:
    async def use(connection: WebSocketClientConnection) -> None:
        await connection.write_message(message("kernel_info_request", {}))
        await heard(connection, "kernel_info_reply")

    with running(tmp_path, token=None, spare_dashboards=0) as server:
        wait_for(lambda: ENDS in server.messages)
        printed = server.messages
        authorization = {"Authorization": "token " + printed.split("token=")[1].split()[0]}
        guest = Guest(server, **authorization)
        id = guest.open()["id"]
        guest.connected(id, use, **authorization)
        assert guest.leave(id) == 204
        wait_for(lambda: not kernels(server))
        assert server.messages == printed


@pytest.mark.parametrize(
    ("level", "words", "told"),
    [
        (logging.WARNING, "", False),
        (logging.WARNING, "Got events for closed stream <zmq.eventloop.zmqstream.ZMQStream object>", False),
        (logging.WARNING, "The websocket_ping_timeout (90000) cannot be longer than the …_interval (30000).", False),
        (logging.WARNING, "The data folder is nearly full", True),
        (logging.ERROR, "", True),  # an exception may come without words
    ],
)
def test_what_needs_attention(level: int, words: str, told: bool) -> None:
    assert needs_attention(logging.makeLogRecord({"levelno": level, "msg": words})) is told


def test_a_server_for_other_machines_names_the_address_for_them_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OwnServerApp, "display_url", "http://school:8888/charrnn\n    http://127.0.0.1:8888/charrnn")
    assert OwnServerApp(ip="0.0.0.0").running_server_info().split() == [
        "charrnn", "is", "at", "http://school:8888/charrnn", "or", "http://127.0.0.1:8888/charrnn",
    ]  # fmt: skip
    assert OwnServerApp(ip="localhost").running_server_info() == "charrnn is at http://school:8888/charrnn"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is refused")
def test_why_it_does_not_start_is_told(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "charrnn_server", "--no-browser", "--ServerApp.port=0"], cwd=tmp_path,
        env=variables(CHARRNN_DATA_FOLDER=str(tmp_path), JUPYTER_RUNTIME_DIR=str(tmp_path), PYTHONPATH=PACKAGES),
        capture_output=True, encoding="utf-8", timeout=180, check=False,
    )  # fmt: skip
    assert result.returncode == 1
    assert result.stderr.count("Running as root") == 1
    assert "charrnn is at" not in result.stdout
