"""What a training tells, as lines of text: the same words in a terminal, in a notebook and in the log of a job.

It knows events and how each of them reads in one line. It does not know screens, files or who trains.
"""

from __future__ import annotations

import re
import time

from charrnn.events import Event, Finished, Note, Progress, Sampled, Saved, Started, Validated

PROGRESS_EVERY = 5.0  # seconds: a log of a three-minute run stays within two screens


class Story:
    """What the events told so far: the newest of each figure."""

    def __init__(self) -> None:
        self.step = 0
        self.progress: Progress | None = None
        self.validation: float | None = None
        self.best: float | None = None
        self.sample = ""
        self.finished: Finished | None = None

    def hear(self, event: Event) -> None:
        self.step = max(self.step, event.step)
        match event:
            case Progress():
                self.progress = event
            case Validated():
                self.validation = event.loss
                if event.best:
                    self.best = event.loss
            case Sampled():
                self.sample = event.text
            case Finished():
                self.finished = event

    def figures(self) -> list[tuple[str, str]]:
        """(name, value) pairs in the order of reading: step, losses in nats per character, speed, time left."""
        rows = [("step", f"{self.step:,}")]
        if self.progress is not None:
            rows.append(("loss", f"{self.progress.loss:.4f}"))
        if self.validation is not None:
            rows.append(("validation loss", f"{self.validation:.4f}"))
        if self.progress is not None:
            rows.append(("speed", f"{self.progress.characters_per_second:,.0f} characters/s"))
            if self.finished is None:
                rows.append(("left", duration(self.progress.seconds_left)))
        return rows


def duration(seconds: float | None) -> str:
    """Seconds as 0:07, 2:31 or 1:02:03; "until stopped" for None."""
    if seconds is None:
        return "until stopped"
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def one_line(text: str, width: int) -> str:
    """`text` in one line of at most `width` characters: line ends as ↵, no more than two spaces in a row."""
    line = printable(re.sub(" {3,}", "  ", text.replace("\n", "↵")))
    return line if len(line) <= width else line[: width - 1] + "…"


def printable(text: str) -> str:
    """`text` with a dot for whatever could steer a terminal: what a model wrote is not to be trusted there."""
    return "".join(character if character.isprintable() else "·" for character in text)


def opening(event: Started) -> str:
    """What is about to be trained, in one line."""
    options = event.options
    size = " x ".join(str(options[name]) for name in ("num_layers", "rnn_size") if options.get(name) is not None)
    held_out = f"{event.validation_characters:,} held out" if event.validation_characters else "nothing held out"
    verb = f"going on at step {event.step:,}" if event.resumed else "training"
    return (
        f"{verb}: {str(options.get('cell', 'rnn')).upper()} {size}, {event.parameters:,} parameters, "
        f"{event.characters:,} characters ({held_out}), {event.vocabulary_size - 1:,} distinct"
    )


def closing(event: Finished) -> str:
    """How it ended, in one line."""
    how = {"budget": "finished", "memorised": "finished, the text is memorised", "stopped": "stopped"}
    line = f"{how.get(event.reason, event.reason)} at step {event.step:,} after {duration(event.seconds)}"
    if event.loss is not None:
        line += f", loss {event.loss:.4f}"
    if event.validation_loss is not None:
        line += f", validation loss {event.validation_loss:.4f}"
    return line


class Lines:
    """Turns events into lines, progress into at most one in `every` seconds."""

    def __init__(self, every: float = PROGRESS_EVERY) -> None:
        self.every = every
        self.story = Story()
        self.last_line = -float("inf")
        self.last_sample = ""

    def line(self, event: Event) -> str:
        """The event in one line; empty for one that is not worth a line, or not yet."""
        self.story.hear(event)
        match event:
            case Started():
                return opening(event)
            case Progress():
                return self._progress(event)
            case Validated():
                return f"validation loss {event.loss:.4f} at step {event.step:,}" + (", the best" if event.best else "")
            case Sampled():
                return self._sample(event)
            case Saved(kind="checkpoint"):
                return f"saved {event.path} at step {event.step:,}"
            case Note():
                return f"note: {event.text}"
            case Finished():
                return closing(event)
        return ""

    def _sample(self, event: Sampled) -> str:
        before, self.last_sample = self.last_sample, one_line(event.text, 100)
        return f"writes: {self.last_sample}" if self.last_sample != before else ""

    def _progress(self, event: Progress) -> str:
        now = time.monotonic()
        if now - self.last_line < self.every and event.progress < 1:
            return ""
        self.last_line = now
        figures = [f"{name} {value}" for name, value in self.story.figures()]
        return f"{event.progress:4.0%}  " + "  ".join(figures)
