"""What every view does: answer its page, never trust it, show what is new, and say what is wrong."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from charrnn import Workspace
from charrnn.errors import CharRNNError, DatabaseUnavailable, InvalidOptions
from charrnn.widgets import view as module
from charrnn.widgets.models import ModelsView
from charrnn.widgets.navigation import Navigation
from charrnn.widgets.view import View, asked, described


class Example(Navigation):
    """A view without a front end of its own: it shows its parent's."""

    look_at: Callable[[], None] = staticmethod(lambda: None)

    def refresh(self) -> None:
        self.look_at()

    @asked
    def double(self, value: int, note: str = "") -> dict[str, Any]:
        return {"doubled": 2 * value, "note": note}

    @asked
    def refuse(self) -> None:
        raise InvalidOptions("rnn_size: 0 is too small", {"rnn_size": "too small"})

    @asked
    def break_down(self) -> None:
        raise ZeroDivisionError("nothing to divide by")

    @asked
    def count(self) -> Iterator[int]:
        try:
            number = 0
            while True:
                yield number
                number += 1
        finally:
            ENDED.set()

    def secret(self) -> str:
        return "not for the page"


ENDED = threading.Event()


class Page:
    """What a browser does: it sends questions, and hears answers."""

    def __init__(self, view: View, monkeypatch: pytest.MonkeyPatch) -> None:
        self.view = view
        self.heard: list[dict[str, Any]] = []
        self._news = threading.Condition()
        monkeypatch.setattr(view, "send", self._hear)

    def _hear(self, message: dict[str, Any], buffers: Any = None) -> None:
        with self._news:
            self.heard.append(message)
            self._news.notify_all()

    def tell(self, message: object) -> None:
        self.view._handle_custom_msg(message, [])

    def ask(self, what: object, **given: Any) -> dict[str, Any]:
        """The answer."""
        self.tell({"ask": "1", "what": what, "with": given})
        return self.wait(lambda message: "part" not in message)

    def wait(self, fits: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        with self._news:
            assert self._news.wait_for(lambda: any(fits(message) for message in self.heard), timeout=60)
            return next(message for message in self.heard if fits(message))


@pytest.fixture
def example(workspace: Workspace) -> Iterator[Example]:
    ENDED.clear()
    view = Example(workspace)
    yield view
    view.close()


@pytest.fixture
def page(example: Example, monkeypatch: pytest.MonkeyPatch) -> Page:
    return Page(example, monkeypatch)


def test_a_page_asks_a_method_by_name_and_hears_what_it_returns(page: Page) -> None:
    assert page.ask("double", value=21, note="x") == {"answer": "1", "value": {"doubled": 42, "note": "x"}}


@pytest.mark.parametrize(
    "what", ["secret", "refresh", "close", "send", "no_such", "__init__", "workspace", None, 5, ["double"]]
)
def test_a_page_can_ask_for_nothing_else(page: Page, what: object) -> None:
    assert "which this view does not do" in page.ask(what)["error"]["message"]


@pytest.mark.parametrize(
    "given", [{}, {"value": "21"}, {"value": 1, "note": 3}, {"value": 1, "more": 2}, {"value": None}]
)
def test_arguments_of_other_types_are_refused_with_their_name(page: Page, given: dict[str, Any]) -> None:
    error = page.ask("double", **given)["error"]
    assert error["reason"] == "InvalidOptions"
    assert set(error["fields"]) <= {"value", "note", "more"}
    assert error["fields"]


@pytest.mark.parametrize("message", [None, 3, "ask", [], {}, {"ask": 1}, {"cancel": "nothing"}, {"cancel": {}}])
def test_messages_that_are_no_questions_are_passed_over(page: Page, message: object) -> None:
    page.tell(message)
    assert page.ask("double", value=1)["value"]["doubled"] == 2
    assert len(page.heard) == 1


def test_errors_come_with_their_kind_and_fields(page: Page) -> None:
    error = page.ask("refuse")["error"]
    assert error == {
        "message": "rnn_size: 0 is too small", "reason": "InvalidOptions", "fields": {"rnn_size": "too small"},
    }  # fmt: skip


def test_what_should_never_happen_is_answered_too(page: Page) -> None:
    assert "ZeroDivisionError" in page.ask("break_down")["error"]["message"]
    assert page.ask("double", value=1)["answer"] == "1"


def test_parts_come_until_the_page_wants_no_more(page: Page) -> None:
    page.tell({"ask": "7", "what": "count", "with": {}})
    page.wait(lambda message: message.get("part") == 3)
    page.tell({"cancel": "7"})
    assert page.wait(lambda message: "value" in message) == {"answer": "7", "value": None}
    assert ENDED.wait(60)


def test_a_view_that_closes_ends_what_it_was_doing(example: Example, page: Page) -> None:
    page.tell({"ask": "7", "what": "count", "with": {}})
    page.wait(lambda message: message.get("part") == 3)
    example.close()
    assert ENDED.wait(60)


def test_what_a_browser_writes_into_the_state_is_not_kept(example: Example) -> None:
    example.show(name="faust")
    example.set_state({"state": {"name": "forged", "more": 1}})
    example.show(step=5)
    assert {**example.state, "problem": ""} == {"problem": "", "name": "faust", "step": 5}


def test_nothing_is_sent_where_nothing_is_new(example: Example) -> None:
    example.show(models=[1, 2])
    before = example.state
    example.show(models=[1, 2])
    assert example.state is before


def test_a_database_that_is_away_is_told_and_then_forgotten(example: Example) -> None:
    def away() -> None:
        raise DatabaseUnavailable("the database does not answer")

    example.look_at = away  # type: ignore[method-assign]
    example.look()
    assert example.state["problem"] == "the database does not answer"
    example.look_at = lambda: None  # type: ignore[method-assign]
    example.look()
    assert example.state["problem"] == ""


def test_a_view_is_refreshed_while_somebody_looks_and_only_then(
    example: Example, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = threading.Semaphore(0)
    example.attend(False)
    example.look_at = looks.release  # type: ignore[method-assign]
    other, seen = Example(example.workspace), threading.Semaphore(0)
    other.look_at = seen.release  # type: ignore[method-assign]
    for beat in range(4):
        assert seen.acquire(timeout=60)
        while beat == 1 and looks.acquire(blocking=False):
            pass  # what was under way when nobody looked any more
    other.close()
    assert not looks.acquire(blocking=False)
    example.attend(True)
    for _ in range(3):
        assert looks.acquire(timeout=60)


def test_every_view_brings_its_own_front_end_after_what_they_share() -> None:
    shared = (module.HERE / "view.js").read_text(encoding="utf-8")
    own = (module.HERE / "navigation.js").read_text(encoding="utf-8")
    assert Navigation._esm == f"{shared}\n{own}"
    dropping, own = ((module.HERE / name).read_text(encoding="utf-8") for name in ("drop.js", "models.js"))
    assert ModelsView._esm == f"{shared}\n{dropping}\n{own}"


def test_a_view_that_stands_alone_says_so_where_its_page_wants_to_go_elsewhere(workspace: Workspace) -> None:
    view = View(workspace)
    with pytest.raises(CharRNNError, match="stands alone"):
        view.go("models")
    view.lead("models")  # which its Python side does after something is done, to whoever follows
    view.close()


def test_an_answer_that_needs_more_memory_than_there_is_says_so() -> None:
    assert "more memory than there is" in described(MemoryError())["message"]
