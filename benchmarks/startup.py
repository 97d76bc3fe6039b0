"""How soon something happens: from the shell to 1,000 characters, and importing the package.

    python -m benchmarks startup

Whole processes, in turn with `python -c "import tensorflow"`; ratios are of medians.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

from benchmarks.table import Row, say


def seconds(*arguments: str) -> float:
    """Of a whole Python process."""
    begin = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    return time.perf_counter() - begin


def rows(runs: int = 5) -> Iterator[Row]:
    """Three processes in turn, after one round that is not counted."""
    say("start-up")
    commands = {
        "sample": ("-m", "charrnn", "sample", "--length", "1000"),
        "tensorflow": ("-c", "import tensorflow"),
        "import": ("-c", "import charrnn"),
        "nothing": ("-c", "pass"),
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    for run in range(runs + 1):
        for name, arguments in commands.items():
            taken = seconds(*arguments)
            if run:
                times[name].append(taken)
    middle = {name: statistics.median(values) for name, values in times.items()}
    yield Row(
        "shell to 1,000 characters, cold, against importing TensorFlow, s", f"{middle['sample']:.2f}",
        f"{middle['tensorflow']:.2f}", f"{middle['sample'] / middle['tensorflow']:.2f}", "0.25", "0.1",
    )  # fmt: skip
    yield Row("import charrnn, s", f"{max(0.0, middle['import'] - middle['nothing']):.3f}", "", "", "0.5", "0.2")
