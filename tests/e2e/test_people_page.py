"""A class on one server: everybody has their own, and the teacher looks after all of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from charrnn import Workspace
from charrnn.jobs.status import Status
from tests.e2e.browser import PATIENCE, Visit, axe, new_context, open_dashboard, row, shoot, wait_for_control
from tests.jobs.trainings import wait_for
from tests.server.places import BY_HAND
from tests.server.running import Server, configure, running
from tests.workspace.played import TEXT, Attempt

expect.set_options(timeout=PATIENCE)
LEASE = 3600  # seconds: who is played does not say that he is alive
#: who somebody is says a cookie, in the place of a hub where people log in
HUB = """
from jupyter_server.auth import IdentityProvider, User
class Hub(IdentityProvider):
    def get_user(self, handler):
        name = handler.get_cookie("hub-user")
        return User(name) if name else None
c.ServerApp.identity_provider_class = Hub
"""


def page_of(name: str, browser: Browser, visit: Visit, server: Server) -> Page:
    """The dashboard, opened by somebody."""
    context = new_context(browser, visit)
    context.add_cookies([{"name": "hub-user", "value": name, "url": server.site}])
    page = context.new_page()
    open_dashboard(page, server)
    return page


def buttons(found: Locator) -> list[str]:
    """What can be done with a model, by the person who looks."""
    return [each for each in found.get_by_role("button").all_inner_texts() if each]


@pytest.mark.parametrize("privacy", ["everybody", "own"])
def test_people_change_their_own_and_the_teacher_stops_and_deletes_everything(
    browser: Browser, tmp_path: Path, privacy: str
) -> None:
    configure(tmp_path, HUB)
    settings = {"CHARRNN_ADMINS": "teacher", "CHARRNN_PRIVACY": privacy, "CHARRNN_LEASE_SECONDS": str(LEASE)}
    with running(tmp_path, BY_HAND, token=None, **settings) as server:
        workspace = Workspace(data_folder=tmp_path / "data", lease_seconds=LEASE)
        boats = workspace.as_user("ann").create("boats", TEXT, start=True).id
        Attempt(workspace).deliver(lines=[(1, "it begins")])
        workspace.as_user("ben").create("lamps", TEXT)
        visit = Visit(server)
        ann, teacher = (page_of(name, browser, visit, server) for name in ("ann", "teacher"))

        assert buttons(row(ann, "boats")) == ["Open", "Stop", "Rename"]
        if privacy == "everybody":
            expect(row(ann, "lamps")).to_contain_text("of ben")
            assert buttons(row(ann, "lamps")) == []
        else:
            expect(row(ann, "lamps")).to_have_count(0)

        expect(row(teacher, "boats")).to_contain_text("of ann")
        expect(row(teacher, "lamps")).to_contain_text("of ben")
        axe(teacher)
        shoot(teacher, f"models-of-a-class-{privacy}")
        row(teacher, "boats").get_by_role("button", name="Stop").click()
        wait_for(lambda: workspace.get(boats).stop_requested)
        expect(row(ann, "boats")).to_contain_text("stopping")
        row(teacher, "lamps").get_by_role("button", name="Delete").click()
        teacher.get_by_role("button", name="Delete for good").click()
        expect(row(teacher, "lamps")).to_have_count(0)
        expect(row(ann, "lamps")).to_have_count(0)
        assert [each.id for each in workspace.list().models] == [boats]
        assert workspace.get(boats).status == Status.RUNNING
        visit.check()
        for page in (ann, teacher):
            page.context.close()
        workspace.close()


def test_a_teacher_among_visitors_enters_the_servers_token(browser: Browser, tmp_path: Path) -> None:
    with running(tmp_path, "--public", BY_HAND, token=None, CHARRNN_ADMIN_TOKEN="the words of the teacher") as server:
        owner = server.post("/models", json={"name": "boats"}).json()["owner"]
        visit = Visit(server)
        context = new_context(browser, visit)
        page = context.new_page()
        page.goto(f"{server.site}/charrnn", wait_until="commit")
        page.get_by_role("link", name="For the teacher").click()
        axe(page)
        visit.expect("403")
        page.get_by_label("Token").fill("words of a pupil")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_contain_text("That is not the token")
        shoot(page, "admin")
        page.get_by_label("Token").fill("the words of the teacher")
        page.keyboard.press("Enter")
        wait_for_control(page)
        expect(row(page, "boats")).to_contain_text(f"of guest {owner[6:12]}")
        row(page, "boats").get_by_role("button", name="Delete").click()
        page.get_by_role("button", name="Delete for good").click()
        expect(row(page, "boats")).to_have_count(0)
        assert server.get("/models").json()["total"] == 0
        page.get_by_role("link", name="You are an admin").click()
        page.get_by_role("button", name="Be a visitor again").click()
        wait_for_control(page)
        expect(page.get_by_role("link", name="For the teacher")).to_be_visible()
        visit.check()
        context.close()
