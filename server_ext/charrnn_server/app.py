"""The extension as Jupyter sees it: its settings, its routes, and what it starts and ends.

It knows Jupyter's server and when something has to be opened. It does not know HTTP, which the handlers do, nor what a
model is, which the workspace does. Loading it costs a moment and opens nothing.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from jupyter_server.auth import IdentityProvider, User
from jupyter_server.auth.identity import LegacyIdentityProvider, PasswordIdentityProvider
from jupyter_server.extension.application import ExtensionApp
from jupyter_server.serverapp import ServerApp
from jupyter_server.utils import url_path_join
from tornado.routing import PathMatches, Rule
from traitlets import Any as AnyTrait
from traitlets import Bool, Float, Int, Unicode, default

from charrnn.errors import CharRNNError, InvalidSettings
from charrnn_server.first_use import FirstUse
from charrnn_server.hidden import hide_secrets
from charrnn_server.own_server import OwnServerApp

if TYPE_CHECKING:
    from charrnn.config import Settings
    from charrnn.jobs.records import Glance, Position
    from charrnn.workspace import Workspace
    from charrnn_server.dashboard.kernels import Dashboards
    from charrnn_server.events import Hub
    from charrnn_server.generation import Writing

Result = TypeVar("Result")

API = "/charrnn/api/v1"
PUBLIC_FLAG, PUBLIC_VARIABLE = "--public", "CHARRNN_PUBLIC"
AGAIN_SECONDS = 5.0  # between two tries to reach a database that is not there when the server starts
AFTER_START = 0.2  # seconds in which a new server has nothing else to do than to answer
EVERYDAY = (
    "The websocket_ping_timeout (",  # jupyter-server 2 counts it in milliseconds and tornado in seconds
    "Got events for closed stream",  # a page went away while its kernel was speaking
)
_STOCK = (IdentityProvider, PasswordIdentityProvider, LegacyIdentityProvider)  # they ask for a token and know nobody


def _setting(variable: str) -> Any:
    return AnyTrait(None, allow_none=True, help=f"goes before the environment's {variable}").tag(config=True)


class CharRNNServer(ExtensionApp):
    """charrnn in a Jupyter server. Every setting of `charrnn.config.Settings` is a trait of the same name."""

    name = "charrnn"
    serverapp_class = OwnServerApp
    _has_begun = False
    extension_url = "/charrnn"
    description = "Train, understand and use small text generators, in the browser and over HTTP."

    data_folder = _setting("CHARRNN_DATA_FOLDER")
    database_url = _setting("CHARRNN_DATABASE_URL")
    database_tls = _setting("CHARRNN_DATABASE_TLS")
    database_tls_ca = _setting("CHARRNN_DATABASE_TLS_CA")
    storage_url = _setting("CHARRNN_STORAGE_URL")
    max_running = _setting("CHARRNN_MAX_RUNNING")
    lease_seconds = _setting("CHARRNN_LEASE_SECONDS")
    privacy = _setting("CHARRNN_PRIVACY")
    admins = _setting("CHARRNN_ADMINS")
    max_models = _setting("CHARRNN_MAX_MODELS")
    max_text_bytes = _setting("CHARRNN_MAX_TEXT_BYTES")
    max_queued = _setting("CHARRNN_MAX_QUEUED")
    max_minutes = _setting("CHARRNN_MAX_MINUTES")
    max_generations_per_minute = _setting("CHARRNN_MAX_GENERATIONS_PER_MINUTE")
    max_characters = _setting("CHARRNN_MAX_CHARACTERS")
    upload_limit = _setting("CHARRNN_UPLOAD_LIMIT")
    model_cache = _setting("CHARRNN_MODEL_CACHE")
    max_dashboards = _setting("CHARRNN_MAX_DASHBOARDS")
    visitors_per_address = _setting("CHARRNN_VISITORS_PER_ADDRESS")
    visitors_together = _setting("CHARRNN_VISITORS_TOGETHER")
    trusted_proxies = _setting("CHARRNN_TRUSTED_PROXIES")
    cookie_secret = _setting("CHARRNN_COOKIE_SECRET")
    admin_token = _setting("CHARRNN_ADMIN_TOKEN")

    public = Bool(
        False,
        help="a server for visitors; to be said with --public or CHARRNN_PUBLIC=1, since what the server has in it is "
        "decided before any configuration is read",
    ).tag(config=True)
    supervise = Bool(
        True, help="train what is queued in this server; without, `charrnn supervise` has to run somewhere"
    ).tag(config=True)
    threads = Int(8, min=1, help="requests that may wait for the database or for files at a time").tag(config=True)
    long_threads = Int(
        4,
        min=1,
        help="texts or models that are read in at a time after they have come; lists and pages do not wait for it",
    ).tag(config=True)
    silence = Float(
        30.0, min=0.1, help="seconds without data after which a request that still has to send some is dropped"
    ).tag(config=True)

    tick = Float(0.5, help="seconds between two looks at a model that somebody listens to").tag(config=True)
    heartbeat = Float(15.0, help="seconds without news after which listeners hear that the server is there").tag(
        config=True
    )
    patience = Float(30.0, help="seconds after which somebody who takes nothing that is sent is dropped").tag(
        config=True
    )
    listeners = Int(500, min=1, help="how many may listen to models at a time").tag(config=True)
    streams = Int(64, min=1, help="texts that are written at a time with one model; more wait in line").tag(config=True)

    dashboard = Unicode("", help="path of another notebook to be the dashboard").tag(config=True)
    spare_dashboards = Int(1, min=0, help="kernels that wait for whoever opens the dashboard next").tag(config=True)
    abandoned = Float(60.0, min=0.1, help="seconds without a browser after which a dashboard ends").tag(config=True)
    unopened = Float(30.0, min=0.1, help="the same for one that never had a browser").tag(config=True)

    flags = {  # noqa: RUF012
        **ExtensionApp.flags,
        PUBLIC_FLAG.lstrip("-"): ({}, "Serve visitors, who need no token: nothing but charrnn is in that server."),
    }

    @default("log_level")
    def _default_log_level(self) -> int:
        return logging.WARNING

    def _refuse_to_be_public(self) -> None:
        """Whoever asks for a server of visitors gets that or nothing of ours, never one with other rules."""
        if self.public or public_variable():
            problem = (
                f"charrnn can be public only in a server of its own: start it with `jupyter charrnn {PUBLIC_FLAG}`, "
                f"or `jupyter charrnn` with {PUBLIC_VARIABLE}=1 in its environment, and without CharRNNServer.public"
            )
            if self.is_own_server:
                sys.exit(problem)
            raise InvalidSettings(problem)

    def _link_jupyter_server_extension(self, serverapp: ServerApp) -> None:
        """Take over what is configured. From here on, whoever prints configuration prints no secrets."""
        hide_secrets(serverapp.config)
        super()._link_jupyter_server_extension(serverapp)
        hide_secrets(serverapp.config)  # with what a file of our own has added
        hide_secrets(self.config)

    def initialize_settings(self) -> None:
        """Make what handlers find in `settings["charrnn"]`, which is this object. Nothing is opened."""
        if self.is_own_server:
            assert self.serverapp is not None
            for handler in [*self.serverapp.log.handlers, *self.log.handlers]:
                handler.addFilter(needs_attention)
                handler.addFilter(without_controls)
        self._has_begun = True
        self._pool = ThreadPoolExecutor(self.threads, "charrnn")
        self._long = ThreadPoolExecutor(self.long_threads, "charrnn-long")
        self._opening = threading.Lock()
        self._workspace: Workspace | None = None
        self._stopping = threading.Event()
        self._supervisor: threading.Thread | None = None
        self._warming: asyncio.Task[None] | None = None
        self._hub: Hub | None = None
        self._writing: Writing | None = None
        self._dashboards: Dashboards | None = None

    def _prepare_handlers(self) -> None:
        """Add our routes to the server's: in somebody else's, with the first request for one of them.

        Raises InvalidSettings where a public launch was asked for too late.
        """
        self._refuse_to_be_public()
        if self.is_own_server:
            super()._prepare_handlers()  # type: ignore[no-untyped-call]
            return
        assert self.serverapp is not None
        application = self.serverapp.web_app
        ours = PathMatches(re.escape(url_path_join(self.serverapp.base_url, "charrnn")) + "(?:/.*)?$")
        later = FirstUse(application, super()._prepare_handlers)
        application.add_handlers(".*$", [Rule(ours, later)])  # type: ignore[no-untyped-call]

    def initialize_handlers(self) -> None:
        """Name our routes."""
        importlib.import_module("charrnn_server.metrics")  # they show before anything is counted
        from charrnn_server.handlers import routes

        self.handlers.extend(routes())

    async def _start_jupyter_server_extension(self, _: object) -> None:
        """In a server of our own trainings go on at once; in somebody else's nothing happens until it is asked for."""
        if self.is_own_server:
            end_at_interrupt()
            self.ensure_supervised()
            self._warming = asyncio.create_task(self._warm())

    async def _warm(self) -> None:
        """Open what the first request will need, while the server answers others."""

        def open_workspace() -> None:
            from charrnn_server import contract

            contract.schema("training")
            self.workspace.list(limit=1)

        with suppress(CharRNNError):  # whoever asks is told
            await self.run(open_workspace)
            if self.spare_dashboards:
                asyncio.get_running_loop().call_later(AFTER_START, self.dashboards.begin)

    async def stop_extension(self) -> None:
        """Let workers save what they have learned, and close what was opened."""
        if not self._has_begun:  # Jupyter ends what it has refused, too
            return
        self._stopping.set()
        if self._hub is not None:
            self._hub.close()
        if self._writing is not None:
            self._writing.close()
        if self._dashboards is not None:
            await self._dashboards.close()
        if self._supervisor is not None:
            await asyncio.get_running_loop().run_in_executor(None, self._supervisor.join)
        if self._warming is not None:
            self._warming.cancel()
        for pool in (self._pool, self._long):
            pool.shutdown(wait=False, cancel_futures=True)
        if self._workspace is not None:
            self._workspace.close()

    @property
    def is_own_server(self) -> bool:
        """Whether `jupyter charrnn` started this server, and not somebody who has other things to do in it too."""
        return self.serverapp is not None and self.serverapp.starter_app is self

    @property
    def stopping(self) -> bool:
        """Whether the server is about to end, and nothing long should go on."""
        return self._stopping.is_set()

    async def run(self, function: Callable[..., Result], *arguments: Any, **options: Any) -> Result:
        """What `function` returns, called in a thread: where whatever may wait for database or files belongs."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, partial(function, *arguments, **options))

    async def run_long(self, function: Callable[..., Result]) -> Result:
        """The same for what takes more than a moment: few at a time, so that the rest need not wait for them."""
        return await asyncio.get_running_loop().run_in_executor(self._long, function)

    # what is made at first use, on the event loop ---------------------------------------------------------------------

    @property
    def hub(self) -> Hub:
        """Who listens to what happens to models."""
        if self._hub is None:
            from charrnn_server.events import Finding, Hub

            async def look(id: str, position: Position) -> Finding:
                return await self.run(lambda: Finding.of(self.workspace.news(id, position)))

            async def glance(ids: Collection[str]) -> Mapping[str, Glance]:
                return await self.run(lambda: self.workspace.glances(ids))

            self._hub = Hub(look, glance, tick=self.tick, heartbeat=self.heartbeat, most=self.listeners)
        return self._hub

    @property
    def writing(self) -> Writing:
        """Who has models write."""
        if self._writing is None:
            from charrnn_server.generation import Writing

            self._writing = Writing(streams=self.streams)
        return self._writing

    @property
    def dashboards(self) -> Dashboards:
        """Who has which dashboard open."""
        if self._dashboards is None:
            from charrnn_server.dashboard import kernels, notebook

            assert self.serverapp is not None
            self._dashboards = kernels.Dashboards(
                environment=lambda: self.configured().environment(),
                notebook=lambda: Path(self.dashboard) if self.dashboard else notebook.find(),
                limit=lambda: self.configured().max_dashboards or kernels.room_for_dashboards(),
                each=self.dashboards_each, spare=self.spare_dashboards,
                abandoned=self.abandoned, unopened=self.unopened, connections=self.serverapp.runtime_dir, log=self.log,
            )  # fmt: skip
        return self._dashboards

    # what is opened at first use, from any thread ---------------------------------------------------------------------

    @property
    def workspace(self) -> Workspace:
        """The workspace of whoever sits at this machine. Raises InvalidSettings."""
        with self._opening:
            if self._workspace is None:
                from charrnn.workspace import Workspace

                self._workspace = Workspace(settings=self.configured())
            return self._workspace

    def configured(self) -> Settings:
        """The settings: these traits, else the environment, else defaults. Raises InvalidSettings."""
        from charrnn.config import Settings

        given = {name: getattr(self, name) for name in Settings.model_fields}
        return Settings(**{name: value for name, value in given.items() if value is not None})

    def workspace_of(self, user: User) -> Workspace:
        """The models as this user may see them."""
        name, origin = self.account_of(user)
        return self.workspace.as_user(name, origin=origin)

    def account_of(self, user: User) -> tuple[str | None, str | None]:
        """Whom the workspace knows this user as, and an account that is charged along with theirs.

        Where Jupyter only asks for a token or a password, whoever has it is the person at this machine. An identity
        provider that knows people, such as JupyterHub's, says who it is.
        """
        assert self.serverapp is not None
        knows_people = type(self.serverapp.identity_provider) not in _STOCK
        return (user.username if knows_people else None), None

    def admin_link(self, user: User) -> str | None:
        """What stands on a link to the page where one becomes an admin; None: there is no such page."""
        return None

    @property
    def dashboards_each(self) -> int | None:
        """How many dashboards one person may have open; None: any number."""
        return None

    def upload_begins(self, user: User) -> None:
        """A file of somebody begins to come in. Raises QuotaExceeded where that are too many at a time."""

    def upload_ends(self, user: User) -> None:
        """A file that was begun is there, or will never be."""

    def ensure_supervised(self) -> None:
        """Train what is queued from now on, in workers of this server; nothing happens if it does already."""
        with self._opening:
            if self.supervise and self._supervisor is None and not self._stopping.is_set():
                self._supervisor = threading.Thread(target=self._supervise, name="charrnn-supervise")
                self._supervisor.start()

    def _supervise(self) -> None:
        told = ""
        while not self._stopping.is_set():
            try:
                supervisor = self.workspace.supervisor()
            except CharRNNError as error:  # the database is not there yet, or not as it should be
                if str(error) != told:
                    told = str(error)
                    self.log.warning("nothing can be trained yet: %s", error)
                self._stopping.wait(AGAIN_SECONDS)
            else:
                supervisor.run(self._stopping)


def needs_attention(record: logging.LogRecord) -> bool:
    """Whether a line of the log tells something: some are said, or said with no words, when any page comes or goes."""
    message = record.getMessage().strip()
    return record.levelno > logging.WARNING or (message != "" and not message.startswith(EVERYDAY))


def without_controls(record: logging.LogRecord) -> bool:
    """Let a line of the log be seen as it is: what steers terminals may come with any address."""
    message = record.getMessage()
    shown = "".join(each if each.isprintable() or each in "\n\t" else ascii(each)[1:-1] for each in message)
    if shown != message:
        record.msg, record.args = shown, ()
    return True


def end_at_interrupt() -> None:
    """Let an interrupt end the server as SIGTERM does, where Jupyter has no terminal in which to ask whether it should.

    Else it would only leave the event loop, and trainings would go on in a process that answers nobody.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.getsignal(signal.SIGTERM))


def public_variable() -> bool:
    """Whether the environment asks for a public launch. Raises InvalidSettings for what is neither yes nor no."""
    value = os.environ.get(PUBLIC_VARIABLE, "").strip().lower()
    if value not in ("", "0", "1", "false", "true", "no", "yes", "off", "on"):
        raise InvalidSettings(f"{PUBLIC_VARIABLE}: 1 or 0 would be right, not {value[:60]!r}")
    return value in ("1", "true", "yes", "on")


def main() -> None:
    """`jupyter charrnn`: for whoever has the token or, with `--public`, for visitors."""
    arguments = sys.argv[1:]
    try:
        public = PUBLIC_FLAG in arguments or public_variable()
    except InvalidSettings as error:
        sys.exit(str(error))
    server: type[CharRNNServer] = CharRNNServer
    if public:
        from charrnn_server.public import PublicCharRNNServer

        server = PublicCharRNNServer
    rest = [argument for argument in arguments if argument != PUBLIC_FLAG]
    server.launch_instance(rest)  # type: ignore[no-untyped-call]
