from __future__ import annotations

from tests.mariadb import database_url, mariadb, mariadb_server

__all__ = ["database_url", "mariadb", "mariadb_server"]
