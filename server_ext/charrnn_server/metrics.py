"""What the server has done since it started, told at Jupyter's own Prometheus endpoint, `/metrics`.

It knows numbers. It does not ask the database for any: whoever does something says so here. Requests, by route, status
and duration, are counted by Jupyter.
"""

from __future__ import annotations

from prometheus_client import Counter, Gauge

_TRAININGS = Counter("charrnn_trainings_queued", "Trainings that were asked for")
_GENERATIONS = Counter("charrnn_generations", "Texts that were written to their end, or as far as they were wanted")
_CHARACTERS = Counter("charrnn_characters_written", "Characters of all texts that were written")
_STEPS = Counter("charrnn_characters_stepped", "Characters by which texts moved on together: those of one model share")
_WRITING = Gauge("charrnn_texts_being_written", "Texts that move on now")
_UPLOADS = Counter("charrnn_uploads", "Files that were taken in")
_UPLOADED = Counter("charrnn_uploaded_bytes", "Bytes of all files that were taken in")


def queued() -> None:
    """A training was asked for."""
    _TRAININGS.inc()


def writing(change: int) -> None:
    """So many texts more are being written, or fewer."""
    _WRITING.inc(change)


def stepped(characters: int) -> None:
    """All texts that one model writes moved on by so many characters, together."""
    _STEPS.inc(characters)


def wrote(characters: int) -> None:
    """A text was written, to its end or as far as somebody wanted it."""
    _GENERATIONS.inc()
    _CHARACTERS.inc(characters)


def uploaded(size: int) -> None:
    """A file of so many bytes was taken in."""
    _UPLOADS.inc()
    _UPLOADED.inc(size)
