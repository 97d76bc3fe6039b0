"""Where the notebook is that makes the dashboard. It knows how the package can be installed, not what is in there."""

from __future__ import annotations

import site
import sys
from collections.abc import Iterator
from pathlib import Path

import charrnn
from charrnn.errors import CharRNNError

NAME = "dashboard.ipynb"
SHARED = Path("share", "charrnn", "notebooks")  # where a wheel puts it, below the prefix it is installed to


class NoDashboard(CharRNNError):
    """There is no notebook to make the dashboard with."""


def places() -> Iterator[Path]:
    """Where it may be. Of a checkout that is imported from, the checkout's own comes first: it may be newer."""
    root = Path(charrnn.__file__).parent.parent
    if (root / "pyproject.toml").is_file():
        yield root / "notebooks" / NAME
    prefixes = [root, Path(sys.prefix)]  # the first for `pip install --target`
    if site.ENABLE_USER_SITE:
        prefixes.insert(0, Path(site.getuserbase()))
    for prefix in prefixes:
        yield prefix / SHARED / NAME


def find() -> Path:
    """The notebook. Raises NoDashboard."""
    for path in places():
        if path.is_file():
            return path
    raise NoDashboard(f"{NAME} is not installed: {SHARED} is not where the package's shared files should be")
