"""The training record that a model carries: how it learned, in at most 1,000 points and 50 samples.

It knows what is worth remembering of the events. It does not know where they come from.
"""

from __future__ import annotations

from typing import Any

MOST_POINTS = 1000
MOST_SAMPLES = 50


class Record:
    """The record as it grows; `data` is what lies in a model file."""

    def __init__(self, data: dict[str, Any]) -> None:
        self.data: dict[str, Any] = {
            "points": [], "samples": [], "notes": [], "step": 0, "seconds": 0.0, "epochs": 0.0,
            "best_validation_loss": None, "best_step": None, "validation_loss": None, "train_loss": None,
            "finished": False, "reason": None, **data,
        }  # fmt: skip

    def point(self, step: int, seconds: float, epochs: float, **values: float) -> None:
        """A point of the curves: `train_loss`, `validation_loss` (nats per character), `learning_rate`."""
        self.data["points"].append({"step": step, "seconds": round(seconds, 3), "epoch": round(epochs, 4), **values})
        self.data["points"] = thinned(self.data["points"], MOST_POINTS)

    def sample(self, step: int, text: str) -> None:
        self.data["samples"].append({"step": step, "text": text})
        self.data["samples"] = thinned(self.data["samples"], MOST_SAMPLES)

    def note(self, text: str) -> None:
        self.data["notes"].append(text)


def thinned(items: list[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    """At most `most` of the items, spread evenly over the steps.

    What goes is what has the nearest neighbours, so a long run's beginning stays as dense as its end. The first and
    the last stay, and so does what has a validation loss, while there is something else to leave out.
    """
    kept = list(items)
    while len(kept) > most:
        inner = range(1, len(kept) - 1)
        plain = [k for k in inner if "validation_loss" not in kept[k]]
        del kept[min(plain or inner, key=lambda k: kept[k + 1]["step"] - kept[k - 1]["step"])]
    return kept
