"""What the process that trains is told: a task, made of options and a text, or of the checkpoint to go on from.

It knows budgets, and which choices are made when. It does not know processes, nor how the text became ids.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from charrnn.errors import InvalidCorpus, InvalidOptions
from charrnn.network.model import load
from charrnn.network.options import TrainingOptions
from charrnn.text.corpus import Corpus
from charrnn.text.vocabulary import Vocabulary
from charrnn.training.batches import Batches
from charrnn.training.checkpoint import Checkpoint, checkpoint_path
from charrnn.training.defaults import BUDGETS, Facts, facts_of_this_machine, nominal_characters, resolve
from charrnn.training.fork import options_of_child
from charrnn.training.schedule import CONTINUED, Segment, validation_sample
from charrnn.training.task import Task


def begin(
    corpus: Corpus, options: TrainingOptions, *, model: Path, source_name: str, parent: Path | None = None
) -> Task:
    """The task of a training from its first step, with the weights of `parent` or with new ones.

    Raises InvalidOptions for what does not fit the text or the parent, and InvalidCorpus for a text that is too short
    or whose ids are not an extension of the parent's.
    """
    if parent is not None:
        original = load(parent)
        options = options_of_child(options, original)
        if not corpus.vocabulary.characters.startswith(original.vocabulary.characters):
            raise InvalidCorpus(f"the ids of {source_name} were not made with the characters of its parent {parent}")
    train_part, validation_part = corpus.split(options.validation_fraction, options.validation)
    facts = facts_of_this_machine(len(corpus.vocabulary), len(train_part))
    resolved = resolve(options, facts)
    resolved["keep"] = _keep(options.keep, len(validation_part))
    batches = Batches(train_part, resolved["batch_size"], resolved["seq_length"], resolved["seed"])
    segment = _segment(resolved, batches)
    sample = _validation_sample(resolved, facts, segment)
    return _task(
        corpus, model, source_name, resolved, [segment], sample,
        parent=None if parent is None else str(parent.absolute()),
    )  # fmt: skip


def go_on(corpus: Corpus, options: TrainingOptions, checkpoint: Checkpoint, *, model: Path, source_name: str) -> Task:
    """The task of a training from its checkpoint, with the same budget or a larger one.

    Raises InvalidOptions for another option or a smaller budget, and InvalidCorpus for another text.
    """
    refuse_other_options(checkpoint, options)
    _refuse_another_text(checkpoint, corpus, source_name)
    resolved = dict(checkpoint.metadata["options"])
    train_part, _ = corpus.split(resolved["validation_fraction"], resolved["validation"])
    batches = Batches(train_part, resolved["batch_size"], resolved["seq_length"], resolved["seed"])
    segments = [Segment(**segment) for segment in checkpoint.metadata["segments"]]
    if budget := new_budget(checkpoint, options):
        resolved |= budget
        segments.append(_continuation(resolved, batches, checkpoint))
    sample = checkpoint.metadata["validation_characters"]
    return _task(corpus, model, source_name, resolved, segments, sample, resume=True)


def _task(
    corpus: Corpus, model: Path, source_name: str, options: dict[str, Any], segments: list[Segment],
    validation_characters: int, *, resume: bool = False, parent: str | None = None,
) -> Task:  # fmt: skip
    return Task(
        str(corpus.path.absolute()), str(model.absolute()), str(checkpoint_path(model).absolute()), options,
        [segment.to_json() for segment in segments], resume, source_name, validation_characters, parent,
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


def new_budget(checkpoint: Checkpoint, options: TrainingOptions) -> dict[str, Any] | None:
    """All budget options, if some were given that differ from the checkpoint's."""
    given = {name: getattr(options, name) for name in BUDGETS if name in options.model_fields_set}
    stored = checkpoint.metadata["options"]
    if all(stored[name] == value for name, value in given.items()):
        return None
    return {name: given.get(name, False if name == "until_stopped" else None) for name in BUDGETS}


def refuse_other_options(checkpoint: Checkpoint, options: TrainingOptions) -> None:
    stored, differing = checkpoint.metadata["options"], {}
    for name in options.model_fields_set - set(BUDGETS):
        value = getattr(options, name)
        if value is not None and value != "auto" and stored.get(name) != value:
            differing[name] = f"is {stored.get(name)!r} in the checkpoint and {value!r} now"
    if differing:
        what = "; ".join(f"{name} {problem}" for name, problem in sorted(differing.items()))
        raise InvalidOptions(f"to go on, options must stay what they were: {what}", differing)


def _refuse_another_text(checkpoint: Checkpoint, corpus: Corpus, source_name: str) -> None:
    if corpus.source_sha256 != checkpoint.metadata["source_sha256"]:
        raise InvalidCorpus(
            f"{source_name} is not the text that this training began with; to go on, it must be the same"
        )
    if corpus.vocabulary != Vocabulary.from_json(checkpoint.metadata["vocabulary"]):
        raise InvalidCorpus(f"the ids of {source_name} were made with other characters than this training began with")
