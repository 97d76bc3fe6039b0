"""A trained model as one holds it: it writes, predicts, is surprised by texts, and goes into a file and out of it.

It knows its vocabulary, weights, options and training record. It does not know how it was trained.
"""

from __future__ import annotations

import html
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import InvalidModel
from charrnn.network import file
from charrnn.network.batch import FoldedWeights
from charrnn.network.cells import GATES, Sizes, forward, initial_weights, weight_shapes
from charrnn.network.evaluate import Evaluation, Score
from charrnn.network.generator import Generator, pieces
from charrnn.network.sampling import SamplingOptions, probabilities
from charrnn.network.threads import one_thread
from charrnn.text.vocabulary import Vocabulary

SHOWN_CHARACTERS = 200  # of a sample, where a model shows itself
_SIZE_LIMITS = {"rnn_size": (1, 65_536), "num_layers": (1, 64), "embedding_size": (0, 65_536)}


class UnknownCharacters(UserWarning):
    """A text holds characters that the model has never seen. They are read as unknown."""


@dataclass(frozen=True)
class Prediction:
    """A character that may come next, and how probable it is."""

    character: str
    probability: float


class Model:
    """A model. `weights` are float32 arrays as `cells` lays them out; they are not to be changed.

    `options`: the resolved training options, of which `cell`, `rnn_size`, `num_layers` and `embedding_size` must be
    there. `record`: the training record, may be empty. Raises InvalidModel when these do not fit together.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        weights: Mapping[str, NDArray[np.float32]],
        options: Mapping[str, Any],
        record: Mapping[str, Any] | None = None,
    ) -> None:
        self.vocabulary = vocabulary
        self.options = dict(options)
        self.record = dict(record or {})
        self.cell, self.sizes = _network(self.options, len(vocabulary))
        self.weights = _checked_weights(weights, self.cell, self.sizes)

    @classmethod
    def initial(
        cls, cell: str, vocabulary: Vocabulary, *, embedding_size: int = 0, rnn_size: int = 128, num_layers: int = 1,
        seed: int = 0,
    ) -> Model:  # fmt: skip
        """A model that has learned nothing yet."""
        sizes = {"embedding_size": embedding_size, "rnn_size": rnn_size, "num_layers": num_layers}
        weights = initial_weights(cell, len(vocabulary), seed=seed, **sizes)
        return cls(vocabulary, weights, {"cell": cell, **sizes, "seed": seed}, {"step": 0, "finished": False})

    @property
    def finished(self) -> bool:
        """Whether its training came to its end; False if it was interrupted."""
        return bool(self.record.get("finished", False))

    @property
    def parameters(self) -> int:
        """How many numbers it has learned."""
        return sum(array.size for array in self.weights.values())

    @cached_property
    def folded(self) -> FoldedWeights:
        """The weights laid out for writing, made at first use."""
        with one_thread():
            return FoldedWeights(self.weights, self.cell)

    # Writing

    @overload
    def generate(
        self, prompt: str = "", *, length: int = 1000, temperature: float = 1.0, top_k: int | None = None,
        top_p: float | None = None, seed: int | None = None, stop: str | Sequence[str] | None = None,
        count: None = None,
    ) -> str: ...  # fmt: skip

    @overload
    def generate(
        self, prompt: str = "", *, length: int = 1000, temperature: float = 1.0, top_k: int | None = None,
        top_p: float | None = None, seed: int | None = None, stop: str | Sequence[str] | None = None,
        count: int,
    ) -> list[str]: ...  # fmt: skip

    def generate(
        self, prompt: str = "", *, length: int = 1000, temperature: float = 1.0, top_k: int | None = None,
        top_p: float | None = None, seed: int | None = None, stop: str | Sequence[str] | None = None,
        count: int | None = None,
    ) -> str | list[str]:  # fmt: skip
        """Write on from `prompt` and return the new text only; with `count` a list of so many texts.

        See SamplingOptions for the options. Raises InvalidOptions. Warns with UnknownCharacters.
        """
        options = _sampling(prompt, length, temperature, top_k, top_p, seed, stop, count)
        self._warn_of_unseen(prompt)
        return self.write(options)

    def stream(
        self, prompt: str = "", *, length: int = 1000, temperature: float = 1.0, top_k: int | None = None,
        top_p: float | None = None, seed: int | None = None, stop: str | Sequence[str] | None = None,
    ) -> Iterator[str]:  # fmt: skip
        """The text that `generate` returns, piece by piece as it is written. Raises and warns at once, like it."""
        options = _sampling(prompt, length, temperature, top_k, top_p, seed, stop, None)
        self._warn_of_unseen(options.prompt)
        generator = Generator(self)
        return pieces(generator, generator.join(options=options))

    def write(self, options: SamplingOptions) -> str | list[str]:
        """As `generate`, from options that are already checked, and without a warning."""
        generator = Generator(self)
        streams = [generator.join(options=options, index=index) for index in range(options.count or 1)]
        texts: list[list[str]] = [[] for _ in streams]
        while generator.streams:
            generator.step(256 // max(1, min(8, len(streams))))
            for text, stream in zip(texts, streams, strict=True):
                text.append(stream.take())
        return ["".join(text) for text in texts] if options.count else "".join(texts[0])

    def unseen(self, text: str) -> str:
        """The characters of `text` that the model has never seen, each once; they are read as unknown."""
        return self.vocabulary.unknown_in(text)

    def prompt_ids(self, prompt: str) -> NDArray[np.int32]:
        """int32 [characters], at least one: an empty prompt is read as a newline, or as the commonest character."""
        if prompt:
            return self.vocabulary.encode(prompt)
        newline = self.vocabulary.encode("\n")
        return newline if newline[0] else np.ones(1, np.int32)

    def _warn_of_unseen(self, text: str) -> None:
        unseen = self.unseen(text)
        if unseen:
            shown = ", ".join(map(repr, unseen[:10])) + (" …" if len(unseen) > 10 else "")
            warnings.warn(f"the model has never seen {shown}; read as unknown", UnknownCharacters, stacklevel=3)

    # Looking

    def predict(self, prompt: str = "", top: int = 10, temperature: float = 1.0) -> list[Prediction]:
        """The `top` likeliest characters after `prompt`, likeliest first. Warns with UnknownCharacters."""
        SamplingOptions(prompt=prompt, temperature=temperature, top_k=top)  # raises for what is out of range
        self._warn_of_unseen(prompt)
        with one_thread():
            logits = forward(self.weights, self.cell, self.prompt_ids(prompt)[None]).logits[0, -1]
        shares = probabilities(logits, temperature)
        order = np.argsort(-shares, kind="stable")[:top]
        return [Prediction(self.vocabulary.decode([i]), float(shares[i])) for i in order if i]

    def score(self, text: str) -> Score:
        """What every character of `text` costs, in nats. See Score."""
        from charrnn.network.evaluate import score_ids

        return Score(text, score_ids(self.weights, self.cell, self.vocabulary.encode(text)))

    def evaluate(self, path: str | os.PathLike[str]) -> Evaluation:
        """How well the model predicts a text file. Raises InvalidCorpus for a file that is no text."""
        from charrnn.network.evaluate import evaluate_file

        return evaluate_file(self.weights, self.cell, self.vocabulary, path)

    # Keeping

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to one `.safetensors` file, whole or not at all; replaces a file that is there."""
        metadata = {
            "kind": "model",
            "gates": list(GATES[self.cell]),
            "vocabulary": self.vocabulary.to_json(),
            "options": self.options,
            "record": self.record,
        }
        file.write_tensors(path, self.weights, metadata)

    def __repr__(self) -> str:
        return f"<charrnn.Model {self._summary()}>"

    def _repr_html_(self) -> str:
        rows = {
            "network": f"{self.cell.upper()} {self.sizes.num_layers}×{self.sizes.rnn_size}",
            "parameters": f"{self.parameters:,}",
            "characters it knows": f"{len(self.vocabulary) - 1:,}",
            "learned from": str(self.record.get("source_name", "")),
            "steps": f"{self.record['step']:,}" if isinstance(self.record.get("step"), int) else "",
            "training loss": _loss(self.record, "train_loss"),
            "validation loss": _loss(self.record),
            "training": "finished" if self.finished else "not finished",
        }
        cells = "".join(
            f"<tr><th style='text-align:left'>{name}</th><td style='text-align:left'>{html.escape(value)}</td></tr>"
            for name, value in rows.items()
            if value
        )
        sample = _last_sample(self.record)
        style = "white-space:pre-wrap;word-break:normal;overflow-wrap:anywhere;max-width:45em"
        shown = f"<pre style='{style}'>{html.escape(sample)}</pre>" if sample else ""
        return f"<table>{cells}</table>{shown}"

    def _summary(self) -> str:
        sizes = self.sizes
        parts = [
            f"{self.cell} {sizes.num_layers}x{sizes.rnn_size}",
            f"{self.parameters:,} parameters",
            f"{sizes.vocab_size - 1:,} characters",
        ]
        if loss := _loss(self.record):
            parts.append(f"validation loss {loss}")
        return ", ".join(parts if self.finished else [*parts, "training not finished"])


def _loss(record: Mapping[str, Any], name: str = "best_validation_loss") -> str:
    loss = record.get(name)
    return f"{loss:.4f}" if isinstance(loss, int | float) else ""


def _last_sample(record: Mapping[str, Any]) -> str:
    """The beginning of what the model wrote last in its training; nothing if that is not known."""
    samples = record.get("samples")
    last = samples[-1] if isinstance(samples, list) and samples else None
    text = last.get("text") if isinstance(last, dict) else None
    return text[:SHOWN_CHARACTERS] if isinstance(text, str) else ""


def load(path: str | os.PathLike[str]) -> Model:
    """The model in a file that `Model.save` wrote. Raises InvalidModel, naming the path and the reason."""
    weights, metadata = file.read_tensors(path, kind="model")
    try:
        return from_tensors(weights, metadata)
    except InvalidModel as error:
        raise InvalidModel(f"{os.fspath(path)}: {error}") from None


def from_tensors(weights: Mapping[str, NDArray[Any]], metadata: Mapping[str, Any]) -> Model:
    """The model of arrays and metadata as they lie in a file. Raises InvalidModel."""
    options, record = metadata.get("options"), metadata.get("record", {})
    if not isinstance(options, dict) or not isinstance(record, dict):
        raise InvalidModel("its metadata has no options or no record")
    model = Model(Vocabulary.from_json(metadata.get("vocabulary")), weights, options, record)
    if metadata.get("gates") != list(GATES[model.cell]):
        raise InvalidModel(f"its gates are in another order than {', '.join(GATES[model.cell])}")
    return model


def _sampling(
    prompt: str, length: int, temperature: float, top_k: int | None, top_p: float | None, seed: int | None,
    stop: str | Sequence[str] | None, count: int | None,
) -> SamplingOptions:  # fmt: skip
    return SamplingOptions(prompt, length, temperature, top_k, top_p, seed, stop or (), count)  # type: ignore[arg-type]


def _network(options: Mapping[str, Any], vocab_size: int) -> tuple[str, Sizes]:
    cell = options.get("cell")
    if not isinstance(cell, str) or cell not in GATES:
        raise InvalidModel(f"its options name no cell that exists (one of {', '.join(GATES)}): {str(cell)[:40]!r}")
    numbers = {}
    for name, (lowest, highest) in _SIZE_LIMITS.items():
        value = options.get(name)
        if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
            raise InvalidModel(f"its option {name} must be {lowest} to {highest}, not {str(value)[:40]!r}")
        numbers[name] = value
    return cell, Sizes(vocab_size, **numbers)


def _checked_weights(weights: Mapping[str, NDArray[Any]], cell: str, sizes: Sizes) -> dict[str, NDArray[np.float32]]:
    """The arrays in order, read-only. Raises InvalidModel if one is missing, too many, or of another shape or dtype."""
    shapes = weight_shapes(cell, sizes)
    problems = [f"no array {name!r}" for name in shapes if name not in weights]
    problems += [f"an array {name[:80]!r} that does not belong there" for name in weights if name not in shapes]
    if problems:
        raise InvalidModel(f"has {'; '.join(problems[:5])}")
    result = {}
    for name, shape in shapes.items():
        array = weights[name]
        if array.shape != shape or array.dtype != np.float32:
            raise InvalidModel(
                f"its array {name!r} is {array.dtype} {list(array.shape)}; float32 {list(shape)} is right"
            )
        result[name] = np.ascontiguousarray(array).view()
        result[name].flags.writeable = False
    return result
