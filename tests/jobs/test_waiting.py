"""When what waits should start."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from charrnn import Workspace
from charrnn.jobs.records import Turn
from charrnn.jobs.status import Status
from charrnn.jobs.waiting import Waiting, waiting

MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


def queued(turn: int, seconds: float = 0.0, **options: Any) -> Turn:
    return Turn(f"q{turn}", Status.QUEUED, MOMENT + timedelta(seconds=turn), options, seconds, None)


def running(left: float | None, **options: Any) -> Turn:
    return Turn("r", Status.RUNNING, MOMENT, options, 0.0, left)


def test_one_after_another_they_start_when_those_before_should_be_done() -> None:
    active = [running(40.0), queued(2), queued(1, minutes=10), queued(3, minutes=1)]
    assert waiting(active, 1) == {
        "q1": Waiting(1, 40.0), "q2": Waiting(2, 640.0), "q3": Waiting(3, 820.0),  # 3 minutes, where none are given
    }  # fmt: skip


def test_what_is_free_is_taken_at_once_and_the_next_waits_for_whatever_ends_first() -> None:
    active = [running(200.0), *(queued(turn, minutes=1) for turn in (1, 2, 3))]
    assert [each.seconds for each in waiting(active, 2).values()] == [0.0, 60.0, 120.0]


def test_what_was_trained_before_does_not_count_again() -> None:
    active = [queued(1, seconds=150.0, minutes=3), queued(2)]
    assert waiting(active, 1)["q2"] == Waiting(2, 30.0)


@pytest.mark.parametrize("options", [{"until_stopped": True}, {"max_steps": 100}, {"max_epochs": 2}])
def test_nothing_is_promised_behind_a_training_whose_end_nobody_knows(options: Any) -> None:
    assert waiting([queued(1, **options), queued(2)], 1) == {
        "q1": Waiting(1, 0.0),
        "q2": Waiting(2, None),
    }
    assert waiting([running(None, **options), queued(1)], 1) == {"q1": Waiting(1, None)}


def test_more_may_run_than_places_are_known_of() -> None:
    active = [running(50.0), replace(running(20.0), id="s"), queued(1)]
    assert waiting(active, 1) == {"q1": Waiting(1, 20.0)}


def test_a_workspace_says_it_of_all_that_wait_whoever_owns_it(tmp_path: Path) -> None:
    here = Workspace(data_folder=tmp_path, max_running=1, privacy="own")
    anna, ben = here.as_user("anna"), here.as_user("ben")
    first = anna.create("first", b"the quick brown fox " * 100, start=True, minutes=2)
    second = ben.create("second", b"the quick brown fox " * 100, start=True)
    assert ben.waiting() == {first.id: Waiting(1, 0.0), second.id: Waiting(2, 120.0)}
    here._store.supervisor_alive("one", "here", 1, 2)
    assert ben.waiting()[second.id] == Waiting(2, 0.0)
    ben.stop(second.id)
    assert list(anna.waiting()) == [first.id]
    here.close()
