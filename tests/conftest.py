"""The servers that tests of several parts need. A server starts when the first test asks for it."""

from __future__ import annotations

import signal

from tests.mariadb import database_url, mariadb, mariadb_server
from tests.s3 import s3, s3_server

__all__ = ["database_url", "mariadb", "mariadb_server", "s3", "s3_server"]

# Whoever runs the tests in the background of a shell has them ignore Ctrl-C, and what they start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
