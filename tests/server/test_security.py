"""Nobody gets in without credentials, does what they may not, or has the server keep, print or run what they send.

Every route of the real application is asked, over HTTP, whatever it is for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.jobs.trainings import wait_for, workers_of
from tests.server import raw
from tests.server.routes import Route, routes
from tests.server.running import TOKEN, Server, configure, running
from tests.workspace.played import TEXT

API = "/charrnn/api/v1"
OPEN = {("GET", f"{API}/live$"), ("HEAD", f"{API}/live$")}
WRITES = ("POST", "PUT", "PATCH", "DELETE")
FOREIGN = "c.ServerApp.jpserver_extensions = {'charrnn_server': True}\n"
READ_ONLY = """
from jupyter_server.auth import Authorizer
class ReadOnly(Authorizer):
    def is_authorized(self, handler, user, action, resource):
        return action == "read"
c.ServerApp.authorizer_class = ReadOnly
"""
DATABASE_PASSWORD = "s3cret-of-the-database"
COOKIE_SECRET = "s3cret-behind-the-cookies"
SECRETS = (DATABASE_PASSWORD, COOKIE_SECRET, TOKEN)
GROWTH = 40_000_000  # bytes of memory, which what is sent exceeds many times


@dataclass(frozen=True)
class Asked:
    """One method of one route, at an address that it answers to."""

    method: str
    path: str
    action: str | None

    @property
    def is_page(self) -> bool:
        asked_by_scripts = self.path.startswith((API, "/charrnn/dashboard/"))
        return not asked_by_scripts or self.path.endswith("/docs")


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> list[Route]:
    return [route for route in routes("personal", tmp_path_factory.mktemp("listed")) if route.ours]


@pytest.fixture(scope="module")
def model(server: Server) -> str:
    """The id of a model with a text."""
    return made(server)


def made(server: Server, name: str = "poems") -> str:
    id = str(server.post("/models", json={"name": name}).json()["id"])
    answer = server.post(f"/models/{id}/corpus", data=TEXT, headers={"Content-Type": "text/plain"})
    assert answer.status_code == 201, answer.text
    return id


@pytest.fixture
def everything(listed: list[Route], model: str) -> list[Asked]:
    """Every method of every route, but those that are open."""
    return [
        Asked(method, route.path(model), action)
        for route in listed
        for method, (is_open, action) in route.methods.items()
        if not is_open
    ]


def ask(server: Server, asked: Asked, **options: Any) -> requests.Response:
    options.setdefault("headers", {})
    return requests.request(asked.method, server.site + asked.path, timeout=120, allow_redirects=False, **options)


def logged_in(server: Server) -> requests.Session:
    """A browser after the login: with its cookies, and `_xsrf` among them."""
    session = requests.Session()
    page = session.get(f"{server.site}/charrnn/models?token={TOKEN}", headers={"Accept": "text/html"}, timeout=120)
    assert page.status_code == 200
    assert "_xsrf" in session.cookies
    return session


# -- who may -----------------------------------------------------------------------------------------------------------


def test_the_list_of_open_routes_is_short(listed: list[Route]) -> None:
    opened = {(method, route.pattern) for route in listed for method, (is_open, _) in route.methods.items() if is_open}
    assert {entry for entry in opened if entry[0] != "OPTIONS"} == OPEN
    assert len(listed) > 20


def test_every_method_says_what_it_does_with_models(listed: list[Route]) -> None:
    actions = {
        (route.pattern, method): action
        for route in listed
        for method, (is_open, action) in route.methods.items()
        if not is_open
    }
    assert set(actions.values()) == {"read", "write", "execute"}
    changing = {action for (pattern, method), action in actions.items() if method in ("PUT", "PATCH", "DELETE")}
    assert changing <= {"write", "read"}
    unknown = {route.pattern for route in listed if route.handler.endswith("UnknownHandler")}
    assert "read" not in {
        action for (pattern, method), action in actions.items()
        if method in ("PUT", "PATCH", "DELETE") and pattern not in unknown
    }  # fmt: skip


@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": "token wrong"}, {"Authorization": f"token {TOKEN}x"}, {"Cookie": "username=x"}],
    ids=["nothing", "a wrong token", "a longer token", "a cookie of their own"],
)  # fmt: skip
def test_nobody_gets_in_who_is_not_known(server: Server, everything: list[Asked], headers: dict[str, str]) -> None:
    wrong = {}
    for asked in everything:
        answer = ask(server, asked, headers=headers)
        to_login = asked.is_page and asked.method == "GET"
        if answer.status_code != (302 if to_login else 403):
            wrong[f"{asked.method} {asked.path}"] = answer.status_code
        elif to_login:
            assert answer.headers["Location"].startswith("/login?next=")
        assert "poems" not in answer.text
    assert wrong == {}
    assert requests.get(f"{server.api}/health", params={"token": "wrong"}, timeout=120).status_code == 403


def test_a_browser_changes_nothing_without_what_only_our_pages_know(server: Server, everything: list[Asked]) -> None:
    session = logged_in(server)
    for asked in everything:
        if asked.method not in WRITES:
            continue
        url = server.site + asked.path
        for headers in ({}, {"X-XSRFToken": "2|1234abcd|5678|1700000000"}):
            answer = session.request(asked.method, url, headers=headers, timeout=120, allow_redirects=False)
            assert answer.status_code == 403, f"{asked.method} {asked.path}"
    assert [model["name"] for model in server.get("/models").json()["models"]] == ["poems"]


def test_other_sites_are_refused_with_a_browsers_cookies(server: Server, everything: list[Asked]) -> None:
    session = logged_in(server)
    headers = {
        "Origin": "http://elsewhere.example", "Referer": "http://elsewhere.example/page",
        "X-XSRFToken": session.cookies["_xsrf"],
    }  # fmt: skip
    for asked in everything:
        url = server.site + asked.path
        answer = session.request(asked.method, url, headers=headers, timeout=120, allow_redirects=False)
        assert answer.status_code in (403, 404), f"{asked.method} {asked.path}"
        assert "Access-Control-Allow-Origin" not in answer.headers
    assert [model["name"] for model in server.get("/models").json()["models"]] == ["poems"]


def test_with_its_cookies_and_what_our_pages_know_a_browser_may_work(server: Server, model: str) -> None:
    session = logged_in(server)
    headers = {"Origin": f"http://127.0.0.1:{server.port}", "X-XSRFToken": session.cookies["_xsrf"]}
    answer = session.patch(f"{server.api}/models/{model}", json={"name": "verse"}, headers=headers, timeout=120)
    assert (answer.status_code, answer.json()["name"]) == (200, "verse")
    assert server.ask("PATCH", f"/models/{model}", json={"name": "poems"}).status_code == 200


def test_who_may_only_read_changes_nothing_and_runs_nothing(tmp_path: Path, listed: list[Route]) -> None:
    configure(tmp_path, READ_ONLY)
    with running(tmp_path) as server:
        headers = {"Authorization": f"token {TOKEN}"}
        refused = set()
        for route in listed:
            for method, (is_open, action) in route.methods.items():
                asked = Asked(method, route.path("0" * 26), action)
                if is_open:
                    continue
                status = ask(server, asked, headers=headers).status_code
                assert (status == 403) == (action != "read"), f"{method} {asked.path} ({action}): {status}"
                if status == 403:
                    refused.add(action)
        assert refused == {"write", "execute"}


@pytest.mark.parametrize("host", ["elsewhere.example", "elsewhere.example:80", "169.254.169.254", "127.0.0.1.nip.io"])
def test_a_name_that_somebody_else_made_lead_here_is_refused(server: Server, host: str) -> None:
    for path in (f"{API}/models", f"{API}/live", "/charrnn/models"):
        assert raw.status(raw.exchange(server, raw.head(server, "GET", path, Host=host))) == 403


# -- what is sent ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["personal", "public", "foreign"])
def launched(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Each way in which charrnn can be served; a client that says nothing for 2 s has been silent for long."""
    folder = tmp_path_factory.mktemp(request.param)
    configure(folder, (FOREIGN if request.param == "foreign" else "") + "c.CharRNNServer.silence = 2.0\n")
    module = ("jupyter_server",) if request.param == "foreign" else ("charrnn_server",)
    arguments = ["--public"] if request.param == "public" else []
    with running(folder, *arguments, module=module, token=None if arguments else TOKEN) as server:
        yield server


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("credentials", ["token", "nothing"])
def test_a_large_document_is_refused_before_it_is_kept(launched: Server, framing: str, credentials: str) -> None:
    launched.get("/models")
    before = most = launched.memory()
    size, piece = 300_000_000, b" " * 1_000_000
    how: dict[str, str | int] = {"Content_Length": size} if framing == "length" else {"Transfer_Encoding": "chunked"}
    if credentials == "nothing":
        how["Authorization"] = ""
    if framing == "chunked":
        piece = f"{len(piece):x}\r\n".encode() + piece + b"\r\n"
    with raw.connected(launched) as connection:
        connection.sendall(raw.head(launched, "POST", f"{API}/models", Content_Type="application/json", **how))
        for _ in range(6):
            raw.sent_until_closed(connection, piece, size // 6)
            most = max(most, launched.memory())
        refusal = raw.answer(connection)
    assert raw.status(refusal) in ((403,) if credentials == "nothing" and launched.token else (413, 0))
    assert max(most, launched.memory()) - before < GROWTH
    assert launched.get("/live").status_code == 204


def test_a_refusal_of_a_large_document_can_be_read(launched: Server) -> None:
    head = raw.head(launched, "POST", f"{API}/models", Content_Type="application/json", Content_Length=2_000_000)
    with raw.connected(launched) as connection:
        connection.sendall(head + b"{" * 100_000)
        refusal = raw.answer(connection)
    assert raw.status(refusal) == 413
    assert json.loads(refusal.partition(b"\r\n\r\n")[2])["message"].startswith("2,000,000 bytes are too many")


def test_who_begins_a_request_and_does_not_end_it_is_dropped(launched: Server, server: Server) -> None:
    paths = [
        f"{API}/models",
        f"{API}/uploads?name=x",
        f"{API}/models/import?name=x",
        "/charrnn/upload",
        f"{API}/nothing",
    ]
    for path in paths:
        with raw.connected(launched) as connection:
            connection.sendall(raw.head(launched, "POST", path, Content_Type="text/plain", Content_Length=1000) + b"{")
            raw.wait_until_closed(connection)
    assert launched.get("/live").status_code == 204


def test_a_document_that_comes_drop_by_drop_is_not_waited_for(tmp_path: Path) -> None:
    configure(tmp_path, "c.CharRNNServer.silence = 0.5\n")
    with running(tmp_path) as server, raw.connected(server) as connection:
        connection.sendall(raw.head(server, "POST", f"{API}/models", Content_Length=100_000))
        assert raw.sent_until_closed(connection, b" ", 1000, pause=0.1) < 1000


@pytest.mark.parametrize(
    "body",
    [b'{"name": "x"', b"[]", b"null", b"\xff\xfe", b'{"name": NaN}', b"[" * 100_000, b'{"name": "\\ud800"}', b'"text"'],
    ids=["cut", "a list", "null", "no text", "no number", "deep", "half a pair", "a text"],
)
def test_what_is_no_document_is_refused_as_such(server: Server, body: bytes) -> None:
    answer = server.post("/models", data=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert set(answer.json()) <= {"message", "reason", "fields"}


ODD_NAMES = ["a\r\nX-Evil: 1", "a\nb", "a\x1b[31mred", "a\x00b", "‮gnp.exe", "\u2028", "a\x9b31m"]


@pytest.mark.parametrize("name", ODD_NAMES, ids=ascii)
def test_a_name_that_steers_is_no_name(server: Server, model: str, name: str) -> None:
    for answer in (
        server.post("/models", json={"name": name}),
        server.ask("PATCH", f"/models/{model}", json={"name": name}),
        server.post(f"/models/{model}/fork", json={"name": name}),
        server.post(
            "/uploads", params={"name": name, "start": "false"}, data=TEXT, headers={"Content-Type": "text/plain"}
        ),
    ):
        assert answer.status_code in (409, 422), answer.text
        assert "X-Evil" not in answer.headers
        assert "\x1b" not in answer.text


NASTY = '"; filename="evil.sh" \\ ../../etc/passwd <script>alert(1)</script> {{7*7}} %0d%0aX-Evil:1 \'"&é🙂'


@pytest.fixture(scope="module")
def nasty(server: Server, model_file: Path) -> str:
    """A model whose name is full of what means something elsewhere."""
    answer = server.post(
        "/models/import", params={"name": NASTY}, data=model_file.read_bytes(),
        headers={"Content-Type": "application/octet-stream"},
    )  # fmt: skip
    assert answer.status_code == 201, answer.text
    assert answer.json()["name"] == NASTY
    return str(answer.json()["id"])


def test_a_name_says_nothing_in_headers(server: Server, nasty: str) -> None:
    answer = server.get(f"/models/{nasty}/file")
    assert answer.status_code == 200
    assert "X-Evil" not in answer.headers
    disposition = answer.headers["Content-Disposition"]
    assert disposition.startswith("attachment")
    assert 'evil.sh" ' not in disposition
    assert not re.search(r"[/\\]\.\.|\.\.[/\\]", disposition)
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_names_are_text_on_pages_and_not_html(server: Server, nasty: str) -> None:
    pages = [f"{server.site}/charrnn/models", f"{server.site}/charrnn/upload"]
    headers = {"Authorization": f"token {TOKEN}"}
    for url in pages:
        page = requests.get(url, headers=headers, timeout=120)
        assert page.status_code == 200
        assert "<script" not in page.text
        assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    listed = requests.get(pages[0], headers=headers, timeout=120).text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in listed
    assert "{{7*7}}" in listed, "and templates are not computed"


@pytest.mark.parametrize("query", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "%0d%0aX-Evil:%201"])
def test_what_is_asked_for_comes_back_as_text_only(server: Server, query: str) -> None:
    headers = {"Authorization": f"token {TOKEN}"}
    for path in (
        f"/charrnn/models?status={query}", f"/charrnn/models?prefix={query}", f"/charrnn/upload?name={query}",
        f"{API}/models?status={query}", f"{API}/models/{query}", f"{API}/{query}", f"/charrnn/{query}",
    ):  # fmt: skip
        answer = requests.get(server.site + path, headers=headers, timeout=120)
        assert answer.status_code < 500
        assert "X-Evil" not in answer.headers
        if answer.headers["Content-Type"].startswith("text/html"):
            assert "<script>alert" not in answer.text
            assert "<img src=x" not in answer.text


@pytest.mark.parametrize(
    "path",
    ["../../etc/passwd", "..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e/etc/passwd", "....//etc/passwd", "%00", "a%00b",
     "%c0%ae%c0%ae", "x" * 5000, "%ff%fe", "CON", "file:///etc/passwd"],
)  # fmt: skip
def test_no_id_leads_to_a_file(server: Server, path: str) -> None:
    for tail in ("", "/file", "/log", "/report", "/events", "/sample?prompt=x"):
        answer = raw.exchange(server, raw.head(server, "GET", f"{API}/models/{path}{tail}"))
        assert raw.status(answer) in (400, 404, 414), answer[:300]
        assert b"root:" not in answer


def test_the_name_of_a_file_that_comes_in_is_only_a_name(server: Server) -> None:
    for name in ("../../../../tmp/evil.txt", "..\\..\\evil.txt", "/etc/cron.d/evil", "a\nb.txt", "<b>.txt"):
        answer = server.post("/uploads", files={"file": (name, TEXT)}, data={"start": "false"})
        assert answer.status_code == 201, answer.text
        shown = answer.json()["corpus"]["name"]
        assert "\n" not in shown
        assert server.ask("DELETE", f"/models/{answer.json()['id']}").status_code == 204
    assert list(server.folder.rglob("*evil*")) == []


def test_a_model_file_that_is_none_or_lies_is_refused_and_runs_nothing(server: Server, model_file: Path) -> None:
    proof = server.folder / "was run"
    pickle = f"cposix\nsystem\n(S'touch \"{proof}\"'\ntR.".encode()
    whole = model_file.read_bytes()
    length = int.from_bytes(whole[:8], "little")
    liars = [
        b"", b"x", pickle, b"\x80\x04" + pickle, b"PK\x03\x04" + pickle, b"\xff" * 64,
        (1 << 62).to_bytes(8, "little") + b"{", whole[:-1], whole[: 8 + length],
        (length + 10**9).to_bytes(8, "little") + whole[8:],
        whole[:8] + b"{" * length + whole[8 + length :], (8).to_bytes(8, "little") + b'{"a":[]}',
    ]  # fmt: skip
    before = server.get("/models").json()["total"]
    memory = server.memory()
    for liar in liars:
        answer = server.post(
            "/models/import?name=liar", data=liar, headers={"Content-Type": "application/octet-stream"}
        )
        assert answer.status_code in (400, 422), liar[:40]
    assert server.get("/models").json()["total"] == before
    assert server.memory() - memory < GROWTH
    assert not proof.exists()


# -- what is told ------------------------------------------------------------------------------------------------------


def test_the_servers_log_holds_nothing_that_steers_a_terminal(server: Server, nasty: str, model: str) -> None:
    for name in ODD_NAMES:
        server.post("/models", json={"name": name})
        server.get("/models", params={"status": name, "prefix": name, "after": name})
        server.get(f"/models/{model}/nothing-here", params={"x": name})
    odd = {"Referer": "http://x/\x9b31m", "User-Agent": "\x9b31m"}
    raw.exchange(server, raw.head(server, "GET", f"{API}/nothing/\x9b31m", **odd))
    raw.exchange(server, raw.head(server, "GET", f"{API}/nothing/\x1b[31m"))
    raw.exchange(server, raw.head(server, "GET", f"{API}/nothing", Referer="\x1b[31mred"))
    raw.exchange(server, b"\x1b[31m nonsense\r\n\r\n")
    server.get("/nothing-at-all-after-that")
    wait_for(lambda: "nothing-at-all-after-that" in server.messages)
    assert re.findall(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", server.messages) == []


@pytest.mark.parametrize(
    ("launch", "where"),
    [("personal", "file"), ("personal", "command line"), ("public", "environment"), ("foreign", "file")],
)
def test_secrets_are_in_no_log_and_no_answer(tmp_path: Path, launch: str, where: str) -> None:
    values = {
        "database_url": f"mysql://charrnn:{DATABASE_PASSWORD}@127.0.0.1:1/charrnn",
        "cookie_secret": COOKIE_SECRET,
    }
    lines = [f"c.CharRNNServer.{name} = {value!r}\n" for name, value in values.items()] if where == "file" else []
    configure(tmp_path, "".join([FOREIGN if launch == "foreign" else "", *lines]))
    arguments = ["--debug", *(["--public"] if launch == "public" else [])]
    arguments += (
        [f"--CharRNNServer.{name}={value}" for name, value in values.items()] if where == "command line" else []
    )
    environment = {f"CHARRNN_{name.upper()}": value for name, value in values.items()} if where == "environment" else {}
    module = ("jupyter_server",) if launch == "foreign" else ("charrnn_server",)
    token = None if launch == "public" else TOKEN
    told = []
    with running(tmp_path, *arguments, module=module, token=token, **environment) as server:
        for method, path in [
            ("GET", "/health"), ("GET", "/models"), ("POST", "/models"), ("GET", "/nothing"), ("POST", "/visitors"),
            ("GET", f"/nothing?token={TOKEN}"), ("GET", "/models/import"),
        ]:  # fmt: skip
            answer = server.ask(method, path, json={"name": "x"} if method == "POST" else None)
            told += [answer.text, str(answer.headers)]
        for path in ("/charrnn/models", "/charrnn/upload", "/nothing", "/api/me", "/api/spec.yaml", "/metrics"):
            answer = requests.get(f"{server.site}{path}", headers={"Accept": "text/html"}, timeout=120)
            told += [answer.text, str(answer.headers)]
        assert server.get("/health").status_code == 503
        assert "does not answer" in server.get("/health").text
    everything = "\n".join([*told, server.messages])
    assert "DEBUG" in server.messages or "[D " in server.messages
    for secret in SECRETS:
        assert secret not in everything, f"{secret}: {_around(everything, secret)}"


def _around(text: str, secret: str) -> str:
    at = text.index(secret)
    return text[max(0, at - 300) : at + 100]


# -- what else is in that server ---------------------------------------------------------------------------------------


def test_what_jupyter_has_in_a_personal_server_is_jupyters_to_guard(server: Server) -> None:
    (server.folder / "root" / "diary.txt").write_text("dear diary")
    headers = {"Authorization": f"token {TOKEN}"}
    kernel = requests.post(f"{server.site}/api/kernels", headers=headers, json={}, timeout=120).json()["id"]
    try:
        wanted = [
            ("GET", "/api/contents/diary.txt"), ("PUT", "/api/contents/new.txt"), ("DELETE", "/api/contents/diary.txt"),
            ("GET", "/files/diary.txt"), ("GET", "/api/kernels"), ("POST", "/api/kernels"), ("GET", "/api/sessions"),
            ("DELETE", f"/api/kernels/{kernel}"), ("POST", f"/api/kernels/{kernel}/restart"), ("GET", "/api/terminals"),
            ("POST", "/api/shutdown"), ("GET", "/metrics"), ("GET", f"/api/kernels/{kernel}/channels"),
        ]  # fmt: skip
        site = f"http://127.0.0.1:{server.port}"
        session = requests.Session()
        session.get(f"{server.site}/login", timeout=120)
        xsrf = session.cookies.get("_xsrf", "")
        for method, path in wanted:
            answer = session.request(
                method, server.site + path, timeout=120, allow_redirects=False, json={},
                headers={"Origin": site, "Referer": f"{site}/charrnn/models", "X-XSRFToken": xsrf},
            )  # fmt: skip
            assert answer.status_code in (302, 403), f"{method} {path}"
            assert "dear diary" not in answer.text
        for origin, token in ((site, "wrong"), ("http://elsewhere.example", "")):
            upgrade = raw.head(
                server, "GET", f"/api/kernels/{kernel}/channels", Connection="Upgrade", Upgrade="websocket",
                Sec_WebSocket_Version=13, Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZQ==", Origin=origin,
                Authorization=f"token {token}" if token else "",
            )  # fmt: skip
            assert raw.status(raw.exchange(server, upgrade)) == 403
    finally:
        requests.delete(f"{server.site}/api/kernels/{kernel}", headers=headers, timeout=120)


def test_the_secrets_of_a_server_are_not_handed_to_what_it_starts(tmp_path: Path) -> None:
    with running(tmp_path, token=None, CHARRNN_PUBLIC="1", CHARRNN_COOKIE_SECRET=COOKIE_SECRET) as server:
        token = {"Authorization": f"token {server.post('/visitors').json()['token']}"}
        id = server.post("/models", json={"name": "poems", "sample": "python"}, headers=token).json()["id"]
        assert server.post(f"/models/{id}/start", json={"minutes": 1}, headers=token).status_code == 202
        workers = wait_for(lambda: [text for pid in workers_of(id) if (text := environment_of(pid))])
        assert all(COOKIE_SECRET not in environment for environment in workers)
        server.post(f"/models/{id}/stop", headers=token)
        server.post(f"/models/{id}/stop", headers=token)


def environment_of(pid: int) -> str:
    """The environment of a process; nothing when it is gone."""
    try:
        return Path(f"/proc/{pid}/environ").read_text(errors="replace")
    except OSError:
        return ""
