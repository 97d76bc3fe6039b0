"""The pages, as a browser without JavaScript gets them."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
import requests

from charrnn.jobs.records import Delivery
from charrnn.jobs.status import Status
from tests.server.places import BY_HAND, PREFIX, new_model, workspace_of
from tests.server.running import Server, running
from tests.workspace.played import TEXT, Attempt, trained

HOSTILE = "<script>alert('x')</script><img src=x onerror=alert(1)> & \"quoted\" {{ 7 * 7 }}"


@pytest.fixture(scope="module", params=["/", PREFIX], ids=["at the root", "under a prefix"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("pages"), BY_HAND, base_url=request.param) as server:
        yield server


class Seen(HTMLParser):
    """What a browser would see: tags with their attributes, and the text between them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attributes}))

    def handle_data(self, data: str) -> None:
        self.text += data

    def links(self) -> dict[str, str]:
        """Addresses by what a screen reader would call them, where that is not their text."""
        return {each["aria-label"]: each["href"] for tag, each in self.tags if tag == "a" and "aria-label" in each}

    def addresses(self) -> list[str]:
        return [each[name] for _, each in self.tags for name in ("href", "src", "action") if name in each]


def page(server: Server, path: str, status: int = 200) -> Seen:
    answer = open_page(server, path)
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "text/html; charset=UTF-8"
    return Seen(answer.text)


def open_page(server: Server, path: str) -> requests.Response:
    headers = {"Authorization": f"token {server.token}"}
    return requests.get(server.site + path, headers=headers, timeout=120, allow_redirects=False)


def test_where_there_is_nothing_yet_one_is_invited_to_begin(tmp_path: Path) -> None:
    with running(tmp_path, BY_HAND) as server:
        seen = page(server, "/charrnn/models")
        assert "No models yet" in seen.text
        assert "/charrnn/upload" in seen.addresses()
        assert "Nothing found" in page(server, "/charrnn/models?prefix=x").text


def test_the_list_shows_how_models_are_and_leads_to_what_they_have(server: Server, model_file: Path) -> None:
    with workspace_of(server) as workspace:
        id = trained(workspace, model_file, "sonnets").id
        young = new_model(server, "young")["id"]
        workspace.start(workspace.create("unlucky", TEXT).id)
        attempt = Attempt(workspace)
        workspace._store.finish(attempt.claim, Status.FAILED, Delivery(), error="the disk is full")
    seen = page(server, "/charrnn/models")
    for shown in (
        "sonnets",
        "complete",
        "100 %",
        "young",
        "draft",
        "unlucky",
        "failed",
        "the disk is full",
        "just now",
    ):
        assert shown in seen.text
    links = seen.links()
    assert links["Log of sonnets"] == f"{server.base_url}charrnn/api/v1/models/{id}/log?format=text"
    assert links["What sonnets writes"].startswith(f"{server.base_url}charrnn/api/v1/models/{id}/sample?")
    assert links["Download sonnets"] == f"{server.base_url}charrnn/api/v1/models/{id}/file"
    assert open_page(server, links["Log of sonnets"].removeprefix(server.base_url.rstrip("/"))).text == "trained\n"
    assert not any(f"/{young}" in address for _, address in seen.links().items() if "/api/" in address), (
        "there is nothing of it to look at"
    )


def test_the_list_is_searched_and_turned_like_a_form_and_links_do(server: Server) -> None:
    for number in range(60):
        new_model(server, f"page {number}")
    names = re.compile(r"page \d+")
    first = page(server, "/charrnn/models?prefix=PAGE&status=draft")
    assert names.findall(first.text) == [f"page {number}" for number in range(59, 9, -1)]
    (older,) = (each["href"] for tag, each in first.tags if each.get("rel") == "next")
    second = page(server, older.removeprefix(server.base_url.rstrip("/")))
    assert names.findall(second.text) == [f"page {number}" for number in range(9, -1, -1)]
    assert ("input", "PAGE") in [(tag, each.get("value")) for tag, each in second.tags if each.get("name") == "prefix"]
    unfiltered = page(server, "/charrnn/models?prefix=&status=")
    assert "page 59" in unfiltered.text


def test_names_and_failures_are_shown_as_they_are_written_and_never_run(server: Server) -> None:
    with workspace_of(server) as workspace:
        workspace.start(workspace.create(HOSTILE, TEXT).id)
        attempt = Attempt(workspace)
        workspace._store.finish(attempt.claim, Status.FAILED, Delivery(), error=f"because of {HOSTILE}")
    for path in ("/charrnn/models", f"/charrnn/models?prefix={requests.utils.quote(HOSTILE[:40])}"):
        seen = page(server, path)
        assert HOSTILE in seen.text
        assert f"because of {HOSTILE}" in seen.text
        assert {tag for tag, _ in seen.tags} & {"script", "img"} == set()
        assert not any(name.startswith("on") for _, each in seen.tags for name in each)
    wrong = page(server, f"/charrnn/models?status={requests.utils.quote(HOSTILE)}", 422)
    assert "<script>alert(" in wrong.text
    assert {tag for tag, _ in wrong.tags} & {"script", "img"} == set()


@pytest.mark.parametrize("path", ["/charrnn/models", "/charrnn/api/docs", "/charrnn/models?status=x"])
def test_a_page_loads_nothing_from_anywhere(server: Server, path: str) -> None:
    answer = open_page(server, path)
    policy = dict(rule.split(" ", 1) for rule in answer.headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert set(policy) == {"default-src", "style-src", "img-src", "form-action", "base-uri", "frame-ancestors"}
    (style,) = re.findall(r"<style>(.*?)</style>", answer.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy["style-src"] == f"'sha256-{digest}'", "otherwise a browser would not use it"
    assert "url(" not in style
    assert "@import" not in style
    seen = Seen(answer.text)
    assert {tag for tag, _ in seen.tags} & {"script", "img", "iframe", "object"} == set()
    assert not any("style" in each for _, each in seen.tags), "the policy forbids it"
    for address in seen.addresses():
        ours = address == f"{server.base_url}charrnn" or address.startswith(f"{server.base_url}charrnn/")
        assert ours or address.startswith(("#", "data:image/svg+xml,")), address


@pytest.mark.parametrize("path", ["/charrnn", "/charrnn/", "/charrnn/models", "/charrnn/api/docs"])
def test_whoever_is_not_logged_in_is_sent_to_log_in_and_back(server: Server, path: str) -> None:
    answer = requests.get(server.site + path, timeout=120, allow_redirects=False)
    assert answer.status_code == 302
    there = requests.utils.quote(server.base_url.rstrip("/") + path, safe="")
    assert answer.headers["Location"] == f"{server.base_url}login?next={there}"
    assert requests.get(server.site + path, timeout=120).status_code == 200, "the page to log in"
    assert requests.post(server.site + path, timeout=120).status_code == 403


def test_the_contract_reads_as_a_page(server: Server) -> None:
    seen = page(server, "/charrnn/api/docs")
    document = server.get("/openapi.json").json()
    for path, item in document["paths"].items():
        assert path in seen.text
        for operation in (item[method] for method in item.keys() & {"get", "post", "patch", "delete"}):
            assert operation["summary"] in seen.text
    anchors = {each["id"] for _, each in seen.tags if "id" in each}
    assert {address[1:] for address in seen.addresses() if address.startswith("#")} <= anchors
    assert "rnn_size" in seen.text
    site = "" if server.base_url == "/" else server.base_url.rstrip("/")
    assert f"export SERVER=http://localhost:8888{site} TOKEN=" in seen.text
