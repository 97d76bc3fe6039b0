"""Ingest in a process of its own, so that whoever has other things to do in this one, such as a server, can do them.

It knows how to speak with that process: one line of JSON on its standard input says what to do, lines on its standard
output say how far it is and how it ended. What it does is `ingest` and nothing else.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from charrnn import errors
from charrnn.child import environment, python
from charrnn.errors import CharRNNError, InvalidCorpus, InvalidOptions
from charrnn.text.corpus import Corpus, ingest
from charrnn.text.vocabulary import Vocabulary

NICE = 10
TELL_EVERY = 0.05  # seconds between two words of how far it is
LAST_WORDS = 2000  # characters of what a process printed that ended without a word of its own


@dataclass(frozen=True)
class _Work:
    """What is to be done, in JSON's types: the arguments of `ingest`."""

    source: str
    ids: str
    max_vocab: int
    whitelist: str | None
    characters: str | None  # of the vocabulary
    extend: bool


def ingest_apart(
    source: Path,
    ids_path: Path,
    *,
    max_vocab: int = 3500,
    whitelist: str | None = None,
    vocabulary: Vocabulary | None = None,
    extend: bool = False,
    progress: Callable[[float], None] | None = None,
) -> Corpus:
    """As `ingest`, and with its errors. When `progress` raises, the process is ended."""
    characters = None if vocabulary is None else vocabulary.characters
    work = _Work(str(source), str(ids_path), max_vocab, whitelist, characters, extend)
    with subprocess.Popen(
        python(__name__), env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            with contextlib.suppress(BrokenPipeError):  # it ended before it had read this: why is told below
                process.stdin.write(json.dumps(asdict(work)).encode())
                process.stdin.close()
            last = {}
            for line in process.stdout:
                last = json.loads(line)
                if progress is not None and "done" in last:
                    progress(last["done"])
            if "error" in last:
                raise _error(last)
            if process.wait() != 0:
                words = process.stderr.read().decode(errors="replace")[-LAST_WORDS:]
                raise InvalidCorpus(f"{source} could not be read: the process for it ended with {words!r}")
        except BaseException:
            process.kill()
            raise
    return Corpus.open(ids_path)


def _error(message: dict[str, Any]) -> CharRNNError:
    kind = getattr(errors, message["error"])
    if kind is InvalidOptions:
        return InvalidOptions(message["message"], message["fields"])
    error: CharRNNError = kind(message["message"])
    return error


class _Teller:
    """Says how far it is, and ends when there is nobody left to hear it."""

    def __init__(self) -> None:
        self._told = 0.0

    def __call__(self, done: float) -> None:
        now = time.monotonic()
        if now - self._told >= TELL_EVERY:
            self._told = now
            _say({"done": done})


def _say(message: dict[str, Any]) -> None:
    try:
        print(json.dumps(message), flush=True)
    except BrokenPipeError:
        os._exit(1)


def main() -> None:
    """The process: reads what to do, and does it."""
    os.nice(NICE)
    work = _Work(**json.loads(sys.stdin.read()))
    vocabulary = None if work.characters is None else Vocabulary(work.characters)
    try:
        ingest(
            work.source, work.ids, max_vocab=work.max_vocab, whitelist=work.whitelist, vocabulary=vocabulary,
            extend=work.extend, progress=_Teller(),
        )  # fmt: skip
    except CharRNNError as error:
        fields = error.fields if isinstance(error, InvalidOptions) else {}
        _say({"error": type(error).__name__, "message": str(error), "fields": fields})
    else:
        _say({"done": 1.0})


if __name__ == "__main__":
    main()
