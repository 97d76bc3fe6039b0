"""Ports for servers of tests: those that the system gives to nobody who only wants to connect to somewhere.

A port of the range that connections get theirs from may be taken by any of them between the moment it was looked for
and the moment its server listens there, or while a server is down and to be started again.
"""

from __future__ import annotations

import os
import random
import socket
from pathlib import Path

LOWEST = 10_000
_chance = random.Random(os.getpid())  # other runs of the tests begin elsewhere
_given: set[int] = set()


def free_port() -> int:
    """A port that nobody listens on and that was not given to anybody in this process."""
    highest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0]) - 1
    while True:
        port = _chance.randint(LOWEST, max(highest, LOWEST + 20_000))
        if port in _given:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given.add(port)
        return port
