"""What the server has done shows at Jupyter's own Prometheus endpoint, to those who may see it."""

from __future__ import annotations

import re
from pathlib import Path

import requests

from tests.server.running import TOKEN, Server
from tests.workspace.played import TEXT


def counted(server: Server) -> dict[str, float]:
    answer = requests.get(f"{server.site}/metrics", headers={"Authorization": f"token {TOKEN}"}, timeout=120)
    assert answer.status_code == 200
    return {name: float(value) for name, value in re.findall(r"^(charrnn_\w+) (\S+)$", answer.text, re.MULTILINE)}


def test_what_is_done_is_counted(server: Server, model_file: Path) -> None:
    before = counted(server)
    assert {
        "charrnn_trainings_queued_total", "charrnn_generations_total", "charrnn_characters_written_total",
        "charrnn_characters_stepped_total", "charrnn_uploads_total", "charrnn_uploaded_bytes_total",
    } <= set(before)  # fmt: skip
    file = model_file.read_bytes()
    binary = {"Content-Type": "application/octet-stream"}
    model = server.post("/models/import?name=small", data=file, headers=binary).json()
    assert server.post(f"/models/{model['id']}/generate", json={"length": 120}).status_code == 200
    text = server.post("/models", json={"name": "poems"}).json()
    plain = {"Content-Type": "text/plain"}
    assert server.post(f"/models/{text['id']}/corpus", data=TEXT, headers=plain).status_code == 201
    assert server.post(f"/models/{text['id']}/start", json={"max_steps": 1}).status_code == 202
    server.post(f"/models/{text['id']}/stop")
    after = counted(server)
    assert {name.removeprefix("charrnn_"): after[name] - before[name] for name in after if name.endswith("_total")} == {
        "trainings_queued_total": 1, "generations_total": 1, "characters_written_total": 120,
        "characters_stepped_total": 120, "uploads_total": 2, "uploaded_bytes_total": len(file) + len(TEXT),
    }  # fmt: skip


def test_requests_are_counted_by_route_and_status(server: Server) -> None:
    server.get("/models/nothing")
    answer = requests.get(f"{server.site}/metrics", headers={"Authorization": f"token {TOKEN}"}, timeout=120)
    assert 'handler="charrnn_server.handlers.models.OneModelHandler",method="GET",status_code="404"' in answer.text


def test_figures_are_not_for_everybody(server: Server) -> None:
    assert requests.get(f"{server.site}/metrics", timeout=120, allow_redirects=False).status_code == 403
