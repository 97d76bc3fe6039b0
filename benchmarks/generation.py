"""How fast a model writes, against PyTorch's LSTM stepping one character at a time: one small table.

    python benchmarks/generation.py --peer PATH/torch_lstm.py --peer-python PYTHON

The peer is optional and lives in its own environment; without it the table says that it was not run. Runs of both
sides alternate, and the ratio is of their medians: an absolute figure means little on a machine that is shared.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import time

from charrnn.network.model import Model
from charrnn.text.vocabulary import Vocabulary

CASES = [(128, 1), (128, 16), (512, 1), (512, 16)]  # units of each of two layers, streams
CHARACTERS = 65  # of the vocabulary, as tiny Shakespeare has
BARS = {(128, 1): (15, 25), (128, 16): (4, 7)}  # bar and aim, times the peer


def ours(model: Model, streams: int, seed: int | None = None, seconds: float = 0.4) -> float:
    """Characters per second of `streams` texts written together."""
    length, written = 200, 0.0
    started = time.perf_counter()
    while (elapsed := time.perf_counter() - started) < seconds:
        model.generate(length=length, count=streams, seed=seed)
        written += length * streams
        length = min(4000, 2 * length)
    return written / elapsed


def peers(script: str, python: str, units: int, streams: int) -> float:
    """Characters per second of the peer, as it says."""
    command = [python, script, "generate", str(units), "2", str(streams)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    figure = re.search(r"([\d.]+) chars/s", output)
    if figure is None:
        raise SystemExit(f"the peer said nothing of characters per second: {output!r}")
    return float(figure[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", help="torch_lstm.py")
    parser.add_argument("--peer-python", default="python3", help="a Python that has PyTorch")
    parser.add_argument("--runs", type=int, default=5, help="of each side")
    options = parser.parse_args()
    vocabulary = Vocabulary("".join(map(chr, range(32, 32 + CHARACTERS))))
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load > 0.5:
        print(
            f"other programs keep this machine busy (load {load:.1f}): the peer, on all cores, suffers far more from it"
        )
    print("generation, characters/s    | charrnn | seeded  | PyTorch | ratio | bar, aim")
    print("----------------------------|---------|---------|---------|-------|---------")
    for units, streams in CASES:
        model = Model.initial("lstm", vocabulary, embedding_size=min(units, 128), rnn_size=units, num_layers=2)
        model.generate(length=10, count=streams)
        free, seeded, peer = [], [], []
        for _ in range(options.runs):
            free.append(ours(model, streams))
            seeded.append(ours(model, streams, seed=1))
            if options.peer:
                peer.append(peers(options.peer, options.peer_python, units, streams))
        speed = statistics.median(free)
        theirs, ratio = "not run", ""
        if peer:
            theirs, ratio = f"{statistics.median(peer):,.0f}", f"{speed / statistics.median(peer):.1f}x"
        bar = "{}x, {}x".format(*BARS[units, streams]) if (units, streams) in BARS else ""
        name = f"2x{units}, {streams} stream{'s' if streams > 1 else ''}"
        print(
            f"{name:27} | {speed:7,.0f} | {statistics.median(seeded):7,.0f} | {theirs:>7} | {ratio:>5} | {bar}",
            flush=True,
        )


if __name__ == "__main__":
    main()
