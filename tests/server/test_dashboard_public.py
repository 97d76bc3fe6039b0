"""The dashboards of visitors: each has their own, with the same limits as over HTTP, and nobody gets at another's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests

from charrnn_server.public import DASHBOARDS_OF_VISITOR, LIMITS
from tests.server.dashboards import FACTS, Guest, kernels, notebook
from tests.server.running import Server, running


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("public")
    with running(
        folder, "--public", "--CharRNNServer.unopened=600", notebook(folder, FACTS), token=None,
        CHARRNN_MAX_MINUTES="7", CHARRNN_MAX_DASHBOARDS="7",
    ) as server:  # fmt: skip
        yield server


def owner(guest: Guest) -> str:
    """Who a visitor is, as the API calls them."""
    headers = {"X-XSRFToken": guest.session.cookies["_xsrf"], "Origin": guest.server.site}
    answer = guest.session.post(f"{guest.server.api}/models", json={"name": "x"}, headers=headers, timeout=60)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["owner"])


def test_visitors_have_dashboards_of_their_own_with_their_own_limits(public: Server) -> None:
    ada, bob = Guest(public), Guest(public)
    facts = ada.facts()
    assert facts["user"] == owner(ada)
    assert facts["origin"].startswith("address-")
    assert {name: facts["policy"][name] for name in LIMITS} == {**LIMITS, "max_minutes": 7.0}
    bob.look()
    id = facts["id"]
    for name, status in {
        "kernel": bob.kernel(id), "leave": bob.leave(id), "channels": bob.refused(id),
        "without a cookie": Guest(public).refused(id),
    }.items():  # fmt: skip
        assert status == 404, name
    assert requests.get(f"{bob.base}/api/kernels/{id}", timeout=60).status_code == 404
    assert (ada.kernel(id), ada.refused(id)) == (200, 101)
    assert kernels(public) == {facts["pid"]}
    theirs = bob.facts()
    assert theirs["user"] == owner(bob) != facts["user"]
    assert (ada.kernel(theirs["id"]), ada.leave(theirs["id"])) == (404, 404)
    assert bob.leave(theirs["id"]) == 204


def test_one_visitor_leaves_room_for_the_others(public: Server) -> None:
    greedy = Guest(public)
    opened = [greedy.open()["id"] for _ in range(DASHBOARDS_OF_VISITOR)]
    answer = greedy.post("/kernels")
    assert (answer.status_code, answer.json()["reason"]) == (503, "Busy")
    assert "close one" in answer.json()["message"]
    other = Guest(public)
    other.leave(other.open()["id"])
    for id in opened:
        assert greedy.leave(id) == 204


def test_who_visits_sees_their_own_models_on_the_page_and_starts_nothing_by_looking(public: Server) -> None:
    before = kernels(public)
    ada, bob = Guest(public), Guest(public)
    for guest in (ada, bob):
        assert guest.look().status_code == 200
    headers = {"X-XSRFToken": ada.session.cookies["_xsrf"], "Origin": public.site}
    ada.session.post(f"{public.api}/models", json={"name": "secret plans"}, headers=headers, timeout=60)
    ada.look()
    bob.look()
    assert "secret plans" in ada.page
    assert "secret plans" not in bob.page
    assert kernels(public) <= before


def test_the_kernels_api_of_jupyter_is_not_there(public: Server) -> None:
    guest = Guest(public)
    id = guest.open()["id"]
    for path in (f"/api/kernels/{id}", f"/api/kernels/{id}/channels", "/api/kernels", "/voila", "/api/sessions"):
        assert guest.session.get(public.site + path, timeout=60).status_code == 404
    assert guest.kernel(id) == 200
    assert guest.leave(id) == 204
