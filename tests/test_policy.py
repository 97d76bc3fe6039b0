"""Who may do what, and how much of it."""

from __future__ import annotations

import pytest

from charrnn.errors import QuotaExceeded
from charrnn.jobs.records import NO_LIMIT, Limits
from charrnn.policy import Policy

SHARED = Policy(admins=frozenset({"root"}), max_queued=2, max_minutes=10)
SECRET = Policy(privacy="own", admins=frozenset({"root"}))


def test_everybody_sees_all_models_and_changes_their_own() -> None:
    assert SHARED.may_see("ada", "bob")
    assert not SHARED.may_change("ada", "bob")
    assert SHARED.may_change("bob", "bob")


def test_where_privacy_is_own_nobody_sees_what_belongs_to_another() -> None:
    assert not SECRET.may_see("ada", "bob")
    assert not SECRET.may_see("ada", "")
    assert SECRET.may_see("bob", "bob")


@pytest.mark.parametrize("user", [None, "root"])
def test_admins_and_whoever_sits_at_the_machine_see_and_change_everything(user: str | None) -> None:
    assert SECRET.may_see(user, "bob")
    assert SECRET.may_change(user, "bob")
    assert SHARED.of(user).max_queued is None
    assert SHARED.of(user).within_budget({"until_stopped": True}) == {"until_stopped": True}


def test_a_training_may_take_as_long_as_the_limit_and_no_longer() -> None:
    limits = SHARED.of("ada")
    assert limits.within_budget({"minutes": 10.0, "max_steps": 5}) == {"minutes": 10.0, "max_steps": 5}
    with pytest.raises(QuotaExceeded, match="minutes: 11 is too much; a training may take 10 minutes here"):
        limits.within_budget({"minutes": 11.0})


def test_minutes_of_earlier_training_do_not_count_against_the_limit() -> None:
    assert SHARED.of("ada").within_budget({"minutes": 25.0}, spent=15.0) == {"minutes": 25.0}
    with pytest.raises(QuotaExceeded, match=r"minutes: 10\.5 is too much"):
        SHARED.of("ada").within_budget({"minutes": 25.5}, spent=15.0)


@pytest.mark.parametrize("option", [{"max_steps": 5}, {"max_epochs": 1.0}, {"until_stopped": True}])
def test_a_budget_that_could_take_any_time_is_refused_with_the_limit(option: dict[str, float]) -> None:
    with pytest.raises(QuotaExceeded, match=f"{next(iter(option))} alone .* give minutes, at most 10"):
        SHARED.of("ada").within_budget(option)


def test_without_a_budget_a_training_takes_the_usual_minutes_or_the_limit_if_that_is_less() -> None:
    assert SHARED.of("ada").within_budget({}) == {}
    assert Policy(max_minutes=0.5).of("ada").within_budget({}) == {"minutes": 0.5}


def test_what_all_from_an_address_may_use_is_a_multiple_of_what_a_person_may() -> None:
    policy = Policy(max_models=3, visitors_per_address=4, visitors_together=50)
    assert policy.shared(policy.max_models) == Limits(3, 12, 150)
    assert policy.shared(None) == NO_LIMIT
    assert policy.of(None).shared(policy.of(None).max_models) == NO_LIMIT
    assert Policy(max_models=3).shared(3) == Limits(3)


def test_characters_are_limited_by_the_request() -> None:
    policy = Policy(max_characters=100, admins=frozenset({"root"}))
    policy.of("ada").check_characters(100)
    policy.of("root").check_characters(10**9)
    with pytest.raises(QuotaExceeded, match="101 characters are too many: 100 may be asked for at a time here"):
        policy.of("ada").check_characters(101)


def test_minutes_are_offered_as_far_as_they_are_allowed() -> None:
    assert Policy().offered_minutes() == [1, 3, 10, 30]
    assert Policy(max_minutes=10).of("ada").offered_minutes() == [1, 3, 10]
    assert Policy(max_minutes=5).of("ada").offered_minutes() == [1, 3, 5]
    assert Policy(max_minutes=0.5).of("ada").offered_minutes() == [0.5]
    assert Policy(max_minutes=60).of("ada").offered_minutes() == [1, 3, 10, 30]
    assert Policy(max_minutes=5).of(None).offered_minutes() == [1, 3, 10, 30]
