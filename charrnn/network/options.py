"""The options of training: their names, ranges and older names, in one pydantic model.

It knows what may be given and what it is called. It does not resolve what was left open: every `None` is decided by
the trainer at the first step, from the sizes of text and budget. Its JSON Schema drives REST, the CLI and the form.

The options of sampling live in `sampling`, without pydantic, so that writing starts at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, model_validator
from pydantic_core import PydanticCustomError

from charrnn.errors import InvalidOptions
from charrnn.network.sampling import SAMPLING_ALIASES, SamplingOptions, sampling_schema, unknown_option

__all__ = ["ALIASES", "SAMPLING_ALIASES", "SamplingOptions", "TrainingOptions", "invalid_options", "sampling_schema"]

#: older name → name; those that also convert the value are handled in `_canonical`
ALIASES = {
    "num_seqs": "batch_size",
    "num_steps": "seq_length",
    "lstm_size": "rnn_size",
    "use_embedding": "embedding_size",
    "train_keep_prob": "dropout",
    "save_every_n": "save_every",
    "log_every_n": "log_every",
    "whitelist_file": "whitelist",
}

_WHITELIST_FILE_LIMIT = 16 * 2**20  # bytes
_YEAR = 366 * 24 * 60  # minutes


class TrainingOptions(BaseModel):
    """How a model is trained. What is not set is chosen by the size of the text and the budget."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    cell: Literal["lstm", "gru", "rnn"] = Field("lstm", description="The kind of recurrent cell.")
    rnn_size: int | None = Field(
        None, ge=1, le=16_384, description="Hidden units in a layer. Not set: by the size of the text and the budget."
    )
    num_layers: int | None = Field(
        None, ge=1, le=16, description="Layers on top of one another. Not set: by the size of the text and the budget."
    )
    embedding_size: int | None = Field(
        None,
        ge=0,
        le=16_384,
        description="Numbers that stand for a character at the input; 0 is one-hot input. Not set: by the text.",
    )
    dropout: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="Share of hidden units left out at random while training, against learning by heart. "
        "Not set: by the size of the text and the budget.",
    )
    batch_size: int | None = Field(
        None,
        ge=1,
        le=65_536,
        description="Stretches of the text that are read side by side. "
        "Not set: by the size of the text and the budget.",
    )
    seq_length: int | None = Field(
        None,
        ge=1,
        le=65_536,
        description="Characters read in each stretch before the weights change; how far back an error is traced. "
        "Not set: by the size of the text and the budget.",
    )
    learning_rate: float | None = Field(
        None, gt=0, le=10, description="The size of the steps at their largest. Not set: by the size of the network."
    )
    schedule: Literal["cosine", "constant"] = Field(
        "cosine", description="cosine: the rate falls to a twentieth towards the end of the budget; constant: it stays."
    )
    warmup_steps: int | None = Field(
        None, ge=0, description="Steps over which the rate grows from zero. Not set: by the budget."
    )
    minutes: float | None = Field(
        None, gt=0, le=_YEAR, description="Budget in minutes of training. Without any budget: 3 minutes."
    )
    max_steps: int | None = Field(None, ge=1, le=2**53, description="Budget in steps.")
    max_epochs: float | None = Field(None, gt=0, le=1e9, description="Budget in passes over the text.")
    until_stopped: bool = Field(False, description="Train until stopped, without a budget.")
    save_every: int | None = Field(None, ge=1, description="Steps between checkpoints. Not set: every 20 seconds.")
    log_every: int | None = Field(None, ge=1, description="Steps between reports of progress. Not set: by time.")
    sample_every: int | None = Field(
        None, ge=1, description="Steps between samples of what the model writes. Not set: at 0, 1, 2, 5, 10, 20, 50 …"
    )
    validate_every: int | None = Field(
        None, ge=1, description="Steps between validations. Not set: at 1, 2, 5, 10, 20 … 100 % of the budget."
    )
    validation_fraction: float = Field(
        0.1, ge=0, le=0.5, description="Share of the text held out, to see how well the model does on new text."
    )
    validation: Literal["tail", "spread"] = Field(
        "tail", description="What is held out: tail, the end of the text; spread, ten stretches evenly spread over it."
    )
    keep: Literal["auto", "best", "last"] = Field(
        "auto",
        description="Which weights become the model: best on the text held out, or the last. "
        "auto: best, if that text has 5,000 characters.",
    )
    max_vocab: int = Field(
        3500, ge=1, le=1_112_063, description="At most this many characters are told apart; rarer ones become unknown."
    )
    whitelist: str | None = Field(
        None, min_length=1, description="Learn these characters only; all others become unknown."
    )
    grad_clip: float = Field(5.0, gt=0, le=1e6, description="Largest norm of a gradient; larger ones are scaled down.")
    weight_decay: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Pull of the weights towards zero, as in AdamW. Not set: by the size of the text.",
    )
    seed: int = Field(0, ge=0, le=2**63 - 1, description="The same seed, text, options and machine: the same model.")

    @model_validator(mode="before")
    @classmethod
    def _older_names(cls, data: Any, info: ValidationInfo) -> Any:
        if not isinstance(data, Mapping):
            return data
        return _canonical(data, files=bool(info.context and info.context.get("files")))

    @model_validator(mode="after")
    def _one_end(self) -> TrainingOptions:
        budgets = [name for name in ("minutes", "max_steps", "max_epochs") if getattr(self, name) is not None]
        if self.until_stopped and budgets:
            raise _problem("until_stopped", f"goes on without an end, which {budgets[0]} sets; give one of them")
        return self

    @classmethod
    def parse(cls, data: Mapping[str, Any], *, files: bool = False) -> TrainingOptions:
        """Options from names and values as they come from outside; older names are taken too.

        `None` and "auto" mean not given. `files`: whether `whitelist_file` may be read, which only someone on this
        machine may ask for. Raises InvalidOptions with a message for every field that is wrong.
        """
        try:
            return cls.model_validate(dict(data), context={"files": files})
        except ValidationError as error:
            raise invalid_options(error) from None


def _problem(field: str, message: str) -> PydanticCustomError:
    """An error of one field, raised where pydantic does not know which."""
    return PydanticCustomError("option", "{message}", {"field": field, "message": message})


def _canonical(data: Mapping[str, Any], files: bool) -> dict[str, Any]:
    """The same options under their own names, those not given left out. Raises for a name given twice."""
    values = {
        name: value
        for name, value in data.items()
        if value is not None and not (value == "auto" and isinstance(value, str) and name not in ("keep", "whitelist"))
    }
    for name, value in values.items():
        if isinstance(value, bool) and name not in ("until_stopped", "use_embedding"):
            raise _problem(name, f"must not be {value}")  # which pydantic would take for 1 or 0
    for alias, name in ALIASES.items():
        if alias not in values:
            continue
        value = values.pop(alias)
        if alias == "use_embedding" and _yes_or_no(value):
            if values.get(name) == 0:
                raise _problem(name, "0 is one-hot input, and use_embedding asks for an embedding; give one of them")
            continue
        if name in values:
            raise _problem(name, f"given twice: {alias} is another name for it")
        values[name] = _converted(alias, value, files)
    return values


def _converted(alias: str, value: Any, files: bool) -> Any:
    if alias == "use_embedding":
        return 0
    if alias == "train_keep_prob":
        try:
            keep = float(value)
        except (TypeError, ValueError):
            raise _problem(alias, f"must be a number, not {value!r}") from None
        if not 0 < keep <= 1:
            raise _problem(alias, f"must be more than 0 and at most 1, not {value}")
        return round(1 - keep, 12)
    if alias == "whitelist_file":
        return _whitelist(value, files)
    return value


def _yes_or_no(value: Any) -> bool:
    word = str(value).strip().lower()
    if word in ("true", "1", "yes", "on", "t", "y"):
        return True
    if word in ("false", "0", "no", "off", "f", "n"):
        return False
    raise _problem("use_embedding", f"must be true or false, not {value!r}")


def _whitelist(path: Any, files: bool) -> str:
    """The characters of a UTF-8 file, each once, line ends left out but for one newline."""
    if not files:
        raise _problem("whitelist_file", "a file cannot be named here; give the characters as whitelist")
    try:
        if Path(path).stat().st_size > _WHITELIST_FILE_LIMIT:
            raise _problem("whitelist_file", f"{path} is larger than {_WHITELIST_FILE_LIMIT} bytes")
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, TypeError) as error:
        raise _problem("whitelist_file", f"{path} cannot be read ({getattr(error, 'strerror', error)})") from None
    except UnicodeDecodeError as error:
        raise _problem("whitelist_file", f"{path} is not UTF-8 at byte {error.start}") from None
    return "".join(dict.fromkeys(text))


def invalid_options(error: ValidationError) -> InvalidOptions:
    """What a pydantic error says, as one of ours: a message for every field."""
    fields: dict[str, str] = {}
    for problem in error.errors():
        context: dict[str, Any] = problem.get("ctx", {})
        name = str(context.get("field") or (problem["loc"][0] if problem["loc"] else "options"))
        fields.setdefault(name, _message(name, problem["type"], context, problem["input"], problem["msg"]))
    return InvalidOptions("; ".join(f"{name}: {message}" for name, message in fields.items()), fields)


def _message(name: str, kind: str, context: Mapping[str, Any], given: Any, otherwise: str) -> str:
    shown = repr(given)[:60]
    bounds = {
        "greater_than_equal": ("at least", "ge"), "greater_than": ("more than", "gt"),
        "less_than_equal": ("at most", "le"), "less_than": ("less than", "lt"),
    }  # fmt: skip
    if kind in bounds:
        words, bound = bounds[kind]
        return f"must be {words} {context[bound]:,}, not {shown}"
    if kind == "option":
        return str(context["message"])
    if kind == "extra_forbidden":
        return unknown_option(name, _names())
    if kind.startswith("int"):
        return f"must be a whole number, not {shown}"
    if kind.startswith(("float", "finite")):
        return f"must be a number, not {shown}"
    if kind.startswith("bool"):
        return f"must be true or false, not {shown}"
    if kind == "literal_error":
        return f"must be one of {context['expected']}, not {shown}"
    return otherwise


def _names() -> list[str]:
    names: Iterable[str] = TrainingOptions.model_fields
    return [*names, *ALIASES]
