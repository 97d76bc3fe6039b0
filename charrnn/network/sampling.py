"""How the next character is chosen from logits: the options of sampling, their checks, and the noise behind them.

It knows temperature, top-k, top-p and seeds. It does not know networks, streams or text, and imports nothing slow:
`charrnn sample` goes through here on its way to the first character.

A character is drawn as argmax(logits + T * G) with G standard Gumbel noise, which is a draw from softmax(logits / T)
(Gumbel 1954). The noise is built from raw Philox bits keyed (seed, index), since NumPy does not freeze its
distributions between versions.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import InvalidOptions
from charrnn.network.cells import softmax

#: added to the logit of the unknown, which is never written; finite, so that it never makes a NaN
NEVER = np.float32(-1e30)

#: numbers of noise that are computed at once: they stay in the cache, and their memory with the program
AT_ONCE = 12 * 1024

SAMPLING_ALIASES = {"start_string": "prompt", "max_length": "length"}


def _option(default: Any, description: str, **limits: Any) -> Any:
    return field(default=default, metadata={"description": description, **limits})


@dataclass(frozen=True)
class SamplingOptions:
    """How a text is written. Raises InvalidOptions, naming every option that is out of its range."""

    prompt: str = _option("", "The text to go on from. Empty: begin as after a newline.")
    length: int = _option(1000, "How many new characters to write.", minimum=0, maximum=10_000_000)
    temperature: float = _option(
        1.0,
        "How bold: 0 always takes the likeliest character, 1 follows the model, more is wilder.",
        minimum=0,
        maximum=100,
    )
    top_k: int | None = _option(None, "Choose among this many likeliest characters only.", minimum=1)
    top_p: float | None = _option(
        None, "Then among the likeliest that together reach this probability.", exclusiveMinimum=0, maximum=1
    )
    seed: int | None = _option(
        None, "The same seed writes the same text. Not set: another text each time.", minimum=0, maximum=2**63 - 1
    )
    stop: tuple[str, ...] = _option((), "End before the first of these texts.")
    count: int | None = _option(None, "How many texts to write at once.", minimum=1, maximum=1024)

    def __post_init__(self) -> None:
        problems = {}
        for option in dataclasses.fields(self):
            value, problem = _checked(option, getattr(self, option.name))
            object.__setattr__(self, option.name, value)
            if problem:
                problems[option.name] = problem
        if problems:
            raise InvalidOptions(_sentence(problems), problems)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> SamplingOptions:
        """From names and values as they come from outside; takes the older names too. Raises InvalidOptions."""
        names = [option.name for option in dataclasses.fields(cls)]
        values: dict[str, Any] = {}
        problems = {}
        for given, value in data.items():
            name = SAMPLING_ALIASES.get(given, given)
            if name not in names:
                problems[given] = unknown_option(given, [*names, *SAMPLING_ALIASES])
            elif name in values:
                problems[name] = f"given twice: {name} and its other name"
            else:
                values[name] = value
        try:
            options = cls(**values)
        except InvalidOptions as error:
            problems.update(error.fields)
        if problems:
            raise InvalidOptions(_sentence(problems), problems)
        return options


def unknown_option(name: str, names: list[str]) -> str:
    """What to say about an option that does not exist: with the nearest that does."""
    near = difflib.get_close_matches(name, names, n=1)
    return f"there is no such option; did you mean {near[0]}?" if near else "there is no such option"


def sampling_schema() -> dict[str, Any]:
    """The JSON Schema of SamplingOptions, for forms and for REST."""
    kinds: dict[str, dict[str, Any]] = {
        "str": {"type": "string"},
        "int": {"type": "integer"},
        "float": {"type": "number"},
        "tuple[str, ...]": {"type": "array", "items": {"type": "string", "minLength": 1}, "maxItems": 16},
    }
    properties = {}
    for option in dataclasses.fields(SamplingOptions):
        limits = dict(option.metadata)
        kind, _, optional = str(option.type).partition(" | ")
        schema = {**kinds[kind], **{name: limit for name, limit in limits.items() if name != "description"}}
        if optional:
            schema = {"anyOf": [schema, {"type": "null"}]}
        default = list(option.default) if isinstance(option.default, tuple) else option.default
        properties[option.name] = {**schema, "description": limits["description"], "default": default}
    return {
        "title": "SamplingOptions",
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
    }


def _sentence(problems: Mapping[str, str]) -> str:
    return "; ".join(f"{name}: {problem}" for name, problem in problems.items())


def _checked(option: dataclasses.Field[Any], value: Any) -> tuple[Any, str | None]:
    """The value in its own type, and what is wrong with it, if anything."""
    kind, _, optional = str(option.type).partition(" | ")
    if value is None and optional:
        return None, None
    if kind == "str":
        return value, None if isinstance(value, str) else f"must be text, not {repr(value)[:60]}"
    if kind.startswith("tuple"):
        stops = (value,) if isinstance(value, str) else () if value is None else value
        if not isinstance(stops, list | tuple) or not all(isinstance(stop, str) and stop for stop in stops):
            return value, f"must be a text or a list of texts, none of them empty, not {repr(value)[:60]}"
        return tuple(stops), "at most 16 texts" if len(stops) > 16 else None
    if kind == "int":
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            return value, f"must be a whole number, not {repr(value)[:60]}"
        value = int(value)
    else:
        if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
            return value, f"must be a number, not {repr(value)[:60]}"
        if (isinstance(value, int) and abs(value) > 2**60) or not math.isfinite(value):
            return value, f"must be a finite number, not {str(value)[:40]}"
        value = float(value)
    limits = option.metadata
    if "minimum" in limits and value < limits["minimum"]:
        return value, f"must be at least {limits['minimum']}, not {value}"
    if "exclusiveMinimum" in limits and value <= limits["exclusiveMinimum"]:
        return value, f"must be more than {limits['exclusiveMinimum']}, not {value}"
    if "maximum" in limits and value > limits["maximum"]:
        return value, f"must be at most {limits['maximum']}, not {value}"
    return value, None


class Noise:
    """The endless noise of one stream: `draw` hands out the next rows, the same whatever the sizes of the calls."""

    def __init__(self, seed: int | None, index: int, vocab_size: int, temperature: float) -> None:
        from numpy.random import SFC64, Philox

        self._vocab_size = vocab_size
        self._words = (vocab_size + 1) // 2  # raw words a character
        self._temperature = np.float32(temperature)
        self._bits: Any = SFC64() if seed is None else Philox(key=np.array([seed, index], np.uint64))

    def draw(self, characters: int) -> NDArray[np.float32]:
        """float32 [characters, vocab_size]: temperature times log(E), E exponential, to be *subtracted* from logits.

        -log(E) is Gumbel noise. E = -log((bits + 1/2) / 2**32) is computed in float64, for its small values decide
        what rare characters get, and is never 0 or infinite.
        """
        shape = (characters, self._vocab_size)
        if not self._temperature:
            return np.zeros(shape, np.float32)
        noise = np.empty(shape, np.float32)
        at_once = max(1, AT_ONCE // self._vocab_size)
        for start in range(0, characters, at_once):
            self._fill(noise[start : start + at_once])
        return noise

    def _fill(self, noise: NDArray[np.float32]) -> None:
        bits = self._bits.random_raw(len(noise) * self._words).astype("<u8", copy=False).view("<u4")
        exponential = bits.reshape(len(noise), -1)[:, : self._vocab_size] + 0.5
        np.subtract(32 * math.log(2), np.log(exponential, out=exponential), out=noise, casting="same_kind")
        np.log(noise, out=noise)
        if self._temperature != 1:
            noise *= self._temperature


def restrict(
    logits: NDArray[np.float32], temperature: float, top_k: int | None, top_p: float | None
) -> NDArray[np.float32]:
    """A copy of `logits` [V] where all but the top k, and of them all but the top p, are minus infinity.

    Of equal logits the lower id ranks first. top_p keeps the fewest characters whose probabilities, at this
    temperature and among the top k, reach it; always at least one.
    """
    order = np.argsort(-logits, kind="stable")
    if top_k is not None:
        order = order[:top_k]
    if top_p is not None and top_p < 1 and temperature > 0:
        shares = _tempered(logits[order], temperature)
        before = np.cumsum(shares) - shares  # what the likelier ones already reach
        order = order[: max(1, int(np.count_nonzero(before < top_p)))]
    kept = np.full_like(logits, -np.inf)
    kept[order] = logits[order]
    return kept


def probabilities(logits: NDArray[np.float32], temperature: float = 1.0) -> NDArray[np.float64]:
    """float64 [V]: what is drawn from at this temperature; the unknown (id 0) has none, the rest share its part."""
    known = np.asarray(logits, np.float64).copy()
    known[0] = -np.inf
    if temperature == 0:
        one = np.zeros_like(known)
        one[int(np.argmax(known))] = 1
        return one
    return _tempered(known, temperature)


def _tempered(logits: NDArray[Any], temperature: float) -> NDArray[np.float64]:
    """Probabilities at a temperature above 0, however small."""
    below = np.asarray(logits, np.float64) - logits.max()
    with np.errstate(over="ignore"):
        return np.asarray(softmax(below / temperature), np.float64)
