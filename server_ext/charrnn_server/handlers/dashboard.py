"""The dashboard: its page, which shows the newest models before anything else runs, and what that page asks for.

It knows the page, its addresses and who may ask for them. It does not know kernels, which `charrnn_server.dashboard`
does, nor the views.

The page is a whole document, sent at once. Its script then asks for a kernel (a POST with `_xsrf`, so that neither
crawlers nor other sites start any), while Voilà's front end loads beside it. All that this front end asks for lies
below `/charrnn/dashboard/`, where nothing of Jupyter's or of Voilà's own extension is.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
from typing import TYPE_CHECKING, Any

from jupyter_core.utils import ensure_async
from jupyter_server._tz import isoformat
from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection
from jupyter_server.services.kernels.websocket import KernelWebsocketHandler
from jupyter_server.utils import url_path_join
from tornado.web import GZipContentEncoding, HTTPError

from charrnn.errors import CharRNNError
from charrnn_server import asked
from charrnn_server.app import API
from charrnn_server.dashboard import front_end
from charrnn_server.dashboard.kernels import Busy, Dashboard, Dashboards
from charrnn_server.handlers.base import CharRNNHandler, action
from charrnn_server.handlers.page import TEMPLATES, Page

if TYPE_CHECKING:
    from charrnn.jobs.records import Page as PageOfModels
    from charrnn.workspace import Workspace

DASHBOARD = "/charrnn/dashboard"
KERNEL = r"([\w-]+)"
SHOWN = 20  # models on the first page
MESSAGE_LIMIT = 2_000_000  # bytes from a browser: texts go to the API
BUSY_SECONDS = 20


@functools.cache
def own(name: str) -> str:
    """A file of the page, which is written into it."""
    return (TEMPLATES / name).read_text(encoding="utf-8")


@functools.cache
def security_policy() -> str:
    """What a browser may do for the dashboard's page: everything only from here.

    Styles are set by Voilà's front end as it runs; widgets are modules that their models bring along (`blob:`).
    """
    digest = base64.b64encode(hashlib.sha256(own("dashboard.js").encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'self' 'sha256-{digest}' blob:; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'self'; object-src 'none'"
    )


class Compressed(Page):
    """A page that is sent compressed where the browser takes that."""

    async def prepare(self) -> None:  # type: ignore[override]
        await super().prepare()
        self._transforms.append(GZipContentEncoding(self.request))


class DashboardPage(Compressed):
    @property
    def content_security_policy(self) -> str:
        return security_policy()

    @action("read")
    async def get(self) -> None:
        asked.query(self.request)
        problem, models, full = None, None, False
        try:
            models = await self.run(newest)
            full = await self.app.dashboards.is_full()
        except CharRNNError as error:  # the page can be shown all the same
            problem = str(error)
        if full:
            self.set_header("Retry-After", str(BUSY_SECONDS))
        elif not problem:
            self.app.dashboards.begin()  # whoever opens a page will soon want a kernel
        dashboard = url_path_join(self.base_url, DASHBOARD)
        told = {
            "base_url": self.base_url, "api": url_path_join(self.base_url, API), "dashboard": dashboard,
            "xsrf": self._xsrf(),
        }  # fmt: skip
        self.set_header("Cache-Control", "no-store")
        self.render_page(
            "dashboard.html", 503 if full or problem else 200, models=models.models if models else (),
            total=models.total if models else 0, exact=models is None or models.exact, problem=problem, full=full,
            page=told, admin=self.app.admin_link(self.current_user), configuration=front_end.configuration(dashboard),
            own_style=own("dashboard.css"), own_script=own("dashboard.js"),
        )  # fmt: skip


def newest(workspace: Workspace) -> PageOfModels:
    """The newest models."""
    return workspace.list(limit=SHOWN)


class Asked(CharRNNHandler):
    """What the page's scripts ask for."""

    @property
    def dashboards(self) -> Dashboards:
        """All dashboards of this server."""
        return self.app.dashboards

    def theirs(self, id: str) -> Dashboard:
        """The dashboard of whoever asks. Raises HTTPError 404 for any other."""
        return theirs(self, id)


def theirs(handler: Any, id: str) -> Dashboard:
    """The dashboard with this kernel of whoever asks. Raises HTTPError 404 for any other."""
    app = handler.settings["charrnn"]
    user, _ = app.account_of(handler.current_user)
    dashboard: Dashboard | None = app.dashboards.of(id, user)
    if dashboard is None:
        raise HTTPError(404, "there is no such dashboard of yours")
    return dashboard


class OpenHandler(Asked):
    @action("execute")
    async def post(self) -> None:
        user, origin = self.app.account_of(self.current_user)
        self._gone = False
        try:
            opened = await self.dashboards.open(user, origin)
        except Busy as error:
            self.set_header("Retry-After", str(BUSY_SECONDS))
            self.reply({"message": str(error), "reason": "Busy"}, 503)
            return
        except CharRNNError as error:
            self.reply({"message": str(error), "reason": type(error).__name__}, 503)
            return
        if self._gone:
            await self.dashboards.end(self.theirs(opened.id))
            return
        self.reply({"id": opened.id, "outputs": opened.outputs}, 201)

    def on_connection_close(self) -> None:
        self._gone = True
        super().on_connection_close()


class KernelHandler(Asked):
    @action("read")
    async def get(self, id: str) -> None:
        self.dashboards.asked_for(self.theirs(id))
        model = self.dashboards.kernels.kernel_model(id)
        self.set_header("Cache-Control", "no-store")
        moment = model["last_activity"]
        self.reply({**model, "last_activity": moment if isinstance(moment, str) else isoformat(moment)})


class LeaveHandler(Asked):
    @action("execute")
    async def post(self, id: str) -> None:
        dashboard = self.theirs(id)
        self.set_status(204)
        self.finish()
        await self.dashboards.end(dashboard)


class Unlimited(ZMQChannelsWebsocketConnection):
    """A connection that drops nothing of what our own widgets have to say."""

    limit_rate = False


class ChannelsHandler(KernelWebsocketHandler):
    """The connection of a browser to its kernel. The kernels' manager lets only messages of widgets through."""

    auth_resource = "charrnn"
    _dashboard: Dashboard | None = None

    @property
    def kernel_manager(self) -> Any:
        return self.settings["charrnn"].dashboards.kernels

    @property
    def kernel_websocket_connection_class(self) -> Any:
        return Unlimited

    @property
    def max_message_size(self) -> int:
        return MESSAGE_LIMIT

    async def pre_get(self) -> None:
        """Judge the request before the connection is made."""
        if self.current_user is None:
            raise HTTPError(403, "nobody is logged in, and no token was sent")
        allowed = await ensure_async(
            self.authorizer.is_authorized(self, self.current_user, "execute", self.auth_resource)
        )
        if not allowed:
            raise HTTPError(403, f"{self.current_user.username} may not execute {self.auth_resource}")
        self._dashboard = theirs(self, self.kernel_id)
        self.connection = Unlimited(parent=self.kernel_manager.get_kernel(self.kernel_id), websocket_handler=self)
        session = self.get_argument("session_id", None)
        if session:
            self.connection.session.session = session
        await self.connection.prepare()

    async def get(self, id: str) -> None:
        self.kernel_id = id
        await self.pre_get()
        await super(KernelWebsocketHandler, self).get(kernel_id=id)

    get.action = "execute"  # type: ignore[attr-defined]  # who may not is refused by `pre_get`
    setattr(get, "__allow_unauthenticated", False)

    async def open(self, kernel_id: str) -> None:
        assert self._dashboard is not None
        self.settings["charrnn"].dashboards.connected(self._dashboard, self)
        await super().open(kernel_id)  # type: ignore[no-untyped-call]

    def on_close(self) -> None:
        if self._dashboard is not None:
            self.settings["charrnn"].dashboards.disconnected(self._dashboard, self)
        super().on_close()  # type: ignore[no-untyped-call]

    def write_error(self, status_code: int, **options: Any) -> None:
        """What was wrong, in a line."""
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps({"message": self._reason, "reason": self._reason}))


class FileHandler(Asked):
    """A file of Voilà's front end."""

    @action("read")
    async def get(self, _: str, path: str) -> None:
        found = await self.app.run(front_end.file, path)
        if found is None:
            raise HTTPError(404, "there is no such file")
        asset = await self.app.run(front_end.asset, found)
        body = asset.plain
        if asset.packed is not None:
            self.set_header("Vary", "Accept-Encoding")
            if "gzip" in self.request.headers.get("Accept-Encoding", ""):
                self.set_header("Content-Encoding", "gzip")
                body = asset.packed
            else:
                body = asset.unpacked()
        self.set_header("Cache-Control", "private, max-age=31536000, immutable")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.finish(body, set_content_type=asset.media)


ROUTES = [
    ("/charrnn/?", DashboardPage),
    (f"{DASHBOARD}/kernels", OpenHandler),
    (rf"{DASHBOARD}/kernels/{KERNEL}/leave", LeaveHandler),
    (rf"{DASHBOARD}/api/kernels/{KERNEL}", KernelHandler),
    (rf"{DASHBOARD}/api/kernels/{KERNEL}/channels", ChannelsHandler),
    (rf"{DASHBOARD}/files/(\w+)/([\w@./-]+)", FileHandler),
]
