"""Somebody who opens dashboards over HTTP, as the page's scripts do, and the processes that the server has for them."""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import psutil
import requests
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

from tests.server.running import Server

Result = TypeVar("Result")

#: cells of a dashboard that tells about its own process instead of showing widgets
FACTS = """
import os, sys
from charrnn.widgets.visitor import workspace_of_visitor
workspace = workspace_of_visitor()
display({"application/json": {
    "pid": os.getpid(), "python": sys.executable, "user": workspace.user, "origin": workspace._origin,
    "policy": {name: value for name, value in vars(workspace.policy).items() if name != "admins"},
    "admins": sorted(workspace.policy.admins), "environment": dict(os.environ), "modules": sorted(sys.modules),
    "database": workspace.settings.database_url.get_secret_value(), "path": sys.path,
}}, raw=True)
"""
BY_CODE = "import pathlib; pathlib.Path({!r}).touch()"


def notebook(folder: Path, *cells: str) -> str:
    """The option of a server whose dashboard is made of these cells."""
    path = folder / "dashboard.ipynb"
    document = {
        "cells": [
            {"cell_type": "code", "source": cell, "metadata": {}, "outputs": [], "execution_count": None}
            for cell in cells
        ],
        "metadata": {}, "nbformat": 4, "nbformat_minor": 5,
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document), encoding="utf-8")
    return f"--CharRNNServer.dashboard={path}"


def kernels(server: Server) -> set[int]:
    """The process numbers of the server's kernels."""
    found = set()
    for each in psutil.Process(server.process.pid).children(recursive=True):
        try:
            if "ipykernel" in " ".join(each.cmdline()) and each.status() != psutil.STATUS_ZOMBIE:
                found.add(each.pid)
        except psutil.NoSuchProcess:
            continue
    return found


class Guest:
    """Somebody with a browser of their own."""

    def __init__(self, server: Server, **headers: str) -> None:
        self.server = server
        self.session = requests.Session()
        self.session.headers.update(headers)
        self.page = ""

    @property
    def base(self) -> str:
        """The address below which everything of the dashboard is."""
        return f"{self.server.site}/charrnn/dashboard"

    def look(self) -> requests.Response:
        """Open the page."""
        token = {} if self.server.token is None else {"token": self.server.token}
        answer = self.session.get(
            f"{self.server.site}/charrnn", params=token, headers={"Accept": "text/html"}, timeout=60
        )
        self.page = answer.text
        return answer

    def told(self) -> dict[str, Any]:
        """What the page tells its scripts."""
        found = re.search(r'id="charrnn-page" type="application/json">(.*?)</script>', self.page, re.DOTALL)
        assert found is not None
        told: dict[str, Any] = json.loads(found[1])
        return told

    def post(self, path: str, *, xsrf: bool = True, **headers: str) -> requests.Response:
        """What a script of the page sends."""
        headers = {"Origin": f"http://127.0.0.1:{self.server.port}", "Referer": f"{self.server.site}/charrnn"} | headers
        if xsrf:
            headers["X-XSRFToken"] = self.session.cookies["_xsrf"]
        return self.session.post(self.base + path, headers=headers, timeout=120)

    def open(self) -> dict[str, Any]:
        """A dashboard: its kernel's id, and what it shows."""
        if not self.page:
            self.look()
        answer = self.post("/kernels")
        assert answer.status_code == 201, answer.text
        opened: dict[str, Any] = answer.json()
        return opened

    def facts(self) -> dict[str, Any]:
        """What a dashboard of `FACTS` tells."""
        opened = self.open()
        (output,) = opened["outputs"]
        return {"id": opened["id"], **output["data"]["application/json"]}

    def kernel(self, id: str) -> int:
        """The status of asking for a kernel."""
        return self.session.get(f"{self.base}/api/kernels/{id}", timeout=60).status_code

    def leave(self, id: str) -> int:
        """The status of what a page sends when it is left."""
        return self.post(f"/kernels/{id}/leave").status_code

    def socket(self, id: str, **headers: str) -> HTTPRequest:
        """A request for the connection to a kernel."""
        cookies = "; ".join(f"{name}={value}" for name, value in self.session.cookies.items())
        headers = {"Cookie": cookies, "Origin": f"http://127.0.0.1:{self.server.port}"} | headers
        url = f"{self.base}/api/kernels/{id}/channels?session_id={uuid.uuid4().hex}".replace("http:", "ws:", 1)
        return HTTPRequest(url, headers=headers, request_timeout=60)

    def connected(
        self, id: str, talk: Callable[[WebSocketClientConnection], Awaitable[Result]], **headers: str
    ) -> Result:
        """What `talk` returns, called with the connection to a kernel."""

        async def connect() -> Result:
            connection = await websocket_connect(self.socket(id, **headers))
            try:
                return await talk(connection)
            finally:
                connection.close()

        with ThreadPoolExecutor(1) as thread:  # where no other loop runs: a browser's does in that of the tests
            return thread.submit(asyncio.run, connect()).result()

    def refused(self, id: str, **headers: str) -> int:
        """The status with which the connection to a kernel is refused; 101 if it is not."""

        async def nothing(_: WebSocketClientConnection) -> int:
            return 101

        try:
            return self.connected(id, nothing, **headers)
        except HTTPClientError as error:
            return error.code


def message(kind: str, content: Mapping[str, Any], channel: str = "shell") -> str:
    """A message to a kernel."""
    header = {
        "msg_id": uuid.uuid4().hex, "msg_type": kind, "username": "", "session": uuid.uuid4().hex, "date": "",
        "version": "5.3",
    }  # fmt: skip
    return json.dumps(
        {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": channel, "buffers": []}
    )


async def heard(connection: WebSocketClientConnection, kind: str) -> dict[str, Any]:
    """The next message of this kind; others are let go."""
    while True:
        text = await asyncio.wait_for(connection.read_message(), 60)
        assert text is not None, "the connection was closed"
        document: dict[str, Any] = json.loads(text)
        if document["msg_type"] == kind:
            return document
