"""What every page of ours does: answer in HTML, also when something is wrong, and ask whoever is not known to log in.

It knows templates and what a browser may load, which is nothing but the page itself. It does not know what the pages
show.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from asyncio import Future
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from jupyter_server.base.handlers import APIHandler
from jupyter_server.utils import url_path_join
from tornado import web

from charrnn_server.app import API
from charrnn_server.handlers.base import CharRNNHandler
from charrnn_server.shown import FILTERS

HTML = "text/html; charset=UTF-8"
TEMPLATES = Path(__file__).parent.parent / "templates"


@functools.cache
def templates() -> Environment:
    """The templates, in which everything is escaped and every name must be there."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters.update(FILTERS)
    environment.globals["style"] = style()
    return environment


@functools.cache
def style() -> str:
    """The one style sheet, which is written into every page."""
    return (TEMPLATES / "page.css").read_text(encoding="utf-8")


@functools.cache
def security_policy() -> str:
    """What a browser may do for a page: nothing, but show it in our style and send its forms to us."""
    digest = base64.b64encode(hashlib.sha256(style().encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'self'"
    )


def rendered(template: str, base_url: str, **names: Any) -> str:
    """A template as a page of a server whose addresses begin with `base_url`."""
    addresses = {"charrnn": url_path_join(base_url, "charrnn"), "api": url_path_join(base_url, API)}
    return templates().get_template(template).render({**addresses, **names})


class Page(CharRNNHandler):
    """A handler that answers with pages. Its methods are marked as those of every other handler."""

    @property
    def content_security_policy(self) -> str:
        return security_policy()

    def render_page(self, template: str, status: int = 200, **names: Any) -> None:
        """Answer with a template.

        Besides `names` it finds `charrnn` and `api`, the addresses below which pages and the API are, and `xsrf()`,
        the value of `_xsrf` in the address that a form is sent to.
        """
        self.show(rendered(template, self.base_url, xsrf=self._xsrf, **names), status)

    def show(self, html: str, status: int = 200) -> None:
        """Answer with a page."""
        self.set_status(status)
        self.finish(html)

    def _xsrf(self) -> str:
        return self.xsrf_token.decode()

    def finish(self, *arguments: Any, **options: Any) -> Future[Any]:
        return super().finish(*arguments, **{"set_content_type": HTML, **options})

    def get_login_url(self) -> str:
        """Where to log in; pages send people there, unlike the API."""
        return super(APIHandler, self).get_login_url()

    def turn_away(self) -> None:
        """Send somebody who is not known to log in, and back here after that; not where a form would be lost."""
        if self.request.method not in ("GET", "HEAD"):
            super().turn_away()
        web.authenticated(lambda page: None)(self)

    def tell(self, problem: dict[str, Any]) -> None:
        """Answer with a page that says what was wrong; the status is set."""
        status = self.get_status()
        self.render_page("error.html", status, title=f"{status} {self._reason}", message=problem["message"])
