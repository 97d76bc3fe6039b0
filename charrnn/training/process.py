"""Trains in a process of its own, and gives back the model: the side that everybody calls.

It knows files, budgets and how to speak with the process. It does not load TensorFlow: only the process does, so a
user's own TensorFlow is left alone and an interrupt is clean.

The process is told its task in one line of JSON on its standard input, and `stop` in another; the end of that stream
means that whoever started it is gone, and it saves and ends. Events come back through a pipe, a line of JSON each.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import charrnn
from charrnn import errors, events
from charrnn.errors import CharRNNError, InvalidCorpus, InvalidOptions, TrainingFailed, WouldOverwrite
from charrnn.network.model import Model, load
from charrnn.network.options import TrainingOptions
from charrnn.text.corpus import Corpus, ingest
from charrnn.text.vocabulary import Vocabulary
from charrnn.training.batches import Batches
from charrnn.training.checkpoint import Checkpoint, checkpoint_path
from charrnn.training.defaults import BUDGETS, Facts, facts_of_this_machine, nominal_characters, resolve
from charrnn.training.fork import options_of_child
from charrnn.training.lock import held
from charrnn.training.schedule import CONTINUED, Segment, validation_sample
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
            with _Worker(lock) as worker:
                if checkpoint is None:
                    task = _begin(source, options, files, parent)
                    files.remove_results()  # as was asked for, but not before it is sure that the training begins
                else:
                    task = _go_on(source, options, files, checkpoint)
                worker.tell(task.to_json())
                worker.follow(listener)
        finally:
            files.ids.unlink(missing_ok=True)
        return load(files.model)


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
    if not record.get("finished") or _new_budget(checkpoint, options) or not files.model.exists():
        return None
    _refuse_other_options(checkpoint, options)
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


def _begin(source: Path, options: TrainingOptions, files: Files, parent: Path | None) -> Task:
    """The task of a training from its first step, with the weights of `parent` or with new ones."""
    given = options.max_vocab, options.whitelist
    if parent is None:
        corpus = ingest(source, files.ids, max_vocab=given[0], whitelist=given[1])
    else:
        if parent.exists() and files.model.exists() and parent.samefile(files.model):
            raise WouldOverwrite(f"{parent} is the parent and would be replaced; save the child under another name")
        model = load(parent)
        options = options_of_child(options, model)
        corpus = ingest(
            source, files.ids, max_vocab=given[0], whitelist=given[1], vocabulary=model.vocabulary, extend=True
        )
    train_part, validation_part = corpus.split(options.validation_fraction, options.validation)
    facts = facts_of_this_machine(len(corpus.vocabulary), len(train_part))
    resolved = resolve(options, facts)
    resolved["keep"] = _keep(options.keep, len(validation_part))
    batches = Batches(train_part, resolved["batch_size"], resolved["seq_length"], resolved["seed"])
    segment = _segment(resolved, batches)
    sample = _validation_sample(resolved, facts, segment)
    return _task(source, files, resolved, [segment], sample, parent=None if parent is None else str(parent.absolute()))


def _go_on(source: Path, options: TrainingOptions, files: Files, checkpoint: Checkpoint) -> Task:
    """The task of a training from its checkpoint, with the same budget or a larger one."""
    _refuse_other_options(checkpoint, options)
    resolved = dict(checkpoint.metadata["options"])
    corpus = _same_corpus(source, files, checkpoint)
    train_part, _ = corpus.split(resolved["validation_fraction"], resolved["validation"])
    batches = Batches(train_part, resolved["batch_size"], resolved["seq_length"], resolved["seed"])
    segments = [Segment(**segment) for segment in checkpoint.metadata["segments"]]
    if budget := _new_budget(checkpoint, options):
        resolved |= budget
        segments.append(_continuation(resolved, batches, checkpoint))
    return _task(source, files, resolved, segments, checkpoint.metadata["validation_characters"], resume=True)


def _task(
    source: Path, files: Files, options: dict[str, Any], segments: list[Segment], validation_characters: int, *,
    resume: bool = False, parent: str | None = None,
) -> Task:  # fmt: skip
    return Task(
        str(files.ids.absolute()), str(files.model.absolute()), str(files.checkpoint.absolute()), options,
        [segment.to_json() for segment in segments], resume, source.name, validation_characters, parent,
    )  # fmt: skip


def _validation_sample(options: dict[str, Any], facts: Facts, segment: Segment) -> int:
    """How many characters a validation reads: chosen once, so that losses can be compared."""
    nominal = nominal_characters(options, facts, options["minutes"]) if options["minutes"] else None
    if segment.end_step is not None:
        steps = float(segment.end_step * options["batch_size"] * options["seq_length"])
        nominal = min(steps, nominal or steps)
    return validation_sample(nominal)


def _keep(wanted: str, validation_characters: int) -> str:
    if wanted == "auto":
        return "best" if validation_characters else "last"
    if wanted == "best" and not validation_characters:
        problem = "best needs a validation part of 5,000 characters, and this text gives none; last would be right"
        raise InvalidOptions(f"keep: {problem}", {"keep": problem})
    return wanted


def _segment(options: dict[str, Any], batches: Batches) -> Segment:
    """The stretch of training from the beginning to the end of the budget."""
    steps = [options["max_steps"]] if options["max_steps"] else []
    if options["max_epochs"]:
        steps.append(batches.steps(options["max_epochs"]))
    return Segment(
        end_step=min(steps) if steps else None,
        end_seconds=options["minutes"] * 60 if options["minutes"] else None,
    )


def _continuation(options: dict[str, Any], batches: Batches, checkpoint: Checkpoint) -> Segment:
    """The stretch from the checkpoint to the end of a new budget. Raises InvalidOptions if that lies behind."""
    position = checkpoint.metadata["position"]
    end = _segment(options, batches)
    if (end.end_step is not None and end.end_step <= position["step"]) or (
        end.end_seconds is not None and end.end_seconds <= position["seconds"]
    ):
        names = [name for name in BUDGETS if options[name]]
        raise InvalidOptions(
            f"this training is at step {position['step']:,} after {position['seconds'] / 60:.2f} minutes already; "
            f"budgets count from its very beginning, so more is needed",
            dict.fromkeys(names, "counts from the very beginning; more is needed"),
        )
    return Segment(position["step"], position["seconds"], end.end_step, end.end_seconds, CONTINUED)


def _new_budget(checkpoint: Checkpoint, options: TrainingOptions) -> dict[str, Any] | None:
    """All budget options, if some were given that differ from the checkpoint's."""
    given = {name: getattr(options, name) for name in BUDGETS if name in options.model_fields_set}
    stored = checkpoint.metadata["options"]
    if all(stored[name] == value for name, value in given.items()):
        return None
    return {name: given.get(name, False if name == "until_stopped" else None) for name in BUDGETS}


def _refuse_other_options(checkpoint: Checkpoint, options: TrainingOptions) -> None:
    stored, differing = checkpoint.metadata["options"], {}
    for name in options.model_fields_set - set(BUDGETS):
        value = getattr(options, name)
        if value is not None and value != "auto" and stored.get(name) != value:
            differing[name] = f"is {stored.get(name)!r} in the checkpoint and {value!r} now"
    if differing:
        what = "; ".join(f"{name} {problem}" for name, problem in sorted(differing.items()))
        raise InvalidOptions(f"to go on, options must stay what they were: {what}", differing)


def _same_corpus(source: Path, files: Files, checkpoint: Checkpoint) -> Corpus:
    corpus = ingest(source, files.ids, vocabulary=Vocabulary.from_json(checkpoint.metadata["vocabulary"]))
    if corpus.source_sha256 != checkpoint.metadata["source_sha256"]:
        raise InvalidCorpus(
            f"{source} is not the text that {files.checkpoint} was trained on; to go on, the text must be the same"
        )
    return corpus


class _Worker:
    """The process that trains, seen from outside. It starts (and loads TensorFlow) before it knows its task."""

    def __init__(self, lock: int) -> None:
        self.messages = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        receive, send = os.pipe()
        package = str(Path(charrnn.__file__).parent.parent)
        environment = dict(os.environ)
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))
        environment.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "charrnn.training", str(send)],
            stdin=subprocess.PIPE, stdout=self.messages, stderr=self.messages, pass_fds=(send, lock),
            env=environment, start_new_session=True, text=True, encoding="utf-8",
        )  # fmt: skip
        os.close(send)
        self.lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        reader = os.fdopen(receive, encoding="utf-8")
        threading.Thread(target=self._read, args=(reader,), name="charrnn-events", daemon=True).start()

    def _read(self, reader: IO[str]) -> None:
        with reader:
            for line in reader:
                self.lines.put(line)
        self.lines.put(None)

    def __enter__(self) -> _Worker:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        with suppress(OSError):
            if self.process.stdin:
                self.process.stdin.close()
        self.messages.close()

    def tell(self, line: str) -> None:
        """Send a line. A process that is gone does not hear it; `follow` says why it is."""
        assert self.process.stdin
        with suppress(BrokenPipeError):
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()

    def follow(self, listener: Listener) -> None:
        """Hand on every event until the run has finished. An interrupt asks the process to stop, a third kills it.

        Raises what the process says went wrong, or TrainingFailed with its last words.
        """
        interrupts, finished = 0, False
        while True:
            try:
                line = self.lines.get()
                if line is None:
                    break
                message = json.loads(line)
                if "error" in message:
                    raise _error(message)
                event = events.from_json(message)
                finished = finished or isinstance(event, events.Finished)
                listener(event)
            except KeyboardInterrupt:
                interrupts += 1
                if interrupts > 2:
                    raise
                self.tell("stop")
        code = self.process.wait()
        if not finished:
            raise TrainingFailed(self._last_words(code))

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
