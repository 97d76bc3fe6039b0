"""For whom a process is, and what it may take of the machine."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.command_line import variables
from tests.server.running import PACKAGES

TAKE = """
from charrnn.widgets import visitor
from charrnn.widgets.view import described
visitor.enter({who})
try:
    print(len(bytearray({size})))
except MemoryError as error:
    print(described(error)["message"])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a process is not told how much memory it has")
@pytest.mark.parametrize(
    ("who", "size", "told"),
    [
        ('"visitor-1", "address-1"', 1 << 28, str(1 << 28)),
        ('"visitor-1", "address-1"', 3 << 29, "This takes more memory than there is: ask for less at a time."),
        ("", 3 << 29, str(3 << 29)),
    ],
)
def test_a_visitor_takes_a_part_of_the_memory_and_whoever_sits_here_all(who: str, size: int, told: str) -> None:
    result = subprocess.run(
        [sys.executable, "-c", TAKE.format(who=who, size=size)], env=variables(PYTHONPATH=PACKAGES),
        capture_output=True, encoding="utf-8", timeout=120, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert (result.stdout.strip(), result.stderr) == (told, "")
