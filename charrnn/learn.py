"""`charrnn.train`: a training run with its progress on the screen.

It joins the training process to a live display. It knows nothing of how either of them works.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from charrnn.events import Event
    from charrnn.network.model import Model


def train(
    source: str | PathLike[str],
    *,
    output: str | PathLike[str] | None = None,
    parent: str | PathLike[str] | None = None,
    callback: Callable[[Event], None] | None = None,
    resume: bool = False,
    force: bool = False,
    progress: bool | None = None,
    **options: Any,
) -> Model:
    """Learn the text in the file `source` and return the model.

    `options` are the fields of `TrainingOptions` (or their aliases); what is not given is chosen by text and budget,
    which is three minutes if none is given. `output` is where the model is saved; its checkpoint lies beside it.
    `resume` goes on from that checkpoint, `force` replaces what is there. `parent` is a model file to begin with, for
    it to go on with another text: its network and its characters stay, new characters are added. `callback` is called
    with every event of `charrnn.events`. `progress` shows a live display: by default in a terminal and in a notebook,
    with True everywhere, with False nowhere.

    Interrupting it (Ctrl-C, the notebook's stop button) saves and returns the model so far, with `finished` False.

    Raises InvalidCorpus, InvalidOptions, WouldOverwrite, InvalidModel (a damaged checkpoint) and TrainingFailed.
    """
    with _whole():
        from charrnn.network.options import TrainingOptions
        from charrnn.progress import live_display
        from charrnn.training.process import run

    with live_display(progress) as show:

        def listen(event: Event) -> None:
            show(event)
            if callback is not None:
                callback(event)

        return run(
            Path(source),
            TrainingOptions.parse(options, files=True),
            output=None if output is None else Path(output),
            parent=None if parent is None else Path(parent),
            resume=resume,
            force=force,
            callback=listen,
        )


@contextmanager
def _whole() -> Iterator[None]:
    """Puts off an interrupt until what is imported here is there: half an import would spoil NumPy for this process."""
    former = signal.getsignal(signal.SIGINT)
    if former is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    interrupts: list[int] = []
    signal.signal(signal.SIGINT, lambda number, frame: interrupts.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, former)
    if interrupts:
        signal.raise_signal(signal.SIGINT)
