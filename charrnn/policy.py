"""Who may do what in a workspace that people share, and how much of it.

It knows names of people, limits and budgets. It does not know databases: who owns a model and how much is used up
already is told to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from charrnn.choices import BUDGETS
from charrnn.errors import QuotaExceeded
from charrnn.jobs.records import Limits

if TYPE_CHECKING:
    from charrnn.config import Settings

DEFAULT_MINUTES = 3.0  # what a training takes that has no budget
OFFERED_MINUTES = (1.0, 3.0, 10.0, 30.0)  # for people to choose from


@dataclass(frozen=True)
class Policy:
    """What a person may see and use. A limit of None is no limit.

    `privacy`: whether everybody sees all models, or only their own. `admins` see and change all models and have no
    limits. Nobody else changes what belongs to another.
    """

    privacy: Literal["everybody", "own"] = "everybody"
    admins: frozenset[str] = frozenset()
    max_text_bytes: int | None = None  # of all texts of a person
    max_queued: int | None = None  # trainings of a person that wait or run
    max_minutes: float | None = None  # of a training, or of one continuation of it
    max_generations_per_minute: int | None = None  # of a person
    upload_limit: int | None = None  # bytes of one text or model file
    max_models: int | None = None  # of a person
    max_characters: int | None = None  # that a person may have written, or read and scored, with one request
    visitors_per_address: int | None = None  # as much as so many people is for all from one address; None: any
    visitors_together: int | None = None  # and as much as so many for all visitors

    @classmethod
    def from_settings(cls, settings: Settings) -> Policy:
        """The policy that is configured."""
        return cls(
            settings.privacy, frozenset(settings.admins), settings.max_text_bytes, settings.max_queued,
            settings.max_minutes, settings.max_generations_per_minute, settings.upload_limit, settings.max_models,
            settings.max_characters, settings.visitors_per_address, settings.visitors_together,
        )  # fmt: skip

    def shared(self, limit: int | None) -> Limits:
        """The limit of a person, with those of all who come from the same address and of all visitors together."""

        def times(people: int | None) -> int | None:
            return None if limit is None or people is None else limit * people

        return Limits(limit, times(self.visitors_per_address), times(self.visitors_together))

    def of(self, user: str | None) -> Policy:
        """The policy as it is for one person: whoever sits at this machine (None) and admins have no limits."""
        if not self.trusts(user):
            return self
        return replace(
            self, max_text_bytes=None, max_queued=None, max_minutes=None, max_generations_per_minute=None,
            upload_limit=None, max_models=None, max_characters=None,
        )  # fmt: skip

    def trusts(self, user: str | None) -> bool:
        """Whether the person sees, changes and uses everything."""
        return user is None or user in self.admins

    def offered_minutes(self) -> list[float]:
        """How long a training may take, to choose from: the longest that is allowed is among them, if it is short."""
        limit = self.max_minutes
        if limit is None:
            return [*OFFERED_MINUTES]
        shorter = [minutes for minutes in OFFERED_MINUTES if minutes < limit]
        return [*shorter, limit] if limit <= OFFERED_MINUTES[-1] else shorter

    def may_see(self, user: str | None, owner: str) -> bool:
        """Whether the person may look at a model of `owner`, write with it, and take copies of it."""
        return self.privacy == "everybody" or self.may_change(user, owner)

    def may_change(self, user: str | None, owner: str) -> bool:
        """Whether the person may train, rename and delete a model of `owner`."""
        return self.trusts(user) or user == owner

    def check_characters(self, characters: int) -> None:
        """Raises QuotaExceeded, with the numbers, for more than may be asked for at a time."""
        limit = self.max_characters
        if limit is not None and characters > limit:
            raise QuotaExceeded(f"{characters:,} characters are too many: {limit:,} may be asked for at a time here")

    def within_budget(self, options: Mapping[str, Any], spent: float = 0.0) -> dict[str, Any]:
        """The training options, with a budget in minutes where one is needed.

        `spent`: minutes of training before, which count in the options and not against the limit. Raises
        QuotaExceeded, with the numbers, for a training that could take longer than `max_minutes`.
        """
        limit = self.max_minutes
        if limit is None:
            return dict(options)
        right = f"a training may take {limit:g} minutes here"
        minutes = options.get("minutes")
        if minutes is not None:
            if minutes - spent > limit + 1e-3:
                raise QuotaExceeded(f"minutes: {minutes - spent:g} is too much; {right}")
            return dict(options)
        endless = [name for name in BUDGETS if options.get(name)]
        if endless:
            raise QuotaExceeded(f"{endless[0]} alone could take any time; {right}: give minutes, at most {limit:g}")
        return {**options, "minutes": spent + limit} if limit < DEFAULT_MINUTES else dict(options)
