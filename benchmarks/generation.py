"""How fast a model writes, against PyTorch's LSTM stepping one character at a time.

    python -m benchmarks generation --peer PATH/torch_lstm.py --peer-python PYTHON

Both sides run in processes of their own, in turn; ratios are of medians, of texts without a seed.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Iterator

from benchmarks.table import Peer, Row, say

CASES = [(128, 1), (128, 16), (512, 1), (512, 16)]  # units of each of two layers, streams
BARS = {(128, 1): ("15x", "25x"), (128, 16): ("4x", "7x")}  # bar and aim, times the peer

WRITE = """
import sys, time
from charrnn.network.model import Model
from charrnn.text.vocabulary import Vocabulary
units, streams, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
vocabulary = Vocabulary("".join(map(chr, range(32, 97))))  # 65 characters, as tiny Shakespeare has
model = Model.initial("lstm", vocabulary, embedding_size=min(units, 128), rnn_size=units, num_layers=2)
for seed in (None, 1):
    model.generate(length=10, count=streams, seed=seed)
    length, written, elapsed, begin = 200, 0, 0.0, time.perf_counter()
    while elapsed < seconds:
        model.generate(length=length, count=streams, seed=seed)
        written += length * streams
        length = min(4000, 2 * length)
        elapsed = time.perf_counter() - begin
    print(written / elapsed)
"""


def ours(units: int, streams: int, seconds: float = 1.0) -> tuple[float, float]:
    """Characters per second of texts written together, without seeds and with them, in a process of its own."""
    command = [sys.executable, "-c", WRITE, str(units), str(streams), str(seconds)]
    free, seeded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return float(free), float(seeded)


def rows(peer: Peer | None, runs: int = 3) -> Iterator[Row]:
    """One stream and 16, of a small network and a large one."""
    for units, streams in CASES:
        name = f"2x{units}, {streams} stream{'s' if streams > 1 else ''}"
        speeds, peers = [], []
        for _ in range(runs):
            say(f"generation {name}")
            speeds.append(ours(units, streams))
            if peer:
                peers.append(peer.figures("generate", units, 2, streams)[0])
        free, seeded = (statistics.median(column) for column in zip(*speeds, strict=True))
        yield Row(
            f"generation {name}: free / seeded, characters/s",
            f"{free:,.0f} / {seeded:,.0f}",
            f"{statistics.median(peers):,.0f}" if peers else None,
            f"{free / statistics.median(peers):.1f}x" if peers else "",
            *BARS.get((units, streams), ("", "")),
        )
