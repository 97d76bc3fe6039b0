"""How fast training steps are, against PyTorch's LSTM: whole steps with forward, backward, clipping and Adam.

    python -m benchmarks training --peer PATH/torch_lstm.py --peer-python PYTHON

Both sides run in processes of their own, in turn; ratios are of medians.
"""

from __future__ import annotations

import math
import statistics
import subprocess
import sys
from collections.abc import Iterator

from benchmarks.table import Peer, Row, say

SHAPES = [(32, 50, 128, 2), (50, 50, 256, 2), (64, 100, 512, 2)]  # batch, sequence, units, layers
BUSY_SHAPE = (50, 50, 256, 2)

STEPS = """
import os, sys, time
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import numpy as np, tensorflow as tf
from charrnn.training.defaults import shards
batch, length, units, layers = map(int, sys.argv[1:5])
threads = len(os.sched_getaffinity(0))
parts = shards(batch, units, threads, sys.argv[5])
tf.config.threading.set_intra_op_parallelism_threads(threads)
tf.config.threading.set_inter_op_parallelism_threads(parts)
from charrnn.network.cells import Sizes, initial_weights
from charrnn.training.kernel import Kernel, KernelOptions
options = KernelOptions("lstm", Sizes(65, 0, units, layers), batch, length, precision=sys.argv[5], shards=parts)
kernel = Kernel(options)
parameters = kernel.to_device(initial_weights("lstm", 65, 0, units, layers, 0))
zeros = {name: tf.zeros_like(array) for name, array in parameters.items()}
moments, state, count = (zeros, zeros), kernel.zero_state(), 4
ids = np.random.default_rng(0).integers(0, 65, (count, length + 1, batch))
fixed = np.full(count, length), np.zeros(count, bool), np.full(count, 2e-3)
times = []
for _ in range(1 + max(5, min(40, int(float(sys.argv[6]) / 0.1)))):
    begin = time.perf_counter()
    parameters, moments, state, losses = kernel.run(parameters, moments, state, 0, ids, *fixed, 0, count)
    losses.numpy()
    times.append((time.perf_counter() - begin) / count)
    if len(times) > 5 and sum(times) * count > float(sys.argv[6]):
        break
print(batch * length / float(np.median(times[1:])))
"""


def ours(shape: tuple[int, ...], precision: str, seconds: float = 5.0) -> float:
    """Characters per second of training steps, in a process of its own."""
    command = [sys.executable, "-c", STEPS, *map(str, shape), precision, str(seconds)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])


def rows(peer: Peer | None, runs: int = 3) -> Iterator[Row]:
    """Throughput, float32 against float32 and best against best; then beside a busy loop."""
    speeds: dict[tuple[str, str], list[float]] = {}
    for shape in SHAPES:
        name = f"{shape[0]}x{shape[1]} {shape[3]}x{shape[2]}"
        for _ in range(runs):
            for precision in ("float32", "bfloat16"):
                say(f"training steps {name} {precision}")
                speeds.setdefault((name, precision), []).append(ours(shape, precision))
                if peer:
                    figures = peer.figures("throughput", *shape, bf16=precision == "bfloat16")
                    speeds.setdefault((name, "peer " + precision), []).append(figures[0])
    middle = {key: statistics.median(values) for key, values in speeds.items()}
    names = list(dict.fromkeys(name for name, _ in middle))
    float32_ratios, best_ratios = [], []
    for name in names:
        mine = middle[name, "float32"], max(middle[name, "float32"], middle[name, "bfloat16"])
        theirs = None
        if peer:
            theirs = middle[name, "peer float32"], max(middle[name, "peer float32"], middle[name, "peer bfloat16"])
            float32_ratios.append(mine[0] / theirs[0])
            best_ratios.append(mine[1] / theirs[1])
        yield Row(
            f"training {name}: float32 / best, characters/s",
            f"{mine[0]:,.0f} / {mine[1]:,.0f}",
            f"{theirs[0]:,.0f} / {theirs[1]:,.0f}" if theirs else None,
            f"{float32_ratios[-1]:.2f}x / {best_ratios[-1]:.2f}x" if theirs else "", "", "",
        )  # fmt: skip
    if peer:
        yield Row(
            "training, geometric mean: float32 / best", "", "1.0",
            f"{_geometric_mean(float32_ratios):.2f}x / {_geometric_mean(best_ratios):.2f}x", "1.1x / 1.0x",
            "1.5x / 1.2x",
        )  # fmt: skip
    yield _beside_a_busy_loop(peer, runs)


def _beside_a_busy_loop(peer: Peer | None, runs: int) -> Row:
    def measured() -> tuple[float, float | None]:
        say("training steps, undisturbed and beside a busy loop")
        theirs = peer.figures("throughput", *BUSY_SHAPE)[0] if peer else None
        return ours(BUSY_SHAPE, "float32"), theirs

    kept, peers_kept = [], []
    for _ in range(runs):
        alone = measured()
        loop = subprocess.Popen([sys.executable, "-c", "while True: pass"])
        try:
            beside = measured()
        finally:
            loop.kill()
            loop.wait()
        kept.append(beside[0] / alone[0])
        if alone[1] and beside[1]:
            peers_kept.append(beside[1] / alone[1])
    return Row(
        "training beside one busy loop, share of the undisturbed speed", f"{statistics.median(kept):.2f}",
        f"{statistics.median(peers_kept):.2f}" if peers_kept else None, "", "0.4", "0.5",
    )  # fmt: skip


def _geometric_mean(values: list[float]) -> float:
    return math.exp(statistics.fmean(map(math.log, values)))
