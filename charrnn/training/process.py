"""Trains in a process of its own, and gives back the model: the side that everybody calls.

It knows files and how to speak with the process. It does not know how a task is made of options, and does not load
TensorFlow: only the process does, so a user's own TensorFlow is left alone and an interrupt is clean.

The process is told its task in one line of JSON on its standard input, and `stop` in another; the end of that stream
means that whoever started it is gone, and it saves and ends. Events come back through a pipe, a line of JSON each.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from charrnn import errors, events
from charrnn.child import environment, python
from charrnn.errors import CharRNNError, InvalidCorpus, InvalidOptions, TrainingFailed, WouldOverwrite
from charrnn.network.model import Model, load
from charrnn.network.options import TrainingOptions
from charrnn.text.corpus import Corpus, ingest
from charrnn.text.vocabulary import Vocabulary
from charrnn.training import plan
from charrnn.training.checkpoint import Checkpoint, checkpoint_path
from charrnn.training.fork import options_of_child
from charrnn.training.lock import held
from charrnn.training.task import Task

Listener = Callable[[events.Event], None]

LAST_WORDS = 2000  # characters of a failed process's messages that an error quotes


@dataclass(frozen=True)
class Files:
    """Where a training keeps what it makes. All but the model and the checkpoint are gone when it ends."""

    model: Path

    @property
    def checkpoint(self) -> Path:
        return checkpoint_path(self.model)

    @property
    def ids(self) -> Path:
        return self._hidden("corpus.ids")

    @property
    def lock(self) -> Path:
        return self._hidden("lock")

    def _hidden(self, ending: str) -> Path:
        return self.model.with_name(f".{self.model.name.removesuffix('.safetensors')}.{ending}")

    def remove_results(self) -> None:
        """An earlier training's checkpoint and model."""
        for path in (self.checkpoint, self.model):
            path.unlink(missing_ok=True)


def run(
    source: Path,
    options: TrainingOptions,
    *,
    output: Path | None = None,
    parent: Path | None = None,
    resume: bool = False,
    force: bool = False,
    callback: Listener | None = None,
) -> Model:
    """Learn the text in `source` and return the model; the same as `charrnn.train`, which says more."""
    if not source.is_file():  # before anything is started
        what = "a directory; a text file is needed" if source.is_dir() else "not there, or not a file"
        raise InvalidCorpus(f"{source} is {what}")
    listener = callback or (lambda event: None)
    with _files(output) as files, held(files.lock, files.model) as lock:
        checkpoint = _checkpoint(files, resume, force, listener)
        if checkpoint is not None and (model := _finished(files, checkpoint, options, listener)):
            return model
        try:
            with TrainingProcess(lock) as process:
                if checkpoint is None:
                    corpus = _ingested(source, options, files, parent)
                    task = plan.begin(corpus, options, model=files.model, source_name=source.name, parent=parent)
                    files.remove_results()  # as was asked for, but not before it is sure that the training begins
                else:
                    plan.refuse_other_options(checkpoint, options)  # before a long text is read
                    known = Vocabulary.from_json(checkpoint.metadata["vocabulary"])
                    corpus = ingest(source, files.ids, vocabulary=known)
                    task = plan.go_on(corpus, options, checkpoint, model=files.model, source_name=source.name)
                process.begin(task)
                process.follow(listener)
        finally:
            files.ids.unlink(missing_ok=True)
        return load(files.model)


def run_ids(
    ids: Path,
    options: TrainingOptions,
    *,
    output: Path,
    source_name: str,
    parent: Path | None = None,
    resume: bool = False,
    callback: Listener,
    started: Callable[[TrainingProcess], None],
) -> events.Finished:
    """Learn a text that is ids already, and return how the training ended; the model is in the file `output`.

    `resume` goes on from the checkpoint beside `output`. `parent` is a model with whose characters the ids were made.
    `started` is called with the process, which any thread may then ask to stop. The process ends with the process
    group of the caller, who sees to it that nobody else trains to `output`.

    Raises InvalidCorpus, InvalidOptions, InvalidModel (a damaged checkpoint) and TrainingFailed.
    """
    with TrainingProcess() as process:
        started(process)
        corpus = Corpus.open(ids)
        if resume:
            checkpoint = Checkpoint.read(checkpoint_path(output))
            task = plan.go_on(corpus, options, checkpoint, model=output, source_name=source_name)
        else:
            task = plan.begin(corpus, options, model=output, source_name=source_name, parent=parent)
        process.begin(task)
        return process.follow(callback)


@contextmanager
def _files(output: Path | None) -> Iterator[Files]:
    if output is None:
        with tempfile.TemporaryDirectory(prefix="charrnn-") as folder:
            yield Files(Path(folder) / "model.safetensors")
        return
    if not output.name.endswith(".safetensors") or output.name == ".safetensors":
        raise InvalidOptions(f"a model is saved as NAME.safetensors, not {output}", {"output": "NAME.safetensors"})
    if output.is_dir():
        raise InvalidOptions(f"{output} is a folder; a model is a file", {"output": "is a folder"})
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingFailed(f"the folder {output.parent} cannot be made: {error.strerror}") from error
    if not os.access(output.parent, os.W_OK):
        raise TrainingFailed(f"nothing can be written to the folder {output.parent.absolute()}")
    yield Files(output)


def _checkpoint(files: Files, resume: bool, force: bool, listener: Listener) -> Checkpoint | None:
    """The checkpoint to go on from, or None to begin. Raises WouldOverwrite and InvalidModel."""
    there = [path for path in (files.model, files.checkpoint) if path.exists()]
    if not resume:
        if there and not force:
            raise WouldOverwrite(
                f"{there[0]} exists; resume goes on with it, force replaces it, or save under another name"
            )
        return None
    if files.checkpoint.exists():
        return Checkpoint.read(files.checkpoint)
    if files.model.exists() and not force:
        raise WouldOverwrite(
            f"{files.model} exists, but not its checkpoint {files.checkpoint.name}, so it cannot be gone on with; "
            "force begins anew and replaces it"
        )
    listener(events.Note(0, f"there is no checkpoint {files.checkpoint}: training starts from the beginning"))
    return None


def _finished(files: Files, checkpoint: Checkpoint, options: TrainingOptions, listener: Listener) -> Model | None:
    """The model, if the run that the checkpoint is of has ended and no other budget is asked for."""
    record = checkpoint.metadata["record"]
    if not record.get("finished") or plan.new_budget(checkpoint, options) or not files.model.exists():
        return None
    plan.refuse_other_options(checkpoint, options)
    model = load(files.model)
    if not model.finished or model.record.get("step") != record["step"]:
        return None  # killed between the last checkpoint and the model
    listener(
        events.Note(
            record["step"],
            f"this training has ended at step {record['step']:,}; a larger budget (minutes, max_steps or max_epochs, "
            "counted from its very beginning) would continue it",
        )
    )
    return model


def _ingested(source: Path, options: TrainingOptions, files: Files, parent: Path | None) -> Corpus:
    """The text as ids: with characters of its own, or with those of its parent and what it has beside them."""
    wanted: dict[str, Any] = {"max_vocab": options.max_vocab, "whitelist": options.whitelist}
    if parent is not None:
        if parent.exists() and files.model.exists() and parent.samefile(files.model):
            raise WouldOverwrite(f"{parent} is the parent and would be replaced; save the child under another name")
        model = load(parent)
        options_of_child(options, model)  # before a long text is read: raises what `plan.begin` would
        wanted |= {"vocabulary": model.vocabulary, "extend": True}
    return ingest(source, files.ids, **wanted)


class TrainingProcess:
    """The process that trains, seen from outside. It starts (and loads TensorFlow) before it knows its task.

    With `lock`, the descriptor of a lock that it holds too, it is a session of its own, so that a terminal's interrupt
    does not reach it; without, it belongs to the process group of whoever starts it.
    """

    def __init__(self, lock: int | None = None) -> None:
        self.messages = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        receive, send = os.pipe()
        shared = (send,) if lock is None else (send, lock)
        self.process = subprocess.Popen(
            python("charrnn.training", str(send)),
            stdin=subprocess.PIPE, stdout=self.messages, stderr=self.messages, pass_fds=shared,
            env=environment(TF_CPP_MIN_LOG_LEVEL=os.environ.get("TF_CPP_MIN_LOG_LEVEL", "3")),
            start_new_session=lock is not None, text=True, encoding="utf-8",
        )  # fmt: skip
        os.close(send)
        self.telling = threading.Lock()
        self.lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self.reader = threading.Thread(
            target=self._read, args=(os.fdopen(receive, encoding="utf-8"),), name="charrnn-events", daemon=True
        )
        self.reader.start()

    def _read(self, events: IO[str]) -> None:
        with events:
            for line in events:
                self.lines.put(line)
        self.lines.put(None)

    def __enter__(self) -> TrainingProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self.process.wait()
        self.leave()
        self.reader.join()
        self.messages.close()

    # what any thread may say; a process that is gone does not hear it ----------------------------------------------

    def stop(self) -> None:
        """Ask it to save and end; a run without an end does so after a short decay, or at once when asked again."""
        self._tell("stop")

    def leave(self) -> None:
        """Tell it that nobody waits for it any more: it saves what there is to save, and ends at once."""
        with self.telling, suppress(OSError):
            assert self.process.stdin
            self.process.stdin.close()

    def kill(self) -> None:
        """End it where it is."""
        self.process.kill()

    def _tell(self, line: str) -> None:
        with self.telling, suppress(BrokenPipeError):
            assert self.process.stdin
            if not self.process.stdin.closed:
                self.process.stdin.write(line + "\n")
                self.process.stdin.flush()

    # what whoever started it does -----------------------------------------------------------------------------------

    def begin(self, task: Task) -> None:
        """Let it train. If it is gone already, `follow` says why."""
        self._tell(task.to_json())

    def follow(self, listener: Listener) -> events.Finished:
        """Hand on every event until the run has finished. An interrupt asks the process to stop, a third kills it.

        Raises what the process says went wrong, or TrainingFailed with its last words.
        """
        interrupts = 0
        finished: events.Finished | None = None
        told_all = False
        while True:
            try:
                line = None if told_all else self.lines.get()
                if line is None:
                    told_all = True
                    code = self.process.wait()  # who is impatient here too still gets the model
                    break
                message = json.loads(line)
                if "error" in message:
                    raise _error(message)
                event = events.from_json(message)
                if isinstance(event, events.Finished):
                    finished = event
                listener(event)
            except KeyboardInterrupt:
                interrupts += 1
                if interrupts > 2:
                    raise
                self.stop()
        if finished is None:
            raise TrainingFailed(self._last_words(code))
        return finished

    def _last_words(self, code: int) -> str:
        self.messages.seek(0)
        said = self.messages.read()[-LAST_WORDS:].strip()
        how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        why = " (out of memory?)" if code == -9 else ""
        return f"the training process {how}{why}" + (f"; it said:\n{said}" if said else "")


def _error(message: dict[str, Any]) -> CharRNNError:
    kind: type[CharRNNError] = getattr(errors, str(message["error"]), TrainingFailed)
    if kind is InvalidOptions:
        return InvalidOptions(message["message"], message["fields"])
    return kind(message["message"])


def expected_epochs(options: TrainingOptions, vocab_size: int, characters: int, minutes: float) -> float:
    """How often so many characters are read in so many minutes, about: from sizes alone, as defaults are chosen."""
    from charrnn.training.defaults import facts_of_this_machine, nominal_characters, resolve

    facts = facts_of_this_machine(vocab_size, characters)
    return nominal_characters(resolve(options, facts), facts, minutes) / characters
