"""One training run, from its first step or its checkpoint to the saved model.

It knows when to step, validate, sample, save and stop, and reports each as an event. It does not know who listens,
who asked, or how a step is computed. It runs in a process of its own: nothing else imports it.
"""

from __future__ import annotations

import json
import math
import platform
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from charrnn.errors import TrainingFailed
from charrnn.events import Event, Finished, Note, Progress, Sampled, Saved, Started, Validated
from charrnn.network.cells import Sizes, initial_weights
from charrnn.network.model import Model, load
from charrnn.processor import features
from charrnn.text.corpus import Corpus
from charrnn.training.batches import Batches
from charrnn.training.checkpoint import Checkpoint
from charrnn.training.fork import grown
from charrnn.training.kernel import Kernel, KernelOptions
from charrnn.training.record import Record
from charrnn.training.schedule import Position, Segment, decay_seconds, next_sample_step, validation_marks
from charrnn.training.task import Task
from charrnn.training.validation import Validation

MOST_STEPS = 64  # in one call of the kernel
CALL_SECONDS = 0.25  # about how long one call may take, so that a stop is seen
PROGRESS_SECONDS = 0.5
SAVE_SECONDS = 20.0
SAMPLE_LENGTH = 200
SAMPLE_TEMPERATURE = 0.8
MEMORISED = 0.001  # nats: below this loss of a whole epoch a text is known by heart; at 0.005 poems were not always
NEARLY_MEMORISED = 0.1  # nats: after an epoch below this, the next one's end is watched


class Trainer:
    """A run. `report` is called with every event; `stops` says how often somebody asked to stop."""

    def __init__(self, task: Task, report: Callable[[Event], None], stops: Callable[[], int]) -> None:
        self.task, self.report, self.stops, self.options = task, report, stops, task.options
        options = self.options
        self.corpus = Corpus.open(task.ids_path)
        self.train_part, validation_part = self.corpus.split(options["validation_fraction"], options["validation"])
        self.validation_part = validation_part
        self.batches = Batches(self.train_part, options["batch_size"], options["seq_length"], options["seed"])
        self.sizes = Sizes(
            len(self.corpus.vocabulary), options["embedding_size"], options["rnn_size"], options["num_layers"]
        )
        self.kernel = Kernel(
            KernelOptions(
                options["cell"], self.sizes, options["batch_size"], options["seq_length"], options["dropout"],
                options["grad_clip"], options["weight_decay"], options["seed"], options["precision"], options["shards"],
            )
        )  # fmt: skip
        self.validation = (
            Validation(self.kernel, validation_part, task.validation_characters) if len(validation_part) else None
        )
        self.segments = [Segment(**segment) for segment in task.segments]
        self.best: dict[str, Any] = {}
        self.updates = 0
        self.epoch_sum, self.epoch_steps, self.last_epoch = 0.0, 0, math.inf  # of training losses
        self.reason: str | None = None
        self.sample_step = self.validated_step = -1
        self.losses: list[float] = []
        self.characters = 0
        self.rate = 0.0
        self.files = ThreadPoolExecutor(1, thread_name_prefix="charrnn-save")
        self.saving: Future[None] | None = None

    # the run --------------------------------------------------------------------------

    def run(self) -> None:
        """Train to the end of the budget, or until stopped, and save. Raises TrainingFailed when the loss diverges."""
        self._restore() if self.task.resume else self._begin()
        self._compile()
        self._report_start()
        self._start_clock()
        if self.step == 0:
            self._sample()
        self._look_for_end(self.position)
        while self.reason is None:
            self._call()
            self._look_around()
        self._end()

    def _begin(self) -> None:
        weights = self._first_weights()
        self.parameters = self.kernel.to_device(weights)
        zeros = {name: np.zeros_like(array) for name, array in weights.items()}
        self.moments = (self.kernel.to_device(zeros), self.kernel.to_device(zeros))
        self.state = self.kernel.zero_state()
        self.step, self.seconds_before = 0, 0.0
        self.record = Record(
            {
                "source_name": self.task.source_name,
                "parent": Path(self.task.parent_path).name if self.task.parent_path else None,
                "source_sha256": self.corpus.source_sha256,
                "characters": len(self.corpus),
                "train_characters": len(self.train_part),
                "validation_characters": len(self.validation_part),
                "versions": environment()["versions"],
            }
        )

    def _first_weights(self) -> dict[str, Any]:
        if self.task.parent_path:
            return grown(load(self.task.parent_path).weights, self.sizes.vocab_size, self.corpus.counts)
        sizes = (self.sizes.vocab_size, self.sizes.embedding_size, self.sizes.rnn_size, self.sizes.num_layers)
        return initial_weights(self.options["cell"], *sizes, self.options["seed"])

    def _restore(self) -> None:
        checkpoint = Checkpoint.read(Path(self.task.checkpoint_path))
        groups, metadata = checkpoint.groups, checkpoint.metadata
        self.parameters = self.kernel.to_device(groups["weights"])
        self.moments = (self.kernel.to_device(groups["means"]), self.kernel.to_device(groups["squares"]))
        self.state = self.kernel.state_to_device(groups["state"])
        self.best = dict(groups["best"])
        position = metadata["position"]
        self.step, self.seconds_before, self.updates = position["step"], position["seconds"], position["updates"]
        self.epoch_sum, self.epoch_steps = position["epoch_sum"], position["epoch_steps"]
        self.last_epoch = math.inf if position["last_epoch"] is None else position["last_epoch"]
        if metadata["record"]["finished"] and metadata["segments"] == self.task.segments:
            self.reason = metadata["record"]["reason"]  # all was done but the writing of the model
            self.validated_step = self.step
        self.record = Record({**metadata["record"], "finished": False, "reason": None})
        self._note(f"resumed at step {self.step:,}")
        changed = [name for name, value in environment().items() if metadata["environment"].get(name) != value]
        if changed:
            self._note(
                f"{' and '.join(changed)} changed since the checkpoint: it goes on, but no longer to exactly the "
                "weights of an uninterrupted run"
            )

    def _compile(self) -> None:
        """Compile everything before the clock starts; no step is run."""
        self._run(0)
        if self.validation:
            self.validation.loss(self.parameters)

    def _report_start(self) -> None:
        self.report(
            Started(
                self.step, self.options, len(self.corpus), len(self.corpus.vocabulary), len(self.train_part),
                len(self.validation_part), sum(int(np.prod(p.shape)) for p in self.parameters.values()),
                self.task.resume,
            )
        )  # fmt: skip
        if not self.validation and not self.task.resume and self.options["validation_fraction"]:
            self._note("the text is too short to hold a part of 5,000 characters out: all of it is learned")

    def _start_clock(self) -> None:
        self.started = time.monotonic()
        self.saved_at = self.progress_at = self.seconds
        self.seconds_per_step = 0.05
        self._plan_validation()

    @property
    def seconds(self) -> float:
        """Of training, from the very first step on."""
        return self.seconds_before + time.monotonic() - self.started

    @property
    def position(self) -> Position:
        return Position(self.step, self.seconds)

    @property
    def segment(self) -> Segment:
        return self.segments[-1]

    # steps ----------------------------------------------------------------------------

    def _call(self) -> None:
        """As many steps as fit before something else is due. What was to be told of steps in between is told after."""
        first, begun, count = self.step, self.seconds, self._count()
        losses, lengths, rates = self._run(count)
        elapsed = (self.seconds - begun) / count
        self.seconds_per_step = elapsed if first == 0 else 0.7 * self.seconds_per_step + 0.3 * elapsed
        for k, loss in enumerate(losses):
            if not math.isfinite(loss):
                raise self._diverged(first + k + 1, f"the loss is {loss}")
            self._count_loss(first + k, loss)
            self.characters += int(lengths[k]) * self.options["batch_size"]
            self.rate = float(rates[k])
            self.step += 1
            self.updates += 1
            if k + 1 < count and self.options["log_every"] and self.step % self.options["log_every"] == 0:
                self._progress(Position(self.step, begun + (k + 1) * elapsed))

    def _run(self, count: int) -> tuple[list[float], Any, Any]:
        """Losses [count], lengths and rates [most] of so many steps."""
        pieces, rates = self.batches.read_many(self.step, count, MOST_STEPS), self._rates(count)
        self.parameters, self.moments, self.state, losses = self.kernel.run(
            self.parameters, self.moments, self.state, self.updates, pieces["ids"], pieces["lengths"],
            pieces["fresh"], rates, self.step, count,
        )  # fmt: skip
        return [float(loss) for loss in losses.numpy()[:count]], pieces["lengths"], rates

    def _diverged(self, step: int, how: str) -> TrainingFailed:
        return TrainingFailed(
            f"training diverged: at step {step:,} {how}; a learning_rate below {self.options['learning_rate']:g} "
            "would be right"
        )

    def _rates(self, count: int) -> Any:
        rates = np.zeros(MOST_STEPS, np.float32)
        if count:
            now, schedule, warmup = self.position, self.options["schedule"], self.options["warmup_steps"]
            for k in range(count):
                at = Position(now.step + k, now.seconds + k * self.seconds_per_step)
                rates[k] = self.options["learning_rate"] * self.segment.factor(at, schedule, warmup)
        return rates

    def _count(self) -> int:
        options, step = self.options, self.step
        limits = [MOST_STEPS, max(1, int(CALL_SECONDS / self.seconds_per_step)), self._epoch_limit()]
        if options["save_every"]:
            limits.append(options["save_every"] - step % options["save_every"])
        limits.append(self._next_sample() - step)
        if self.validate_step is not None:
            limits.append(self.validate_step - step)
        if self.segment.end_step is not None:
            limits.append(self.segment.end_step - step)
        if self.segment.end_seconds is not None:
            limits.append(math.ceil((self.segment.end_seconds - self.seconds) / self.seconds_per_step))
        return max(1, min(limits))

    def _epoch_limit(self) -> int:
        """Steps to the end of an epoch whose loss will be looked at, whatever the steps of a call are."""
        epoch, _ = self.batches.locate(self.step)
        if self.last_epoch < NEARLY_MEMORISED:
            return self.batches.epoch_start(epoch + 1) - self.step
        return max(1, self.batches.epoch_start(epoch + 2) - 1 - self.step)

    def _count_loss(self, step: int, loss: float) -> None:
        self.losses.append(loss)
        self.epoch_sum += loss
        self.epoch_steps += 1
        epoch, index = self.batches.locate(step)
        if self.batches.epoch_start(epoch) + index + 1 == self.batches.epoch_start(epoch + 1):
            mean = self.epoch_sum / self.epoch_steps
            if self.last_epoch < NEARLY_MEMORISED and mean < MEMORISED:
                self.reason = "memorised"
            self.last_epoch, self.epoch_sum, self.epoch_steps = mean, 0.0, 0

    # what is due between steps ----------------------------------------------------------

    def _look_around(self) -> None:
        now, options = self.position, self.options
        self._look_for_end(now)
        self._heed_stops()
        every = options["log_every"]
        if (self.step % every == 0 if every else now.seconds - self.progress_at >= PROGRESS_SECONDS) or self.reason:
            self._progress(now)
        if self.reason in (None, "interrupted") and self._validation_due(now):
            self._validate()  # also when interrupted: whoever goes on has done what was due at this step
        if self.step == self.sample_step:
            self._sample()
        every = options["save_every"]
        if self.reason is None and (self.step % every == 0 if every else now.seconds - self.saved_at >= SAVE_SECONDS):
            self._save_checkpoint()

    def _look_for_end(self, now: Position) -> None:
        if self.reason is None and self.segment.progress(now) >= 1:
            self.reason = "stopped" if self.segment.stop_seconds is not None else "budget"

    def _heed_stops(self) -> None:
        stops = self.stops()
        if self.reason or not stops:
            return
        if self.segment.endless and stops == 1:
            decay = decay_seconds(self.seconds)
            self.segments[-1] = self.segment.stopped(self.position, decay)
            self._note(f"stopping: the learning rate falls for {decay:.0f} s, stop again to end at once")
        elif stops > 1 or self.segment.stop_seconds is None:
            self.reason = "interrupted"

    def _progress(self, now: Position) -> None:
        if not self.losses:
            return
        elapsed = max(1e-9, now.seconds - self.progress_at)
        loss, epoch = sum(self.losses) / len(self.losses), self.batches.epochs(self.step)
        self.report(
            Progress(
                self.step, self.segment.progress(now), epoch, loss, self.rate, self.characters / elapsed, now.seconds,
                self.segment.seconds_left(now, self.seconds_per_step),
            )
        )  # fmt: skip
        self.record.point(self.step, now.seconds, epoch, train_loss=round(loss, 5), learning_rate=self.rate)
        self.record.data["train_loss"] = loss
        self.losses, self.characters, self.progress_at = [], 0, now.seconds

    def _next_sample(self) -> int:
        every = self.options["sample_every"]
        self.sample_step = (self.step // every + 1) * every if every else next_sample_step(self.step)
        return self.sample_step

    def _sample(self) -> None:
        """What the model writes now, with the same prompt and seed each time."""
        model = Model(self.corpus.vocabulary, self._weights(), self.options)
        text = model.generate(length=SAMPLE_LENGTH, temperature=SAMPLE_TEMPERATURE, seed=self.options["seed"])
        self.record.sample(self.step, text)
        self.report(Sampled(self.step, text))

    # validation -------------------------------------------------------------------------

    def _plan_validation(self) -> None:
        """When the next validation is due: `validate_step`, or where time decides, `validate_progress` or _seconds."""
        self.validate_step: int | None = None
        self.validate_progress = self.validate_seconds = math.inf
        if not self.validation:
            return
        segment, every = self.segment, self.options["validate_every"]
        if every:
            self.validate_step = (self.step // every + 1) * every
        elif segment.endless:
            self.validate_seconds = self.seconds + max(5.0, 0.2 * (self.seconds - segment.start_seconds))
        elif segment.end_seconds is None and segment.end_step is not None:
            length = segment.end_step - segment.start_step
            steps = (segment.start_step + math.ceil(mark * length) for mark in validation_marks())
            self.validate_step = next((step for step in steps if step > self.step), None)
        else:
            progress = segment.progress(self.position)
            self.validate_progress = next((mark for mark in validation_marks() if mark > progress), math.inf)

    def _validation_due(self, now: Position) -> bool:
        return (
            self.step == self.validate_step
            or self.segment.progress(now) >= self.validate_progress
            or now.seconds >= self.validate_seconds
        )

    def _validate(self) -> None:
        if not self.validation:
            return
        loss = self.validation.loss(self.parameters)
        if not math.isfinite(loss):
            raise self._diverged(self.step, f"the validation loss is {loss}")
        self.validated_step = self.step
        data = self.record.data
        best = data["best_validation_loss"] is None or loss < data["best_validation_loss"]
        data["validation_loss"] = loss
        if best:
            data["best_validation_loss"], data["best_step"] = loss, self.step
            if self.options["keep"] == "best":
                self.best = self._weights()
        epoch = self.batches.epochs(self.step)
        self.record.point(self.step, self.seconds, epoch, validation_loss=round(loss, 5))
        self.report(Validated(self.step, loss, best, self.seconds))
        self._plan_validation()
        if self.reason is None and (best or self.options["keep"] == "last"):
            self._save_model(self._chosen())

    def _chosen(self) -> dict[str, Any]:
        return self.best or self._weights()

    # files --------------------------------------------------------------------------------

    def _weights(self) -> dict[str, Any]:
        """The weights as they are now, float32; the row of an unknown that never occurred is the others' mean."""
        weights = self.kernel.to_weights(self.parameters)
        counts = self.corpus.counts
        name = "embedding" if "embedding" in weights else "layers.0.input"
        if not counts[0] and counts.sum():
            rows = weights[name].copy()
            rows[0] = (counts[1:] / counts.sum()) @ rows[1:]
            weights[name] = rows
        return weights

    def _save_checkpoint(self, wait: bool = False) -> None:
        self._update_record()
        weights = self.kernel.to_weights(self.parameters)
        if not all(np.isfinite(array).all() for array in weights.values()):
            raise self._diverged(self.step, "weights are not finite")
        position = {
            "step": self.step, "seconds": self.seconds, "updates": self.updates, "epoch_sum": self.epoch_sum,
            "epoch_steps": self.epoch_steps, "last_epoch": None if math.isinf(self.last_epoch) else self.last_epoch,
        }  # fmt: skip
        checkpoint = Checkpoint(
            {
                "weights": weights,
                "means": self.kernel.to_weights(self.moments[0]),
                "squares": self.kernel.to_weights(self.moments[1]),
                "state": {name: tensor.numpy() for name, tensor in self.state.items()},
                "best": self.best,
            },
            json.loads(
                json.dumps(
                    {
                        "options": self.options,
                        "vocabulary": self.corpus.vocabulary.to_json(),
                        "record": self.record.data,
                        "segments": [segment.to_json() for segment in self.segments],
                        "position": position,
                        "environment": environment(),
                        "source_sha256": self.corpus.source_sha256,
                        "validation_characters": self.task.validation_characters,
                    }
                )
            ),
        )
        path = Path(self.task.checkpoint_path)
        self._write(lambda: checkpoint.write(path), Saved(self.step, str(path), "checkpoint"), wait)
        self.saved_at = self.seconds

    def _save_model(self, weights: dict[str, Any], wait: bool = False) -> None:
        if not Path(self.task.checkpoint_path).exists() and not self.saving:
            self._save_checkpoint()  # a model never lies there without one
        self._update_record()
        record = json.loads(json.dumps(self.record.data))
        model = Model(self.corpus.vocabulary, weights, self.options, record)
        path = Path(self.task.model_path)
        self._write(lambda: model.save(path), Saved(self.step, str(path), "model"), wait)

    def _write(self, write: Callable[[], None], saved: Saved, wait: bool) -> None:
        """In another thread, in order; a failure is raised at the next write or at the end."""
        if self.saving:
            self.saving.result()

        def work() -> None:
            write()
            self.report(saved)

        self.saving = self.files.submit(work)
        if wait:
            self.saving.result()

    def _update_record(self) -> None:
        self.record.data |= {
            "step": self.step, "seconds": self.seconds, "epochs": self.batches.epochs(self.step),
        }  # fmt: skip

    def _end(self) -> None:
        if not any(sample["step"] == self.step for sample in self.record.data["samples"]):
            self._sample()
        complete = self.reason != "interrupted"
        if not complete:
            # the checkpoint first: looking at the loss here must not change what a resumed run will keep
            self._save_checkpoint(wait=True)
        if self.validated_step != self.step:
            self._validate()
        self.record.data["finished"], self.record.data["reason"] = complete, self.reason
        if complete:
            self._save_checkpoint()
        self._save_model(self._chosen(), wait=True)
        kept_best = bool(self.best) and self.options["keep"] == "best"
        self.report(
            Finished(
                self.step, complete, str(self.reason), self.record.data["train_loss"],
                self.record.data["best_validation_loss" if kept_best else "validation_loss"], self.seconds,
            )
        )  # fmt: skip

    def _note(self, text: str) -> None:
        self.record.note(text)
        self.report(Note(self.step, text))


def environment() -> dict[str, Any]:
    """What the bits of a run depend on besides its options."""
    import tensorflow as tf

    return {
        "versions": {
            "charrnn": _charrnn_version(), "numpy": np.__version__, "tensorflow": tf.__version__,
            "python": platform.python_version(),
        },
        "processor": " ".join(sorted(name for name in features() if name.startswith(("avx", "amx", "fma")))),
        "devices": sorted({device.device_type for device in tf.config.list_physical_devices()}),
    }  # fmt: skip


def _charrnn_version() -> str:
    import charrnn

    return charrnn.__version__
