"""What this machine's processor can do, as Linux tells it. Imports nothing that is slow.

It knows names of instruction sets. It does not know what is computed with them.
"""

from __future__ import annotations

from pathlib import Path


def features() -> frozenset[str]:
    """The flags of the first processor, such as avx2 or avx512_bf16; empty where there is no /proc/cpuinfo."""
    try:
        with Path("/proc/cpuinfo").open(encoding="ascii", errors="replace") as file:
            line = next((line for line in file if line.startswith("flags")), "")
    except OSError:
        return frozenset()
    return frozenset(line.partition(":")[2].split())
