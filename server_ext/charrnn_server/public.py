"""The public launch: a server for visitors, who need no token, with nothing in it but charrnn.

It knows who a visitor is, which address a request comes from, and what such a server leaves out. It does not know
models: what visitors may see and use is said by the policy, in the settings below.

What there is, is decided before the server exists. Jupyter's own handlers are not loaded, and whatever would be there
all the same (its version, `/metrics`, static files) is hidden by a route of ours that comes before them and finds
nothing. What the dashboard of visitors needs of a kernels' API is ours, below `/charrnn/dashboard`: it looks whether
the kernel is the visitor's, and lets no code through.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import re
import secrets
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_server.auth import IdentityProvider, User
from jupyter_server.base.handlers import RedirectWithParams
from jupyter_server.utils import url_path_join
from tornado.httputil import HTTPServerRequest
from tornado.web import RequestHandler, create_signed_value, decode_signed_value

from charrnn.errors import CharRNNError, InvalidSettings, QuotaExceeded
from charrnn_server.app import CharRNNServer
from charrnn_server.own_server import OwnServerApp

if TYPE_CHECKING:
    from pydantic import SecretStr

    from charrnn.config import Settings

COOKIE = "charrnn-visitor"
TOKEN = "charrnn-visitor-token"  # what tokens are signed as, so that none is taken for a cookie
DAYS = 365.0  # that a visitor is remembered
ADMIN = "admin"  # the name of every visitor who has entered the admins' token
ADMIN_COOKIE, ADMIN_DAYS = "charrnn-admin", 30.0  # for which it is good, if the browser is not closed before
SECRET_FILE = "cookie-secret"  # in the data folder
SECRET_LENGTH = 16  # bytes, at least
BODY_LIMIT = 1_000_000  # bytes, where a handler does not allow more
UPLOADS_OF_ADDRESS, UPLOADS_TOGETHER = 4, 32  # files that come in at a time: each has its room on the disk meanwhile
DASHBOARDS_OF_VISITOR = 4  # open at a time, in as many windows
IDLE_SECONDS = 75.0  # that a connection may wait for its next request

#: what holds for visitors where nothing else is configured
LIMITS: dict[str, Any] = {
    "privacy": "own", "max_models": 20, "max_text_bytes": 50_000_000, "upload_limit": 50_000_000, "max_queued": 2,
    "max_minutes": 10.0, "max_generations_per_minute": 30, "max_characters": 20_000,
}  # fmt: skip

Address = IPv4Address | IPv6Address


@dataclass
class Visitor(User):
    """Somebody who came by. `origin` is the account of the address that they come from now."""

    origin: str = ""


class Visitors(IdentityProvider):
    """Tells visitors apart: by the token that they asked for, by their cookie, or else by their address.

    A browser gets a cookie with its first request, and is asked for `_xsrf` as Jupyter does. A script that sends
    nothing a browser would send is known by its address, which no other site can make a browser use.
    """

    need_token = False
    auth_enabled = True
    login_available = False
    logout_available = False

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        self.token = ""  # whatever is configured: none opens this server
        self._secret: bytes = b""
        self._proxies: list[Any] = []
        self._admin_token: SecretStr | None = None

    def configure(self, secret: bytes, settings: Settings) -> None:
        """Sign with this secret from now on. The settings say which proxies are believed, and what makes an admin."""
        self._secret, self._proxies = secret, [ip_network(proxy) for proxy in settings.trusted_proxies]
        self._admin_token = settings.admin_token

    def get_user(self, handler: RequestHandler) -> Visitor | None:
        """Who sent the request. None: somebody with a token that is not one of ours."""
        request = handler.request
        known: Visitor | None = getattr(handler, "_jupyter_current_user", None)
        if known is not None:
            return known
        secure, address = is_https(request, self._proxies), client_address(request, self._proxies)
        request.remote_ip = str(address)  # for the server's log
        origin = self.account(address)
        token = self.auth_header_pat.match(request.headers.get("Authorization", ""))
        if token is not None:
            visitor = ADMIN if self.is_admin_token(token[2]) else self._signed(TOKEN, token[2])
        elif self._is_admin(handler):
            visitor = ADMIN
        else:
            visitor = self._signed(COOKIE, handler.get_cookie(COOKIE))
            if visitor is None and not from_script(request):
                visitor = new_visitor()
                self._set(handler, COOKIE, visitor, secure)
            elif visitor is None:
                visitor = f"guest-{origin.partition('-')[2]}"
                handler._token_authenticated = True  # type: ignore[attr-defined]  # no browser: no cross-site request
        if token is not None and visitor is not None:
            handler._token_authenticated = True  # type: ignore[attr-defined]
        return None if visitor is None else Visitor(visitor, origin=origin)

    def account(self, address: Address) -> str:
        """The account of all who come from an address. The address itself cannot be read from it.

        Whoever has one address of the sixth version has as many as they like, so their network's is taken.
        """
        if isinstance(address, IPv6Address):
            address = ip_network((address, 64), strict=False).network_address
        return "address-" + hmac.new(self._secret, str(address).encode(), hashlib.sha256).hexdigest()[:32]

    def token_of(self, visitor: str) -> str:
        """A token with which a script is this visitor."""
        return create_signed_value(self._secret, TOKEN, visitor).decode()

    @property
    def has_admins(self) -> bool:
        """Whether there is a token with which a visitor becomes an admin."""
        return self._admin_token is not None

    def is_admin_token(self, token: str) -> bool:
        """Whether somebody who says this is an admin."""
        expected = self._admin_token
        return expected is not None and hmac.compare_digest(token.encode(), expected.get_secret_value().encode())

    def be_admin(self, handler: RequestHandler) -> None:
        """Make an admin of whoever sent the request, until their browser is closed or the token is another one."""
        secure = is_https(handler.request, self._proxies)
        self._set(handler, ADMIN_COOKIE, self._admins(), secure, expires_days=None)

    def be_nobody_special(self, handler: RequestHandler) -> None:
        """Make of an admin the visitor again who they were before."""
        handler.clear_cookie(ADMIN_COOKIE, path=handler.base_url)  # type: ignore[attr-defined]

    def _is_admin(self, handler: RequestHandler) -> bool:
        if self._admin_token is None:
            return False
        said = decode_signed_value(
            self._secret, ADMIN_COOKIE, handler.get_cookie(ADMIN_COOKIE), max_age_days=ADMIN_DAYS, min_version=2
        )
        return said is not None and hmac.compare_digest(said, self._admins().encode())

    def _admins(self) -> str:
        """What an admin's cookie says, which tells nothing of the token."""
        assert self._admin_token is not None
        return hmac.new(self._secret, self._admin_token.get_secret_value().encode(), hashlib.sha256).hexdigest()

    def _signed(self, name: str, value: str | None) -> str | None:
        visitor = decode_signed_value(self._secret, name, value, max_age_days=DAYS, min_version=2)
        return visitor.decode() if visitor is not None and VISITOR.fullmatch(visitor) else None

    def _set(
        self, handler: RequestHandler, name: str, value: str, secure: bool, expires_days: float | None = DAYS
    ) -> None:
        handler.set_cookie(
            name, create_signed_value(self._secret, name, value).decode(), path=handler.base_url,  # type: ignore[attr-defined]
            expires_days=expires_days, httponly=True, samesite="Lax", secure=secure,
        )  # fmt: skip


VISITOR = re.compile(rb"visitor-[0-9a-f]{32}")


def new_visitor() -> str:
    """A name that nobody had before."""
    return f"visitor-{secrets.token_hex(16)}"


def from_script(request: HTTPServerRequest) -> bool:
    """Whether a request has nothing of what browsers send: they say where a POST comes from, and want HTML of pages."""
    headers = request.headers
    browser = ("Cookie", "Origin", "Referer", "Sec-Fetch-Site", "Sec-Fetch-Mode")
    return not any(name in headers for name in browser) and "text/html" not in headers.get("Accept", "")


def client_address(request: HTTPServerRequest, proxies: Iterable[Any]) -> Address:
    """Where a request comes from: what is connected or, as far as proxies are trusted, what they say they serve."""
    address = _address(request.remote_ip) or IPv4Address(0)
    forwarded = request.headers.get("X-Forwarded-For", "").split(",")
    while forwarded and any(address in proxy for proxy in proxies):
        before = _address(forwarded.pop().strip())
        if before is None:
            break
        address = before
    return address


def is_https(request: HTTPServerRequest, proxies: Iterable[Any]) -> bool:
    """Whether the browser speaks to us, or to a trusted proxy, over TLS."""
    peer = _address(request.remote_ip)
    if peer is not None and any(peer in proxy for proxy in proxies):
        said = request.headers.get("X-Forwarded-Proto", request.protocol)
        return said.rpartition(",")[2].strip().lower() == "https"
    return request.protocol == "https"


def _address(text: str | None) -> Address | None:
    try:
        address = ip_address(text or "")
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


class PublicServerApp(OwnServerApp):
    """A Jupyter server without all that makes it one."""

    default_services = ()  # type: ignore[assignment]

    def init_server_extensions(self) -> None:
        """Load ours alone, whatever configuration files say."""
        self.jpserver_extensions = {PublicCharRNNServer.get_extension_package(): True}
        self.reraise_server_extension_failures = True
        super().init_server_extensions()

    def init_configurables(self) -> None:
        """Tell visitors apart, and serve no files."""
        self.identity_provider_class = Visitors
        super().init_configurables()
        self.contents_manager.files_handler_class = None

    def init_webapp(self) -> None:
        """Make the application with what must not depend on configuration files."""
        extension: PublicCharRNNServer = self.extension_manager.extension_points[PublicCharRNNServer.name].app
        try:
            settings = extension.configured()
            self.cookie_secret = secret_of(settings)
        except CharRNNError as error:
            self.log.critical("%s", error)
            self.exit(1)
        assert isinstance(self.identity_provider, Visitors)
        self.identity_provider.configure(self.cookie_secret, settings)
        if self.trust_xheaders:
            self.log.warning(
                "ServerApp.trust_xheaders would let anybody choose an address and is left out: name the proxy in "
                "CHARRNN_TRUSTED_PROXIES"
            )
        self.trust_xheaders = False
        self.extra_services = []
        self.allow_unauthenticated_access = False
        self.max_body_size = BODY_LIMIT
        self.tornado_settings["xsrf_cookie_kwargs"] = {"path": self.base_url, "samesite": "Lax"}
        super().init_webapp()

    def init_httpserver(self) -> None:
        """Hang up on whoever connects and then says nothing."""
        super().init_httpserver()
        self.http_server.conn_params.header_timeout = IDLE_SECONDS


class PublicCharRNNServer(CharRNNServer):
    """charrnn for visitors."""

    serverapp_class = PublicServerApp
    load_other_extensions = False

    @classmethod
    def get_extension_package(cls) -> str:
        """This module, so that the server finds this class."""
        return __name__

    def _refuse_to_be_public(self) -> None:
        if not isinstance(self.serverapp, PublicServerApp):
            raise InvalidSettings(f"{__name__} is not for other servers: `jupyter charrnn --public` starts its own")

    def initialize_handlers(self) -> None:
        """Add what only visitors need."""
        from charrnn_server.handlers import admin, visitors

        assert self.serverapp is not None
        home = url_path_join(self.serverapp.base_url, self.extension_url)
        self.handlers.extend(
            [*visitors.ROUTES, *admin.ROUTES, ("/?", RedirectWithParams, {"url": home, "permanent": False})]
        )
        super().initialize_handlers()

    def _prepare_handlers(self) -> None:
        super()._prepare_handlers()
        from charrnn_server.handlers.unknown import UnknownHandler

        assert self.serverapp is not None
        ours = [(r"(.*)", UnknownHandler)]
        self.serverapp.web_app.add_handlers(".*$", ours)  # type: ignore[no-untyped-call]  # before Jupyter's own

    def configured(self) -> Settings:
        """The settings, with limits for visitors where none are given, and without any for who has the token."""
        settings = super().configured()
        limits = {name: value for name, value in LIMITS.items() if name not in settings.model_fields_set}
        admins = settings.admins | {ADMIN} if settings.admin_token is not None else settings.admins
        return settings.model_copy(update={**limits, "admins": admins})

    def initialize_settings(self) -> None:
        """Make what is needed. Nothing is opened."""
        super().initialize_settings()
        self._uploads: Counter[str] = Counter()

    def admin_link(self, user: User) -> str | None:
        """For who looks after a class, if there is a token for them."""
        assert self.serverapp is not None
        assert isinstance(self.serverapp.identity_provider, Visitors)
        if not self.serverapp.identity_provider.has_admins:
            return None
        return "You are an admin" if user.username == ADMIN else "For the teacher"

    @property
    def dashboards_each(self) -> int:
        """So that one visitor does not leave none for the others."""
        return DASHBOARDS_OF_VISITOR

    def upload_begins(self, user: User) -> None:
        """A file of a visitor begins to come in. Raises QuotaExceeded for too many at a time."""
        assert isinstance(user, Visitor)
        if self._uploads[user.origin] >= UPLOADS_OF_ADDRESS:
            raise QuotaExceeded(f"{UPLOADS_OF_ADDRESS} files may come in from your address at a time", 10)
        if self._uploads.total() >= UPLOADS_TOGETHER:
            raise QuotaExceeded(f"{UPLOADS_TOGETHER} files may come in at a time, and as many do", 10)
        self._uploads[user.origin] += 1

    def upload_ends(self, user: User) -> None:
        """A file that was begun is there, or will never be."""
        assert isinstance(user, Visitor)
        self._uploads[user.origin] -= 1
        self._uploads += Counter()  # forgets whom there is nothing of

    def account_of(self, user: User) -> tuple[str | None, str | None]:
        """A visitor's name, and the account of their address."""
        assert isinstance(user, Visitor)
        return user.username, user.origin


def secret_of(settings: Settings) -> bytes:
    """What cookies are signed with: as configured, or else kept in the data folder, readable by its owner only.

    Raises InvalidSettings.
    """
    if settings.cookie_secret is not None:
        return settings.cookie_secret.get_secret_value().encode()
    path = settings.data_folder / SECRET_FILE
    try:
        secret = _kept(path)
    except OSError as error:
        raise InvalidSettings(
            f"{path} cannot be used ({error.strerror}), so visitors would be forgotten: set CHARRNN_COOKIE_SECRET"
        ) from None
    if len(secret) < SECRET_LENGTH:
        raise InvalidSettings(f"{path} is damaged: delete it, and visitors begin anew, or set CHARRNN_COOKIE_SECRET")
    return secret


def _kept(path: Path) -> bytes:
    """The content of a file which is there whole or not at all; whoever comes first makes it."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        mine = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
        with os.fdopen(os.open(mine, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
        with contextlib.suppress(FileExistsError):  # somebody else came first
            path.hardlink_to(mine)
        mine.unlink()
    return path.read_bytes().strip()


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    return [{"module": __name__, "app": PublicCharRNNServer}]
