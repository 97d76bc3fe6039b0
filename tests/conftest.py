"""The servers that tests of several parts need. A server starts when the first test asks for it."""

from __future__ import annotations

import signal

from hypothesis import HealthCheck, settings

from tests.mariadb import database_url, mariadb, mariadb_server, mysql_server
from tests.s3 import s3, s3_server

__all__ = ["database_url", "mariadb", "mariadb_server", "mysql_server", "s3", "s3_server"]

# The same examples in every run, however busy the machine is.
settings.register_profile(
    "charrnn", deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)  # fmt: skip
settings.load_profile("charrnn")

# Whoever runs the tests in the background of a shell has them ignore Ctrl-C, and what they start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
