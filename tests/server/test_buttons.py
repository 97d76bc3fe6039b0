"""The buttons in the list of models, pressed as a browser without JavaScript does it."""

from __future__ import annotations

from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urljoin

import pytest
import requests

from charrnn.jobs.status import Status
from tests.server.places import BY_HAND, PREFIX, workspace_of
from tests.server.running import TOKEN, Server, configure, running
from tests.server.test_security import READ_ONLY
from tests.workspace.played import TEXT, Attempt, trained

HOSTILE = "<script>alert('x')</script> & \"quoted\" {{ 7 * 7 }}"


class Buttons(HTMLParser):
    """What can be pressed on a page: of each model the addresses by what stands on them."""

    def __init__(self, page: requests.Response) -> None:
        super().__init__()
        assert page.status_code == 200, page.text
        self.page, self.forms, self.links, self.tags = page, dict[str, str](), dict[str, str](), set[str]()
        self._action = ""
        self.feed(page.text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attributes}
        self.tags.add(tag)
        if tag == "form":
            self._action = urljoin(self.page.url, given["action"]) if given["method"] == "post" else ""
        if tag == "button" and self._action:
            self.forms[given.get("aria-label", "the button")] = self._action
        if tag == "a" and "aria-label" in given:
            self.links[given["aria-label"]] = urljoin(self.page.url, given["href"])


class Browser:
    """Somebody who looks at the list, with cookies and without a token in their requests."""

    def __init__(self, server: Server) -> None:
        self.server, self.session = server, requests.Session()
        self.session.headers.update({"Accept": "text/html", "Referer": f"{server.site}/charrnn/models"})
        login = "" if server.token is None else f"?token={TOKEN}"
        assert self.session.get(f"{server.site}/charrnn/models{login}", timeout=120).status_code == 200

    def see(self, address: str = "") -> Buttons:
        return Buttons(self.session.get(urljoin(f"{self.server.site}/charrnn/models", address), timeout=120))

    def press(self, address: str) -> requests.Response:
        return self.session.post(address, timeout=120, allow_redirects=False)


@pytest.fixture(scope="module", params=["/", PREFIX], ids=["at the root", "under a prefix"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("buttons"), BY_HAND, base_url=request.param) as server:
        yield server


@pytest.fixture
def browser(server: Server) -> Browser:
    return Browser(server)


def test_a_model_is_started_stopped_continued_and_deleted_without_a_script(
    server: Server, browser: Browser, model_file: Path
) -> None:
    with workspace_of(server) as workspace:
        id = workspace.create("verse", TEXT).id
        assert browser.press(browser.see().forms["Start: verse"]).status_code == 303
        assert workspace.get(id).status == "queued"
        attempt = Attempt(workspace)
        browser.press(browser.see().forms["Stop: verse"])
        assert workspace.get(id).stop_requested == 1
        browser.press(browser.see().forms["Stop at once: verse"])
        assert workspace.get(id).stop_requested == 2
        attempt.publish(model_file, step=10, seconds=60.0)
        attempt.end(Status.STOPPED)
        browser.press(browser.see().forms["Go on: verse"])
        attempt = Attempt(workspace)
        attempt.publish(model_file, step=100, seconds=120.0)
        attempt.end()
        browser.press(browser.see().forms["Learn more: verse"])
        assert (workspace.get(id).status, workspace.get(id).options) == ("queued", {"minutes": 5.0})
        browser.press(browser.see().forms["Stop: verse"])
        question = browser.see(browser.see().links["Delete verse"])
        assert "Delete verse?" in question.page.text
        assert workspace.get(id).name == "verse", "to be asked changes nothing"
        assert browser.press(question.forms["the button"]).status_code == 303
        assert "verse" not in browser.see().page.text


def test_a_button_leads_back_to_the_list_that_it_stands_in(server: Server, browser: Browser) -> None:
    with workspace_of(server) as workspace:
        workspace.create("back & forth", TEXT)
    there = f"{server.base_url}charrnn/models?status=ready&prefix=back+%26"
    seen = browser.see(there)
    assert browser.press(seen.forms["Start: back & forth"]).headers["Location"] == there
    seen = browser.see(f"{server.base_url}charrnn/models?prefix=back+%26")
    browser.press(seen.forms["Stop: back & forth"])
    seen = browser.see(there)
    question = browser.see(seen.links["Delete back & forth"])
    assert browser.press(question.forms["the button"]).headers["Location"] == there


def test_only_what_can_be_done_is_offered(server: Server, browser: Browser, model_file: Path) -> None:
    with workspace_of(server) as workspace:
        workspace.create("an empty one")
        workspace.import_model(model_file, "from elsewhere")
        trained(workspace, model_file, "complete one")
    seen = browser.see()
    for name in ("an empty one", "from elsewhere", "complete one"):
        assert f"Delete {name}" in seen.links
    assert {label for label in seen.forms if "one" in label or "elsewhere" in label} == {"Learn more: complete one"}


def test_what_can_no_longer_be_done_is_told_on_a_page(server: Server, browser: Browser) -> None:
    with workspace_of(server) as workspace:
        id = workspace.create("late", TEXT).id
        seen = browser.see()
        workspace.start(id)
        question = browser.see(seen.links["Delete late"])
        answer = browser.press(question.forms["the button"])
        assert answer.status_code == 409
        assert answer.headers["Content-Type"].startswith("text/html")
        assert "is queued" in answer.text
        workspace.stop(id)
        workspace.delete(id)
    assert browser.press(seen.forms["Start: late"]).status_code == 404
    assert browser.session.get(seen.links["Delete late"], timeout=120).status_code == 404


def test_names_are_text_in_buttons_and_in_the_question(server: Server, browser: Browser) -> None:
    with workspace_of(server) as workspace:
        workspace.create(HOSTILE, TEXT)
    seen = browser.see()
    assert f"Start: {HOSTILE}" in seen.forms
    question = browser.see(seen.links[f"Delete {HOSTILE}"])
    assert "&lt;script&gt;alert(" in question.page.text
    assert "{{ 7 * 7 }}" in question.page.text
    assert "script" not in seen.tags | question.tags


def test_a_button_of_another_site_does_nothing(server: Server, browser: Browser) -> None:
    with workspace_of(server) as workspace:
        id = workspace.create("guarded", TEXT).id
        address = browser.see().forms["Start: guarded"]
        for forged in (address.partition("?")[0], address.partition("?")[0] + "?_xsrf=2|1|1|1"):
            assert browser.press(forged).status_code == 403
        delete = f"{server.site}/charrnn/models/{id}/delete"
        assert browser.press(delete).status_code == 403
        assert workspace.get(id).status == "ready"


def test_visitors_have_buttons_for_their_own_models_and_no_longer_than_they_may(
    tmp_path: Path, model_file: Path
) -> None:
    with running(tmp_path, "--public", BY_HAND, token=None, CHARRNN_MAX_MINUTES="2") as server:
        ada, bob = Browser(server), Browser(server)
        headers = {"X-XSRFToken": ada.session.cookies["_xsrf"], "Content-Type": "text/plain"}
        made = ada.session.post(f"{server.api}/uploads?name=hers", data=TEXT, headers=headers, timeout=120)
        assert made.status_code == 201, made.text
        seen = ada.see()
        assert "Stop: hers" in seen.forms
        assert "hers" not in bob.see().page.text
        stop = seen.forms["Stop: hers"].partition("?")[0]
        assert bob.press(f"{stop}?_xsrf={bob.session.cookies['_xsrf']}").status_code == 404
        with workspace_of(server) as workspace:
            attempt = Attempt(workspace)
            attempt.publish(model_file, step=10, seconds=120.0)
            attempt.end()
            assert ada.press(ada.see().forms["Learn more: hers"]).status_code == 303
            assert workspace.get(made.json()["id"]).options == {"minutes": 4.0}


def test_who_may_only_read_sees_no_buttons(tmp_path: Path) -> None:
    configure(tmp_path, READ_ONLY)
    with running(tmp_path, BY_HAND) as server:
        with workspace_of(server) as workspace:
            workspace.create("kept", TEXT)
        seen = Browser(server).see()
    assert "kept" in seen.page.text
    assert seen.forms == {}
    assert not any(label.startswith("Delete") for label in seen.links)
