"""What three minutes of training are worth, against a hand-tuned PyTorch LSTM given the same time on the same machine.

    python -m benchmarks quality --text tinyshakespeare.txt --peer PATH/torch_lstm.py --peer-python PYTHON

The last tenth of the text is scored by both sides and looked at by neither before: ours trains with its defaults and
keeps the last weights (`--keep last`), so no choice is made on what is scored. Both protocols are printed: 32 streams
with the state carried on, from zero, as the peer scores itself; and windows of 256 characters, each from zero.
The peer trains in float32 and in bfloat16 with the first seed; the better of them goes on with the others.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.table import Peer, Row, say
from charrnn.network.cells import State, forward
from charrnn.network.evaluate import evaluate_windows
from charrnn.network.model import Model, load

SECONDS = 180
RECIPE = (16, 64, 512, 1, SECONDS, 4e-3, 0.1)  # the peer's best known: batch, sequence, units, layers, s, rate, dropout
STREAMS = 32


def carried(model: Model, ids: NDArray[np.int32]) -> float:
    """Nats per character of `ids`, cut into 32 streams that each begin with a zero state."""
    length = len(ids) // STREAMS
    streams = ids[: length * STREAMS].reshape(STREAMS, length)
    state: State | None = None
    total = 0.0
    for start in range(0, length - 1, 200):
        targets = streams[:, start + 1 : min(start + 201, length)]
        output = forward(model.weights, model.cell, streams[:, start : start + targets.shape[1]], state)
        state, logits = output.state, output.logits
        highest = logits.max(-1, keepdims=True)
        sums = np.log(np.exp(logits - highest).sum(-1)) + highest[..., 0]
        total += float((sums - np.take_along_axis(logits, targets[..., None], -1)[..., 0]).sum(dtype=np.float64))
    return total / (STREAMS * (length - 1))


def ours(text: Path, seed: int, folder: Path) -> tuple[float, float, float]:
    """Loss with the state carried, loss on windows, and the seconds of the whole command."""
    model_path = folder / f"seed{seed}.safetensors"
    command = [sys.executable, "-m", "charrnn", "train", str(text), "-o", str(model_path), "--keep", "last",
               "--minutes", str(SECONDS / 60), "--seed", str(seed)]  # fmt: skip
    begin = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - begin
    model = load(model_path)
    ids = model.vocabulary.encode(text.read_text(encoding="utf-8"))
    held_out = ids[int(len(ids) * 0.9) :]
    return carried(model, held_out), evaluate_windows(model.weights, model.cell, held_out).nats_per_character, seconds


def rows(peer: Peer | None, text: Path | None, runs: int = 3) -> Iterator[Row]:
    """The two rows of quality; none without a text."""
    if text is None:
        return
    mine: list[tuple[float, float, float]] = []
    theirs: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(runs):
            say(f"three minutes of training, seed {seed}")
            mine.append(ours(text, seed, Path(folder)))
            say(f"  ours: {mine[-1]}")
            for bf16 in theirs if peer else ():
                figures = peer.figures("quality", text, *RECIPE, seed, bf16=bf16) if peer else []
                theirs[bf16].append((figures[3], figures[4]))
                say(f"  peer {'bf16' if bf16 else 'f32'}: {theirs[bf16][-1]}")
            if peer and not seed:  # the better one goes on
                theirs = dict([min(theirs.items(), key=lambda item: item[1][0])])
    best = next(iter(theirs.values())) if peer else None
    for column, protocol in enumerate(("state carried", "256-character windows")):
        value = statistics.median(figure[column] for figure in mine)
        other = statistics.median(pair[column] for pair in best) if best else None
        yield Row(
            f"validation loss after {SECONDS} s, {protocol}, nats/character", f"{value:.4f}",
            None if other is None else f"{other:.4f}", "" if other is None else f"{value - other:+.4f}",
            "the peer's", "1.40" if column == 0 else "",
        )  # fmt: skip
    yield Row("the whole training command, s", f"{max(figure[2] for figure in mine):.0f}", "", "", "200", "")
