"""Options as they are stored with a model, and what becomes of them when others are given.

It knows names and values of options, and which of them depend on one another. It does not know what any of them does,
or where they are stored.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from charrnn.errors import InvalidOptions

if TYPE_CHECKING:
    from charrnn.network.options import TrainingOptions

BUDGETS = ("minutes", "max_steps", "max_epochs", "until_stopped")
CHARACTERS = ("max_vocab", "whitelist")  # options that say which characters are told apart
NETWORK = ("cell", "rnn_size", "num_layers", "embedding_size")
NAME_LENGTH = 200  # characters
_DIRECTIONS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"  # they turn whatever follows them in a list


def checked_name(name: str) -> str:
    """A model's name without spaces around it. Raises InvalidOptions for one that no list could show."""
    problem = None
    shown = name.strip() if isinstance(name, str) else ""
    if not shown:
        problem = "a model needs one"
    elif len(shown) > NAME_LENGTH:
        problem = f"must have at most {NAME_LENGTH} characters, not {len(shown):,}"
    elif odd := next((character for character in shown if _steers(character)), None):
        problem = f"holds U+{ord(odd):04X}, which cannot be shown"
    if problem:
        raise InvalidOptions(f"name: {problem}", {"name": problem})
    return shown


def _steers(character: str) -> bool:
    """Whether it is no character to see: a control, half of a pair, an end of line, an order to write backwards."""
    return unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or character in _DIRECTIONS


def parsed(options: Mapping[str, Any], *, files: bool = False) -> TrainingOptions:
    """Training options from their names and values. `files`: whether one may name a file. Raises InvalidOptions."""
    from charrnn.network.options import TrainingOptions

    return TrainingOptions.parse(options, files=files)


def merged(stored: Mapping[str, Any], given: Mapping[str, Any], *, files: bool = False) -> dict[str, Any]:
    """The stored training options and those given, under their own names and as they were given.

    None puts an option back to its default, and one budget replaces all budgets before. Raises InvalidOptions.
    """
    from charrnn.network.options import ALIASES

    new = parsed(given, files=files).model_dump(exclude_unset=True)
    replaced = {ALIASES.get(name, name) for name in given}
    if any(new.get(name) for name in BUDGETS):
        replaced.update(BUDGETS)
    kept = {name: value for name, value in stored.items() if name not in replaced}
    return parsed({**kept, **new}).model_dump(exclude_unset=True)


def merged_sampling(stored: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The same for sampling options."""
    from charrnn.network.sampling import SAMPLING_ALIASES, SamplingOptions

    new = {name: value for name, value in given.items() if value is not None}
    checked = SamplingOptions.from_dict(new)
    replaced = {SAMPLING_ALIASES.get(name, name) for name in given}
    kept = {name: value for name, value in stored.items() if name not in replaced}
    return kept | {name: getattr(checked, name) for name in (SAMPLING_ALIASES.get(name, name) for name in new)}


def without_budget(options: Mapping[str, Any]) -> dict[str, Any]:
    """All but how long it takes."""
    return {name: value for name, value in options.items() if name not in BUDGETS}


def other_characters(options: Mapping[str, Any], others: Mapping[str, Any]) -> bool:
    """Whether these options tell other characters apart than those."""
    return any(options.get(name) != others.get(name) for name in CHARACTERS)


def refuse_all_but_budget(before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Raises InvalidOptions when anything else changes, which a training that has begun cannot take in."""
    old, new = without_budget(before), without_budget(after)
    changed = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
    if changed:
        problem = "cannot change once training has begun"
        raise InvalidOptions(
            f"{', '.join(changed)} {problem}; start it over, or fork it", dict.fromkeys(changed, problem)
        )


def refuse_other_network(parent: Mapping[str, Any], options: Mapping[str, Any]) -> None:
    """Raises InvalidOptions when a fork is to have another network than the resolved options of its parent say."""
    fields = {
        name: f"is {parent[name]} in the parent, whose network a fork keeps"
        for name in NETWORK
        if options.get(name) not in (None, parent[name])
    }
    if fields:
        raise InvalidOptions("; ".join(f"{name} {problem}" for name, problem in fields.items()), fields)
