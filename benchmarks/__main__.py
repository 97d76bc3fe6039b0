"""All benchmarks as one table: `make bench`, or `python -m benchmarks [NAME …]` for some of them.

    make bench PEER=PATH/torch_lstm.py PEER_PYTHON=PYTHON TEXT=tinyshakespeare.txt

The peer is optional and lives in its own environment; without it the table says that it was not run. Without a text
the rows of quality are left out. All of it takes an hour or more, on a machine that does nothing else meanwhile.
"""

from __future__ import annotations

import argparse
import os
import platform
from pathlib import Path

from benchmarks import (
    database,
    generation,
    ingest,
    jobs,
    quality,
    server,
    server_dashboards,
    server_load,
    server_startup,
    server_upload,
    startup,
    training,
)
from benchmarks.table import Peer, markdown

NAMES = (
    *("startup", "ingest", "generation", "training", "quality", "database", "jobs"),
    *("server", "server_startup", "server_upload", "server_dashboards", "server_load"),
)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {', '.join(NAMES)}; all if none is named")
    parser.add_argument("--peer", help="torch_lstm.py")
    parser.add_argument("--peer-python", default="python3", help="a Python that has PyTorch")
    parser.add_argument("--text", type=Path, help="the text for the rows of quality: tiny Shakespeare")
    parser.add_argument("--runs", type=int, default=3, help="of each side")
    parser.add_argument("--minutes", type=float, default=server_load.MINUTES, help="of server_load")
    options = parser.parse_args()
    unknown = set(options.names) - set(NAMES)
    if unknown:
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    peer = Peer(options.peer, options.peer_python) if options.peer else None
    benchmarks = {
        "startup": lambda: startup.rows(),
        "ingest": lambda: ingest.rows(runs=options.runs),
        "generation": lambda: generation.rows(peer, runs=options.runs),
        "training": lambda: training.rows(peer, runs=options.runs),
        "quality": lambda: quality.rows(peer, options.text, runs=options.runs),
        "database": lambda: database.rows(),
        "jobs": lambda: jobs.rows(runs=options.runs),
        "server": lambda: server.rows(runs=options.runs),
        "server_startup": lambda: server_startup.rows(),
        "server_upload": lambda: server_upload.rows(),
        "server_dashboards": lambda: server_dashboards.rows(),
        "server_load": lambda: server_load.rows(options.minutes),
    }
    rows = [row for name in options.names or NAMES for row in benchmarks[name]()]
    print(f"charrnn, Python {platform.python_version()}, {len(os.sched_getaffinity(0))} cores of {processor()}\n")
    print(markdown(rows))


def processor() -> str:
    """Its name, as Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


if __name__ == "__main__":
    main()
