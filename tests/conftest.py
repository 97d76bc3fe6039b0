"""The servers that tests of several parts need. A server starts when the first test asks for it."""

from __future__ import annotations

from tests.mariadb import database_url, mariadb, mariadb_server
from tests.s3 import s3, s3_server

__all__ = ["database_url", "mariadb", "mariadb_server", "s3", "s3_server"]
