"""What charrnn costs a Jupyter server: its own, idle, with Voilà in it, and somebody else's that only loads it.

    python -m benchmarks server_startup

The memory is that of the server's process alone (resident), with its database opened and its supervisor at rest. The
time to load the extension is the processor's, of a server that runs already; the best of some, each in a new process.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.table import Row, say
from tests.jobs.trainings import wait_for
from tests.server.running import configure, running
from tests.server.test_foreign import HEAVY, loaded

VOILA = "c.ServerApp.jpserver_extensions = {'charrnn_server': True, 'voila.server_extension': True}\n"


def rows(runs: int = 5) -> Iterator[Row]:
    """Memory, then time."""
    say("the server at rest")
    with tempfile.TemporaryDirectory() as folder:
        megabytes, has_tensorflow = idle(Path(folder))
    without = "with TensorFlow" if has_tensorflow else "TensorFlow not loaded"
    yield Row(f"server at rest, Voilà loaded, {without}, MB", f"{megabytes:.0f}", None, "", "under 150", "under 120")
    say("loading the extension")
    found = []
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as folder:
            found.append(loaded(Path(folder)))
    heavy = {name.partition(".")[0] for each in found for name in each["modules"]} & set(HEAVY)
    opened = f"imports {', '.join(sorted(heavy))}" if heavy else "nothing of the database imported"
    best = min(each["seconds"] for each in found) * 1000
    yield Row(f"loading it into another's server, {opened}, ms", f"{best:.1f}", None, "", "under 50", "under 20")


def idle(folder: Path) -> tuple[float, bool]:
    """Megabytes of a server that has answered and has nothing to do, and whether TensorFlow is in it."""
    configure(folder, VOILA)
    with running(folder, "--log-level=INFO") as server:
        wait_for(lambda: server.get("/health").status_code == 200)
        assert "voila.server_extension | extension was successfully loaded" in server.messages
        assert server.get("/models").status_code == 200
        maps = Path(f"/proc/{server.process.pid}/maps").read_text(encoding="utf-8")
        return server.memory() / 1e6, "tensorflow" in maps
