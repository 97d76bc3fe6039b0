"""The public launch: visitors need no token and get no more than charrnn, each only their own, and not without end."""

from __future__ import annotations

import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import requests
from tornado.web import create_signed_value

from charrnn_server.public import ADMIN, ADMIN_COOKIE, COOKIE
from tests.command_line import variables
from tests.jobs.trainings import wait_for
from tests.server import raw
from tests.server.routes import Route, routes
from tests.server.running import PACKAGES, Server, configure, running
from tests.server.sending import files

PAGE = {"Accept": "text/html,application/xhtml+xml"}  # what browsers want of a page
#: what a Jupyter server has, each with a file, a kernel or a name that is there
JUPYTERS = [
    ("GET", "/api"), ("GET", "/api/spec.yaml"), ("GET", "/api/status"), ("GET", "/api/me"), ("PATCH", "/api/me"),
    ("GET", "/api/contents"), ("GET", "/api/contents/diary.txt"), ("PUT", "/api/contents/new.txt"),
    ("POST", "/api/contents"), ("DELETE", "/api/contents/diary.txt"), ("PATCH", "/api/contents/diary.txt"),
    ("POST", "/api/contents/diary.txt/checkpoints"), ("GET", "/api/contents/diary.txt/checkpoints"),
    ("GET", "/files/diary.txt"), ("GET", "/files/notebook.ipynb?download=1"), ("GET", "/view/diary.txt"),
    ("GET", "/files/../diary.txt"), ("GET", "/files/%2e%2e/diary.txt"), ("GET", "/files//etc/passwd"),
    ("GET", "/tree"), ("GET", "/lab"), ("GET", "/notebooks/notebook.ipynb"), ("GET", "/edit/diary.txt"),
    ("GET", "/api/kernels"), ("POST", "/api/kernels"), ("GET", "/api/kernels/{kernel}"),
    ("DELETE", "/api/kernels/{kernel}"), ("POST", "/api/kernels/{kernel}/interrupt"),
    ("POST", "/api/kernels/{kernel}/restart"), ("GET", "/api/kernels/{kernel}/channels"),
    ("GET", "/api/kernelspecs"), ("GET", "/kernelspecs/python3/logo-64x64.png"), ("GET", "/api/sessions"),
    ("POST", "/api/sessions"), ("GET", "/api/terminals"), ("POST", "/api/terminals"), ("GET", "/terminals/websocket/1"),
    ("GET", "/nbconvert/html/notebook.ipynb"), ("POST", "/nbconvert/html"), ("GET", "/api/nbconvert"),
    ("GET", "/metrics"), ("GET", "/metrics/"), ("GET", "/api/config/notebook"), ("PUT", "/api/config/notebook"),
    ("GET", "/api/events/subscribe"), ("POST", "/api/events"), ("POST", "/api/shutdown"), ("GET", "/login"),
    ("POST", "/login"), ("GET", "/logout"), ("POST", "/api/security/csp-report"), ("GET", "/static/style/index.css"),
    ("GET", "/static/../jupyter_server/serverapp.py"), ("GET", "/custom/custom.js"), ("GET", "/favicon.ico"),
    ("GET", "/voila"), ("GET", "/voila/render/notebook.ipynb"), ("GET", "/voila/files/diary.txt"),
    ("GET", "/lab/api/settings"), ("GET", "/lsp/status"), ("GET", "/proxy/80"),
]  # fmt: skip


class Browser:
    """Somebody with a browser: keeps cookies, says where requests come from, and sends `_xsrf` where it has it."""

    def __init__(self, server: Server, **headers: str) -> None:
        self.server = server
        self.session = requests.Session()
        self.session.headers.update(headers)

    def open(self, path: str = "/charrnn/models") -> requests.Response:
        return self.session.get(self.server.site + path, headers=PAGE, timeout=120, allow_redirects=False)

    def ask(self, method: str, path: str, xsrf: bool = True, **options: Any) -> requests.Response:
        headers = {"Referer": f"{self.server.site}/charrnn/models", "Origin": f"http://127.0.0.1:{self.server.port}"}
        if xsrf:
            headers["X-XSRFToken"] = self.session.cookies.get("_xsrf", "")
        headers |= options.pop("headers", {})
        url = path if path.startswith("http") else self.server.api + path
        return self.session.request(method, url, headers=headers, timeout=120, allow_redirects=False, **options)

    def create(self, name: str = "poems") -> requests.Response:
        return self.ask("POST", "/models", json={"name": name})

    def names(self) -> list[str]:
        return [model["name"] for model in self.ask("GET", "/models").json()["models"]]


def visited(server: Server, **headers: str) -> Browser:
    browser = Browser(server, **headers)
    browser.open()
    return browser


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("public")
    (folder / "root").mkdir()
    (folder / "root" / "diary.txt").write_text("dear diary")
    (folder / "root" / "notebook.ipynb").write_text('{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}')
    with running(folder, "--public", token=None, CHARRNN_MAX_MODELS="1000") as server:
        yield server


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> list[Route]:
    return routes("public", tmp_path_factory.mktemp("listed"))


# -- what there is ---------------------------------------------------------------------------------------------------


def test_nothing_of_jupyters_comes_before_the_route_that_finds_nothing(listed: list[Route]) -> None:
    last = next(number for number, route in enumerate(listed) if route.pattern.rstrip("$") == "/(.*)"[1:])
    foreign = [route.handler for route in listed[:last] if not route.ours]
    assert foreign == ["jupyter_server.base.handlers.RedirectWithParams"], "that of the site's own address"
    assert listed[last].handler == "charrnn_server.handlers.unknown.UnknownHandler"


def test_services_of_jupyter_are_not_even_loaded(listed: list[Route]) -> None:
    services = ("contents", "files", "kernel", "session", "terminal", "nbconvert", "shutdown", "events", "voila")
    others = [route.handler for route in listed if not route.ours]
    assert [handler for handler in others if any(name in handler.lower() for name in services)] == []


@pytest.mark.parametrize("somebody", ["browser", "script", "token", "nobody"])
def test_whatever_else_a_jupyter_server_has_is_not_there_for_visitors(public: Server, somebody: str) -> None:
    browser = visited(public)
    token = public.post("/visitors").json()["token"]
    found = {}
    for method, path in JUPYTERS:
        path = path.format(kernel="5b5a62c5-4c0c-4a9c-8d3c-2f6b1c1c3f11")
        if somebody == "browser":
            answer = browser.ask(method, public.site + path, json={}, headers={"X-Forwarded-For": "127.0.0.1"})
        else:
            headers = {"token": {"Authorization": f"token {token}"}, "nobody": {"Authorization": "token x"}}
            options = {"headers": headers.get(somebody, {}), "timeout": 60, "allow_redirects": False}
            answer = requests.request(method, public.site + path, **options)  # type: ignore[arg-type]
        if answer.status_code not in (403, 404) or "dear diary" in answer.text:
            found[f"{method} {path}"] = answer.status_code
    assert found == {}


@pytest.mark.parametrize("message", ["execute_request", "debug_request"])
def test_no_websocket_is_opened(public: Server, message: str) -> None:
    browser = visited(public)
    cookies = "; ".join(f"{name}={value}" for name, value in browser.session.cookies.items())
    upgrade = raw.head(
        public, "GET", "/api/kernels/5b5a62c5-4c0c-4a9c-8d3c-2f6b1c1c3f11/channels", Cookie=cookies,
        Connection="Upgrade", Upgrade="websocket", Sec_WebSocket_Version=13,
        Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZQ==", Origin=public.site, Referer=f"{public.site}/charrnn/models",
    )  # fmt: skip
    frame = b"\x81" + bytes([0x80 | len(message)]) + b"\0\0\0\0" + message.encode()
    answer = raw.exchange(public, upgrade, frame)
    assert raw.status(answer) in (400, 403, 404)


def test_the_address_of_the_site_leads_to_its_page(public: Server) -> None:
    answer = requests.get(f"{public.site}/", timeout=120, allow_redirects=False)
    assert answer.status_code == 302
    assert answer.headers["Location"].rstrip("?") == "/charrnn"


def test_configuration_files_bring_nothing_back(tmp_path: Path) -> None:
    configure(
        tmp_path,
        "c.ServerApp.jpserver_extensions = {'voila.server_extension': True, 'jupyter_server_terminals': True}\n"
        "c.ServerApp.extra_services = ['jupyter_server.services.contents.handlers']\n"
        "c.ServerApp.trust_xheaders = True\n"
        "c.ServerApp.allow_unauthenticated_access = True\n"
        "c.IdentityProvider.token = 'open sesame'\n"
        "c.ContentsManager.files_handler_class = 'jupyter_server.files.handlers.FilesHandler'\n",
    )
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "diary.txt").write_text("dear diary")
    with running(tmp_path, "--public", token=None) as server:
        browser = visited(server)
        for path in ("/api/contents/diary.txt", "/files/diary.txt", "/voila", "/api/terminals", "/metrics"):
            assert browser.ask("GET", server.site + path).status_code == 404
        assert requests.get(f"{server.api}/models?token=open+sesame", timeout=120).json()["models"] == []
        assert server.get("/models", headers={"Authorization": "token open sesame"}).status_code == 403
        assert "CHARRNN_TRUSTED_PROXIES" in server.messages


# -- who somebody is -------------------------------------------------------------------------------------------------


def test_a_browser_gets_a_cookie_and_is_the_same_visitor_from_then_on(public: Server) -> None:
    browser = Browser(public)
    answer = browser.ask("GET", "/models", headers=PAGE)
    set_cookie = next(text for text in answer.raw.headers.getlist("Set-Cookie") if text.startswith(COOKIE))
    given = [part.strip().lower() for part in set_cookie.split(";")]
    assert {"httponly", "samesite=lax", "path=/"} <= set(given)
    assert "secure" not in given
    assert browser.create("mine").status_code == 201
    assert browser.names() == ["mine"]
    assert COOKIE not in browser.ask("GET", "/models").headers.get("Set-Cookie", "")


def test_visitors_see_only_what_is_their_own(public: Server, listed: list[Route]) -> None:
    ada, bob = visited(public), visited(public)
    model = ada.create("secret plans").json()
    assert model["owner"].startswith("visitor-")
    assert bob.names() == []
    ours = [route for route in listed if route.ours]
    of_models = [route for route in ours if f"/models/{model['id']}" in route.path(model["id"])]
    assert len(of_models) > 12
    for route in of_models:
        for method in set(route.methods) - {"OPTIONS"}:
            url = public.site + route.path(model["id"])
            body = {} if method == "GET" else {"json": {"text": "x"} if url.endswith("score") else {}}
            for answer in (bob.ask(method, url, **body), requests.request(method, url, timeout=120, **body)):
                assert "secret plans" not in answer.text
                assert answer.status_code == 404 or (method != "GET" and answer.status_code in (400, 415, 422)), url
    assert ada.names() == ["secret plans"]
    assert ada.ask("GET", f"/models/{model['id']}").json() == model


def test_a_browser_has_to_send_what_only_our_pages_know(public: Server) -> None:
    browser = visited(public)
    assert browser.ask("POST", "/models", xsrf=False, json={"name": "forged"}).status_code == 403
    assert browser.ask("POST", "/models", json={"name": "x"}, headers={"X-XSRFToken": "2|00|00|1"}).status_code == 403
    elsewhere = {"Origin": "http://elsewhere.example", "Referer": "http://elsewhere.example/page"}
    assert browser.ask("POST", "/models", json={"name": "forged"}, headers=elsewhere).status_code in (403, 404)
    assert browser.names() == []


@pytest.mark.parametrize(
    "header",
    [{"Origin": "http://elsewhere.example"}, {"Origin": "null"}, {"Referer": "http://elsewhere.example/"},
     {"Sec-Fetch-Site": "cross-site"}, {"Cookie": "some=thing"}],
    ids=lambda header: " ".join(f"{name} {value}" for name, value in header.items()),
)  # fmt: skip
def test_what_a_browser_might_have_been_made_to_send_is_not_taken_for_a_script(
    public: Server, header: dict[str, str]
) -> None:
    before = public.get("/models").json()["total"]
    assert public.post("/models", json={"name": "forged"}, headers=header).status_code in (403, 404)
    assert public.get("/models").json()["total"] == before


def test_a_script_needs_nothing_and_is_known_by_its_address(public: Server) -> None:
    answer = public.post("/models", json={"name": "from a script"})
    assert answer.status_code == 201
    assert "Set-Cookie" not in answer.headers
    assert answer.json()["owner"].startswith("guest-")
    assert "127.0.0.1" not in answer.text
    assert "from a script" in [model["name"] for model in public.get("/models").json()["models"]]


def test_a_script_that_asks_for_a_token_owns_what_it_makes(public: Server) -> None:
    answer = public.post("/visitors")
    assert answer.status_code == 201
    token = {"Authorization": f"token {answer.json()['token']}"}
    model = public.post("/models", json={"name": "mine"}, headers=token).json()
    assert model["owner"] == answer.json()["visitor"]
    assert public.get(f"/models/{model['id']}", headers=token).status_code == 200
    assert public.get(f"/models/{model['id']}").status_code == 404
    assert public.post("/visitors").json()["visitor"] != answer.json()["visitor"]


def test_a_browsers_visitor_can_have_a_token_too(public: Server) -> None:
    browser = visited(public)
    browser.create("from the browser")
    token = browser.ask("POST", "/visitors").json()["token"]
    theirs = public.get("/models", headers={"Authorization": f"Bearer {token}"}).json()["models"]
    assert [model["name"] for model in theirs] == ["from the browser"]


def test_cookies_and_tokens_that_were_not_signed_here_are_worth_nothing(public: Server) -> None:
    browser = visited(public)
    browser.create("a model")
    real = str(browser.session.cookies[COOKIE])
    token = browser.ask("POST", "/visitors").json()
    visitor = str(token["visitor"])

    def signed(secret: str, version: int = 2) -> str:
        return create_signed_value(secret, COOKIE, visitor, version=version).decode()

    altered = real[:-1] + ("0" if real[-1] != "0" else "1")
    unsigned = "2|1:0|10:0000000000|15:charrnn-visitor|0:|"
    forged = [visitor, signed("another secret"), signed(""), signed("", version=1), altered, unsigned, "a" * 4000]
    for cookie in ["", token["token"], *forged]:
        models = requests.get(f"{public.api}/models", cookies={COOKIE: cookie}, timeout=120)
        assert models.json()["models"] == [], cookie
    for wrong in [real, *forged]:
        assert public.get("/models", headers={"Authorization": f"token {wrong}"}).status_code == 403, wrong


def test_a_restart_and_a_second_server_with_the_same_secret_know_a_visitor(tmp_path: Path) -> None:
    with running(tmp_path / "one", "--public", token=None) as server:
        browser = visited(server)
        browser.create("mine")
        kept = server.folder / "data" / "cookie-secret"
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
        secret = kept.read_text()
    with running(tmp_path / "one", "--public", token=None) as server:
        browser.server = server
        assert browser.names() == ["mine"]
    database = f"sqlite:///{tmp_path / 'one' / 'data' / 'charrnn.sqlite3'}"
    with running(
        tmp_path / "two", token=None, CHARRNN_PUBLIC="1", CHARRNN_COOKIE_SECRET=secret, CHARRNN_DATABASE_URL=database
    ) as server:
        browser.server = server
        assert browser.names() == ["mine"]
        assert not (server.folder / "data" / "cookie-secret").exists()
        assert secret not in server.messages


TOKEN = "the teacher's own words"


def enter(browser: Browser, token: str, xsrf: bool = True, **form: str) -> requests.Response:
    return browser.ask("POST", f"{browser.server.site}/charrnn/admin", xsrf, data={"token": token, **form})


def test_whoever_enters_the_admins_token_sees_and_deletes_everything_until_they_leave(tmp_path: Path) -> None:
    with running(tmp_path, "--public", "--debug", token=None, CHARRNN_ADMIN_TOKEN=TOKEN) as server:
        pupil, teacher = visited(server), visited(server)
        theirs = pupil.create("secret plans").json()["id"]
        mine = teacher.create("lesson").json()
        assert "For the teacher" in pupil.open("/charrnn").text
        assert 'type="password"' in teacher.open("/charrnn/admin").text
        for wrong, why in (("", "Enter the token"), (TOKEN + "x", "That is not the token"), ("\x00", "not")):
            refused = enter(teacher, wrong)
            assert (refused.status_code, why in refused.text) == (403, True)
        assert enter(teacher, TOKEN, xsrf=False).status_code == 403
        assert teacher.names() == ["lesson"]

        entered = enter(teacher, TOKEN)
        assert (entered.status_code, entered.headers["Location"]) == (303, "/charrnn")
        given = [part.strip().lower() for part in entered.headers["Set-Cookie"].split(";")]
        assert {"httponly", "samesite=lax", "path=/"} <= set(given)
        assert not any(part.startswith("expires") for part in given), "it ends with the browser"
        assert "You are an admin" in teacher.open("/charrnn").text
        assert "You are an admin" in teacher.open("/charrnn/admin").text
        assert sorted(teacher.names()) == ["lesson", "secret plans"]
        assert teacher.create("for all").json()["owner"] == "admin"
        assert pupil.names() == ["secret plans"]
        assert teacher.ask("DELETE", f"/models/{theirs}").status_code == 204
        assert pupil.names() == []
        script = {"Authorization": f"token {TOKEN}"}
        assert len(server.get("/models", headers=script).json()["models"]) == 2

        for value in (ADMIN, entered.cookies[ADMIN_COOKIE][:-1], pupil.session.cookies[COOKIE]):
            forged = requests.get(f"{server.api}/models", cookies={ADMIN_COOKIE: value}, timeout=120)
            assert forged.json()["models"] == []
        assert enter(teacher, "", leave="yes").status_code == 303
        assert teacher.names() == [mine["name"]]
        enter(teacher, TOKEN)
    assert TOKEN not in server.messages
    with running(tmp_path, "--public", token=None, CHARRNN_ADMIN_TOKEN="another token now") as server:
        teacher.server = server
        assert teacher.names() == [mine["name"]], "another token, other admins"


def test_without_a_token_nobody_becomes_an_admin(public: Server) -> None:
    browser = visited(public)
    assert "For the teacher" not in browser.open("/charrnn").text
    for answer in (browser.open("/charrnn/admin"), enter(browser, ""), enter(browser, "None")):
        assert answer.status_code == 404
        assert "CHARRNN_ADMIN_TOKEN is not set" in answer.text


# -- how much --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server behind a proxy, as far as it knows: two models a visitor, four an address, six in all."""
    with running(
        tmp_path_factory.mktemp("strict"), "--public", "--CharRNNServer.silence=600", token=None,
        CHARRNN_TRUSTED_PROXIES="127.0.0.1,192.0.2.0/24",
        CHARRNN_MAX_MODELS="2", CHARRNN_VISITORS_PER_ADDRESS="2", CHARRNN_VISITORS_TOGETHER="3",
        CHARRNN_MAX_GENERATIONS_PER_MINUTE="1",
    ) as server:  # fmt: skip
        yield server


def through_proxy(address: str) -> dict[str, str]:
    return {"X-Forwarded-For": address}


def test_limits_hold_for_a_visitor_for_an_address_and_for_all_together(strict: Server) -> None:
    def refusal(answer: requests.Response) -> str:
        assert answer.status_code == 429
        assert int(answer.headers["Retry-After"]) > 0
        assert answer.json()["reason"] == "QuotaExceeded"
        return str(answer.json()["message"])

    made = []
    first, second, third = (visited(strict, **through_proxy("203.0.113.5")) for _ in range(3))
    for visitor in (first, first, second, second):
        made.append((visitor, visitor.create()))
        assert made[-1][1].status_code == 201
    assert refusal(first.create()).startswith("there may be 2 models: delete one")
    assert refusal(third.create()).startswith("there may be 4 models from your address")
    assert refusal(strict.post("/models", json={"name": "x"}, headers=through_proxy("203.0.113.5"))).startswith(
        "there may be 4 models from your address"
    )
    spoofed = visited(strict, **through_proxy("198.51.100.9, 203.0.113.5"))
    assert "from your address" in refusal(spoofed.create()), "what stands before the proxy's word is the client's own"
    chained = visited(strict, **through_proxy("203.0.113.5, 192.0.2.7"))
    assert "from your address" in refusal(chained.create()), "of a chain of trusted proxies the first word counts"
    elsewhere = visited(strict, **through_proxy("2001:db8:1:2::3"))
    for _ in range(2):
        made.append((elsewhere, elsewhere.create()))
        assert made[-1][1].status_code == 201
    neighbour = visited(strict, **through_proxy("203.0.113.6"))
    assert refusal(neighbour.create()).startswith("there may be 6 models of all visitors together")
    for visitor, answer in made:
        assert visitor.ask("DELETE", f"/models/{answer.json()['id']}").status_code == 204
    assert neighbour.create().status_code == 201


def test_who_has_one_address_of_the_sixth_version_has_their_whole_network(strict: Server) -> None:
    made = []
    for number in range(4):
        visitor = visited(strict, **through_proxy(f"2001:db8:9:9::{number + 1}"))
        made.append((visitor, visitor.create()))
        assert made[-1][1].status_code == 201
    assert visited(strict, **through_proxy("2001:db8:9:9::77")).create().status_code == 429
    for visitor, answer in made:
        visitor.ask("DELETE", f"/models/{answer.json()['id']}")


def test_only_so_many_files_come_in_at_a_time_from_an_address(strict: Server) -> None:
    def begun(connections: ExitStack, address: str, path: str = "/charrnn/api/v1/uploads?name=x") -> socket.socket:
        connection = connections.enter_context(raw.connected(strict))
        head = raw.head(strict, "POST", path, X_Forwarded_For=address, Content_Type="text/plain", Content_Length=1000)
        connection.sendall(head + b"x")
        return connection

    with ExitStack() as connections:
        for _ in range(4):
            begun(connections, "203.0.113.50")
        wait_for(lambda: sum("incoming" in path for path in files(strict)) == 4)  # all of them have begun to come
        with ExitStack() as another:
            refusal = raw.answer(begun(another, "203.0.113.50", "/charrnn/api/v1/models/import?name=x"))
        assert raw.status(refusal) == 429
        assert b"4 files may come in from your address at a time" in refusal
        assert b"Retry-After: 10" in refusal
        other = begun(connections, "203.0.113.51")
        other.settimeout(1)
        with pytest.raises(TimeoutError):
            other.recv(1)  # it is waited for
    wait_for(lambda: strict.post("/uploads?name=x&start=false", data=b"too short", headers={
        **through_proxy("203.0.113.50"), "Content-Type": "text/plain"}).status_code != 429)  # fmt: skip


def test_a_visitor_has_no_more_written_at_a_time_than_is_allowed(strict: Server, model_file: Path) -> None:
    address = through_proxy("203.0.113.60")
    binary = {**address, "Content-Type": "application/octet-stream"}
    model = strict.post("/models/import?name=small", data=model_file.read_bytes(), headers=binary).json()
    long = strict.post(f"/models/{model['id']}/generate", json={"length": 20_001}, headers=address)
    assert (long.status_code, long.json()["message"][:6]) == (429, "20,001")
    answers = [
        strict.post(f"/models/{model['id']}/generate", json={"length": 10}, headers=address).status_code
        for _ in range(3)
    ]
    assert answers.count(429) >= 1, "one text a minute"
    assert strict.ask("DELETE", f"/models/{model['id']}", headers=address).status_code == 204


def test_only_a_trusted_proxy_says_where_somebody_comes_from(tmp_path: Path) -> None:
    limits = {"CHARRNN_MAX_MODELS": "1", "CHARRNN_VISITORS_PER_ADDRESS": "1"}
    with running(tmp_path, "--public", "--ServerApp.trust_xheaders=True", token=None, **limits) as server:
        assert server.post("/models", json={"name": "one"}, headers=through_proxy("203.0.113.1")).status_code == 201
        for name in ("X-Forwarded-For", "X-Real-Ip", "Forwarded"):
            answer = server.post("/models", json={"name": "two"}, headers={name: "203.0.113.2"})
            assert answer.status_code == 429, name


def test_a_cookie_is_secure_where_the_browser_speaks_tls_to_the_proxy(strict: Server, public: Server) -> None:
    def cookie(server: Server) -> str:
        answer = Browser(server).ask("GET", "/models", headers={**PAGE, "X-Forwarded-Proto": "https"})
        return str(answer.headers["Set-Cookie"]).lower()

    assert "; secure" in cookie(strict)
    assert "; secure" not in cookie(public), "an untrusted word"


# -- where it is not ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["variable", "trait", "module"])
def test_inside_somebody_elses_server_a_public_launch_is_refused(tmp_path: Path, how: str) -> None:
    packages = {"charrnn_server": how != "module", "charrnn_server.public": how == "module"}
    configure(
        tmp_path,
        f"c.ServerApp.jpserver_extensions = {packages}\n"
        + ("c.CharRNNServer.public = True\n" if how == "trait" else ""),
    )
    more = {"CHARRNN_PUBLIC": "yes"} if how == "variable" else {}
    with running(tmp_path, module=("jupyter_server",), probe=("/api", 200), **more) as server:
        assert requests.get(f"{server.api}/live", timeout=120).status_code == 404
        assert requests.get(f"{server.api}/models", timeout=120).status_code in (403, 404)
        assert server.get("/models").status_code == 404
        assert "jupyter charrnn --public" in server.messages


def test_inside_somebody_elses_server_nothing_public_joins_the_personal_one(tmp_path: Path) -> None:
    both = {"charrnn_server": True, "charrnn_server.public": True}
    configure(tmp_path, f"c.ServerApp.jpserver_extensions = {both}\n")
    with running(tmp_path, module=("jupyter_server",), probe=("/api", 200)) as server:
        assert requests.get(f"{server.api}/models", timeout=120).status_code in (403, 404)
        assert requests.post(f"{server.api}/visitors", timeout=120).status_code in (403, 404)
    assert server.process.returncode == 0


@pytest.mark.parametrize(
    ("environment", "config", "expected"),
    [
        ({}, "c.CharRNNServer.public = True\n", "charrnn can be public only in a server of its own"),
        ({"CHARRNN_PUBLIC": "perhaps"}, "", "CHARRNN_PUBLIC: 1 or 0 would be right, not 'perhaps'"),
        ({"CHARRNN_PUBLIC": "1", "CHARRNN_COOKIE_SECRET": "short"}, "", "CHARRNN_COOKIE_SECRET (cookie_secret): "),
        ({"CHARRNN_PUBLIC": "1", "CHARRNN_TRUSTED_PROXIES": "here"}, "", "'here' is neither an address nor a network"),
    ],
)  # fmt: skip
def test_what_cannot_be_decided_ends_the_server_before_it_answers(
    tmp_path: Path, environment: dict[str, str], config: str, expected: str
) -> None:
    configure(tmp_path, config)
    places = {f"JUPYTER_{name}_DIR": str(tmp_path / "jupyter" / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    result = subprocess.run(
        [sys.executable, "-m", "charrnn_server", "--no-browser", "--allow-root"], capture_output=True, text=True,
        timeout=300, check=False, cwd=tmp_path,
        env=variables(**places, CHARRNN_DATA_FOLDER=str(tmp_path / "data"), PYTHONPATH=PACKAGES, **environment),
    )  # fmt: skip
    assert result.returncode == 1
    assert expected in result.stderr
    assert "short" not in result.stderr
    assert "Traceback" not in result.stderr


def test_a_secret_that_cannot_be_kept_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file where the folder should be")
    result = subprocess.run(
        [sys.executable, "-m", "charrnn_server", "--public", "--no-browser", "--allow-root"], capture_output=True,
        text=True, timeout=300, check=False, cwd=tmp_path,
        env=variables(CHARRNN_DATA_FOLDER=str(tmp_path / "data"), PYTHONPATH=PACKAGES),
    )  # fmt: skip
    assert result.returncode == 1
    assert "set CHARRNN_COOKIE_SECRET" in result.stderr
