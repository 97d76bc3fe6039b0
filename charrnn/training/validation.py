"""The validation loss during training: the same stretches of the held-out part every time.

It knows which characters are read and counted. It does not know when, or what the loss is used for.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from charrnn.text.corpus import Part
from charrnn.training.kernel import Kernel, Tensors

STREAMS = 32
WARM = 200  # characters read before a stretch, not counted
CHUNK = 100  # characters a call


class Validation:
    """Reads the whole part if it has at most `most` characters, else stretches spread over it that total `most`.

    Every stretch but the part's first is warmed on the 200 characters before it. Unknown characters are not counted.
    """

    def __init__(self, kernel: Kernel, part: Part, most: int) -> None:
        self.kernel = kernel
        targets = len(part) - 1
        whole = targets <= most
        self.streams = min(STREAMS, max(1, targets // (2 * WARM)))
        length = -(-targets // self.streams) if whole else most // self.streams
        padded = -(-length // CHUNK) * CHUNK
        starts = [
            stream * length if whole else round(stream * (targets - length) / max(1, self.streams - 1))
            for stream in range(self.streams)
        ]
        self.ids = np.zeros((WARM + padded + 1, self.streams), np.int32)
        self.counted = np.zeros((WARM + padded, self.streams), bool)
        for stream, start in enumerate(starts):
            first, stop = max(0, start - WARM), min(start + length, targets)
            row = WARM - (start - first)
            self.ids[row : row + stop + 1 - first, stream] = part.read(first, stop + 1)
            self.counted[WARM : WARM + stop - start, stream] = True
        self.counted &= self.ids[1:] != 0
        self.cold = np.array([[start > 0 for start in starts]], np.float32)  # the part's first stretch begins at zero

    def loss(self, parameters: Tensors) -> float:
        """Nats per character."""
        state: Any = self.kernel.zero_state(self.streams)
        total = 0.0
        for start in range(0, len(self.counted), CHUNK):
            if start == WARM:
                state = {name: tensor * self.cold for name, tensor in state.items()}
            nats, state = self.kernel.losses(parameters, state, self.ids[start : start + CHUNK + 1])
            total += float(np.sum(nats.numpy()[self.counted[start : start + CHUNK]], dtype=np.float64))
        return total / max(1, int(self.counted.sum()))
