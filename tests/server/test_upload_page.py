"""The upload page: a form that a browser without JavaScript, or a person who reads its source, can use."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urljoin

import pytest
import requests

from charrnn.choices import BUDGETS
from charrnn.network.options import TrainingOptions
from tests.server.running import Server, running
from tests.server.sending import nothing_left

POEM = b"The kettle hums a low brown tune,\nthe cat has claimed the chair,\n" * 40


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server under a base URL that trains nothing and takes 100,000 bytes."""
    with running(
        tmp_path_factory.mktemp("page"), "--CharRNNServer.supervise=False", base_url="/hub/x/",
        CHARRNN_UPLOAD_LIMIT="100000",
    ) as server:  # fmt: skip
        yield server


class Form(HTMLParser):
    """What a browser makes of the page: where its one form goes, and with which values."""

    def __init__(self, page: requests.Response) -> None:
        super().__init__()
        self.action = ""
        self.values: dict[str, str] = {}
        self.names: set[str] = set()
        self.tags: set[str] = set()
        self.budgets: list[str] = []
        self._select = ""
        self._is_chosen = False
        self.problem = ""
        self._in_problem = False
        self.page = page
        self.feed(page.text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attributes}
        self.tags.add(tag)
        if tag == "form":
            assert given["enctype"] == "multipart/form-data"
            assert given["method"] == "post"
            self.action = urljoin(self.page.url, given["action"])
        if "name" in given and tag in ("input", "select"):
            self.names.add(given["name"])
        if tag == "select":
            self._select = given["name"]
        self._is_chosen = tag == "option" and "selected" in given
        if tag == "input" and given["type" if "type" in given else "name"] not in ("file", "radio"):
            self.values[given["name"]] = given["value"]
        if given.get("type") == "radio":
            self.budgets.append(given["value"])
        if tag == "input" and given.get("type") == "radio" and "checked" in given:
            self.values[given["name"]] = given["value"]
        self._in_problem = given.get("role") == "alert"

    def handle_data(self, data: str) -> None:
        if self._is_chosen:
            self.values[self._select] = data
        if self._in_problem:
            self.problem += data

    def handle_endtag(self, tag: str) -> None:
        self._in_problem = self._is_chosen = False


@pytest.fixture
def browser(here: Server) -> Iterator[requests.Session]:
    """Somebody who has logged in, with cookies and without a token in their requests."""
    with requests.Session() as session:
        assert session.get(f"{here.site}/charrnn/upload?token={here.token}").status_code == 200
        session.headers["Referer"] = f"{here.site}/charrnn/upload"
        yield session


def shown(here: Server, browser: requests.Session) -> Form:
    page = browser.get(f"{here.site}/charrnn/upload")
    assert (page.status_code, page.headers["Content-Type"]) == (200, "text/html; charset=UTF-8")
    return Form(page)


def send(
    browser: requests.Session, form: Form, content: bytes = POEM, file_name: str = "poems.txt", **values: str
) -> requests.Response:
    return browser.post(
        form.action, files={"file": (file_name, content)}, data={**form.values, **values}, allow_redirects=False
    )


def newest(here: Server) -> dict[str, object]:
    model: dict[str, object] = here.get("/models", params={"limit": 1}).json()["models"][0]
    return model


def test_filled_in_it_makes_a_model_that_learns_and_shows_the_list(here: Server, browser: requests.Session) -> None:
    answer = send(browser, shown(here, browser), name="Kettle & <cat>", budget="10", rnn_size="16")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/hub/x/charrnn/models")
    model = newest(here)
    assert (model["name"], model["status"]) == ("Kettle & <cat>", "queued")
    assert model["options"] == {"minutes": 10, "rnn_size": 16}
    followed = browser.get(urljoin(here.site, answer.headers["Location"]))
    assert "Kettle &amp; &lt;cat&gt;" in followed.text


def test_left_as_it_is_it_trains_for_three_minutes_under_the_name_of_the_file(
    here: Server, browser: requests.Session
) -> None:
    assert send(browser, shown(here, browser)).status_code == 303
    assert (newest(here)["name"], newest(here)["options"]) == ("poems", {"minutes": 3})


def test_until_i_stop_it_is_one_of_the_choices(here: Server, browser: requests.Session) -> None:
    assert send(browser, shown(here, browser), budget="until_stopped").status_code == 303
    assert newest(here)["options"] == {"until_stopped": True}


def test_who_has_no_limits_is_offered_every_budget(here: Server, browser: requests.Session) -> None:
    assert shown(here, browser).budgets == ["1", "3", "10", "30", "until_stopped"]


@pytest.mark.parametrize(
    ("limit", "budgets", "usual"),
    [(None, ["1", "3", "10"], "3"), ("2.5", ["1", "2.5"], "2.5"), ("0.5", ["0.5"], "0.5")],
    ids=["usual limits", "two and a half minutes", "half a minute"],
)
def test_visitors_are_offered_what_they_may_have(
    tmp_path: Path, limit: str | None, budgets: list[str], usual: str
) -> None:
    limits = {} if limit is None else {"CHARRNN_MAX_MINUTES": limit}
    with (
        running(tmp_path, "--public", "--CharRNNServer.supervise=False", token=None, **limits) as server,
        requests.Session() as visitor,
    ):
        visitor.headers.update({"Referer": f"{server.site}/charrnn/upload", "Accept": "text/html"})
        form = shown(server, visitor)
        assert (form.budgets, form.values["budget"]) == (budgets, usual)
        answer = send(visitor, form, budget="30")
        assert answer.status_code == 429
        again = Form(answer)
        assert "is too much; a training may take" in again.problem
        assert (again.budgets, again.values["budget"]) == (budgets, usual)
        assert send(visitor, again).status_code == 303


def test_what_was_wrong_is_told_above_the_form_with_all_that_was_filled_in(
    here: Server, browser: requests.Session
) -> None:
    filled_in = {"name": '"><script>alert(1)</script>', "budget": "30", "rnn_size": "64", "cell": "gru"}
    with nothing_left(here):
        answer = send(browser, shown(here, browser), b"caf\xe9 in the morning\n" * 9, **filled_in)
    assert (answer.status_code, answer.headers["Content-Type"]) == (422, "text/html; charset=UTF-8")
    again = Form(answer)
    assert again.problem.startswith("poems.txt is not UTF-8 at byte 3 (line 1) and looks like Windows-1252")
    assert {name: again.values[name] for name in filled_in} == filled_in
    assert "script" not in again.tags
    assert send(browser, again, name="mended").status_code == 303
    assert newest(here)["options"] == {"minutes": 30, "rnn_size": 64, "cell": "gru"}


@pytest.mark.parametrize(
    ("content", "values", "status", "words"),
    [
        (POEM, {"rnn_size": "many"}, 422, "must be a whole number"),
        (POEM, {"name": "x" * 201}, 422, "must have at most 200 characters"),
        (POEM, {"budget": "soon"}, 422, "minutes: must be a number"),
        (b"a" * 100_001, {}, 413, "there is room for 100,000 bytes"),
        (b"a" * 20_000_000, {}, 413, "are too many"),
        (b"", {}, 422, "is empty"),
    ],
)
def test_every_problem_of_the_form_shows_the_form_again(
    here: Server, browser: requests.Session, content: bytes, values: dict[str, str], status: int, words: str
) -> None:
    with nothing_left(here):
        answer = send(browser, shown(here, browser), content, **values)
    assert answer.status_code == status
    assert words in Form(answer).problem
    assert Form(answer).action


def test_without_a_file_it_asks_for_one(here: Server, browser: requests.Session) -> None:
    with nothing_left(here):
        answer = send(browser, shown(here, browser), b"", file_name="")
    assert (answer.status_code, Form(answer).problem) == (400, "no file was chosen")


def test_a_form_of_another_site_is_refused_before_its_file_is_read(here: Server, browser: requests.Session) -> None:
    form = shown(here, browser)
    with nothing_left(here):
        form.action = form.action.partition("?")[0]
        assert send(browser, form).status_code == 403
        form.action += "?_xsrf=2|1|1|1"
        assert send(browser, form).status_code == 403


def test_whoever_is_not_logged_in_is_asked_to(here: Server) -> None:
    asked = requests.get(f"{here.site}/charrnn/upload", allow_redirects=False)
    assert asked.status_code == 302
    assert asked.headers["Location"] == "/hub/x/login?next=%2Fhub%2Fx%2Fcharrnn%2Fupload"
    assert requests.post(f"{here.site}/charrnn/upload", files={"file": POEM}).status_code == 403


def test_every_training_option_can_be_given(here: Server, browser: requests.Session) -> None:
    form = shown(here, browser)
    assert form.names - {"name", "file", "budget"} == TrainingOptions.model_fields.keys() - set(BUDGETS)


def test_the_page_needs_no_script_and_nothing_from_elsewhere(here: Server, browser: requests.Session) -> None:
    form = shown(here, browser)
    assert "script" not in form.tags
    assert not re.search(r'(src|href|action)="(https?:)?//', form.page.text)
    assert "default-src 'none'" in form.page.headers["Content-Security-Policy"]
