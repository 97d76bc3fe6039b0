"""The Jupyter server that `jupyter charrnn` starts: it says where it is, and otherwise only what needs attention.

It knows Jupyter's words. It does not know what is served.
"""

from __future__ import annotations

import logging

from jupyter_server.serverapp import ServerApp
from traitlets import default

WILDCARDS = {"", "*", "0.0.0.0", "::"}  # addresses of a server that listens to other machines too


class OwnServerApp(ServerApp):
    """A Jupyter server with a line in place of Jupyter's greeting, and without its question at Ctrl-C.

    Nothing is lost when it ends. `--log-level=INFO` tells more.
    """

    @default("answer_yes")
    def _default_answer_yes(self) -> bool:
        return True

    @default("log_level")
    def _default_log_level(self) -> int:
        return logging.WARNING

    def running_server_info(self, kernel_count: bool = True) -> str:
        """The address to open; for a server that other machines may use, the one for them and the one here."""
        addresses = self.display_url.split()
        return "charrnn is at " + "\n           or ".join(addresses if self.ip in WILDCARDS else addresses[:1])

    def start_app(self) -> None:
        """Start, and say where. What Jupyter says of that is heard only if it ends with it."""
        greeting = _Held()
        self.log.addFilter(greeting)
        try:
            super().start_app()
        except SystemExit:
            self.log.removeFilter(greeting)
            for record in greeting.records:
                self.log.handle(record)
            raise
        self.log.removeFilter(greeting)
        print(self.running_server_info())
        print("Ctrl-C ends it. What is being trained is saved then, and goes on with the next start.", flush=True)


class _Held(logging.Filter):
    """Keeps what is said, but for errors."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno == logging.ERROR:
            return True
        self.records.append(record)
        return False
