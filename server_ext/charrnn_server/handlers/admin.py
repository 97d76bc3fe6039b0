"""Where a visitor becomes an admin, and an admin a visitor again; in the public launch only.

It knows the form. It does not know what an admin may do, which the policy does, nor how the server remembers them.
"""

from __future__ import annotations

from urllib.parse import parse_qs

from jupyter_server.utils import url_path_join
from tornado.web import HTTPError

from charrnn_server import asked
from charrnn_server.handlers.base import action
from charrnn_server.handlers.page import Page
from charrnn_server.public import ADMIN, Visitors


class AdminPage(Page):
    """Asks for the token, and takes it; asks an admin whether to be none any more."""

    body_limit = 10_000

    @property
    def visitors(self) -> Visitors:
        """Who knows admins. Raises HTTPError 404 where there are none."""
        provider = self.identity_provider
        assert isinstance(provider, Visitors)
        if not provider.has_admins:
            raise HTTPError(404, "nobody can become an admin here: CHARRNN_ADMIN_TOKEN is not set")
        return provider

    @action("read")
    async def get(self) -> None:
        asked.query(self.request)
        self.ask_for_it()

    @action("read")
    async def post(self) -> None:
        form = parse_qs(self._body.decode("utf-8", "replace"))
        given = form.get("token", [""])[0].strip()
        if "leave" in form:
            self.visitors.be_nobody_special(self)
        elif not self.visitors.is_admin_token(given):
            wrong = "That is not the token." if given else "Enter the token."
            self.ask_for_it(f"{wrong} Whoever runs this server has set it, as CHARRNN_ADMIN_TOKEN.", 403)
            return
        else:
            self.visitors.be_admin(self)
        self.redirect(url_path_join(self.base_url, "charrnn"), status=303)

    def ask_for_it(self, message: str = "", status: int = 200) -> None:
        """Answer with the form."""
        assert self.visitors
        assert self.current_user is not None
        self.render_page("admin.html", status, message=message, admin=self.current_user.username == ADMIN)


ROUTES = [("/charrnn/admin", AdminPage)]
