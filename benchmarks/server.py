"""What the server does for many at a time, on the cores that its clients use too.

    python -m benchmarks server

The list of models while a training runs: 100 clients, each of which asks once every two seconds. Texts of 1,000
characters by a model of 2 layers of 128 units: asked for by one, by 16 and by 50 at a time, again and again, whole and
as they are written. Server, clients and training are processes of their own.
"""

from __future__ import annotations

import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.table import Row, say
from charrnn.network.model import Model
from charrnn.text.vocabulary import Vocabulary
from charrnn.workspace import Workspace
from tests.server.running import TOKEN, Server, running

MODELS = 500
LIST_SECONDS = 30
WRITE_SECONDS = 4.0  # that a measurement of writing should take
BARS = {16: "2x", 50: "2.5x"}
TEXT = "".join(f"{number} A small boat rocks beside the quiet pier.\n" for number in range(20_000))


def rows(runs: int = 3) -> Iterator[Row]:
    """The list, then texts."""
    with tempfile.TemporaryDirectory(prefix="charrnn-") as folder, running(Path(folder)) as server:
        workspace = Workspace(data_folder=server.folder / "data")
        for number in range(MODELS):
            workspace.create(f"model {number}", rnn_size=128)
        usual = Path(folder) / "usual.safetensors"
        vocabulary = Vocabulary("".join(map(chr, range(32, 97))))  # 65 characters, as tiny Shakespeare has
        Model.initial("lstm", vocabulary, embedding_size=128, rnn_size=128, num_layers=2).save(usual)
        id = workspace.import_model(usual).id
        yield from _writing(server, id, runs)
        yield from _list(server, workspace)
        workspace.close()


def _list(server: Server, workspace: Workspace) -> Iterator[Row]:
    id = workspace.create("training", TEXT.encode(), minutes=3).id
    workspace.start(id)
    while not workspace.get(id).step:
        time.sleep(0.2)
    say(f"100 clients ask for the list for {LIST_SECONDS} s, while a training runs")
    heard = _load(server, "get", "/models?limit=50", 100, LIST_SECONDS)
    assert workspace.get(id).status == "running"
    workspace.stop(id)
    while workspace.get(id).active:
        time.sleep(0.2)
    middle, late = (1000 * _percentile(heard["times"], share) for share in (0.5, 0.99))
    yield Row(
        f"GET /models, 100 clients, a training beside, {len(heard['times']):,} requests: median / p99, ms",
        f"{middle:.0f} / {late:.0f}", "", "", "150", "",
    )  # fmt: skip
    yield Row("and answers that were errors", str(len(heard["wrong"])), "", "", "0", "")


def _writing(server: Server, id: str, runs: int) -> Iterator[Row]:
    alone = {form: _written(server, id, form, 1, runs) for form in ("whole", "streamed")}
    yield Row("texts of 1,000 characters, one alone, characters/s", f"{alone['whole']['rate']:,.0f}", "", "", "", "")
    yield Row(
        "first characters of a text as it is written, model in memory: median / longest, ms",
        f"{1000 * statistics.median(alone['streamed']['firsts']):.0f} / {1000 * alone['streamed']['firsts'][-1]:.0f}",
        "", "", "50", "",
    )  # fmt: skip
    for clients, bar in BARS.items():
        for form, name in (("whole", "whole"), ("streamed", "as they are written")):
            heard = _written(server, id, form, clients, runs)
            yield Row(
                f"{clients} at a time, {name}, characters/s, against one alone", f"{heard['rate']:,.0f}", "",
                f"{heard['rate'] / alone[form]['rate']:.1f}x", bar, "",
            )  # fmt: skip
        yield Row(
            "and the first characters: median / longest, ms",
            f"{1000 * statistics.median(heard['firsts']):.0f} / {1000 * heard['firsts'][-1]:.0f}", "", "", "200", "",
        )  # fmt: skip
        yield Row("and the server's slowest answer to a probe, ms", f"{1000 * heard['pulse']:.0f}", "", "", "100", "")


def _written(server: Server, id: str, form: str, clients: int, runs: int) -> dict[str, Any]:
    """The run of median rate, with the longest waits of all runs."""
    say(f"texts, {form}, {clients} at a time")
    rate = _load(server, form, id, clients, 2 * clients)["rate"]
    requests = max(2 * clients, math.ceil(WRITE_SECONDS * rate / 1000))
    heard = sorted((_load(server, form, id, clients, requests) for _ in range(runs)), key=lambda run: run["rate"])
    firsts = sorted(first for run in heard for first in run["firsts"])
    return {**heard[len(heard) // 2], "firsts": firsts, "pulse": max(run["pulse"] for run in heard)}


def _load(server: Server, *arguments: object) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.clients", str(server.port), TOKEN, *map(str, arguments)]
    result: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return result


def _percentile(times: list[float], share: float) -> float:
    return times[math.ceil(share * len(times)) - 1]
