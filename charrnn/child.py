"""How this package starts a Python of its own that has the same package. It knows nothing of what that one does."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def python(module: str, *arguments: str) -> list[str]:
    """The command that runs `module` with this Python; the working directory is not searched for modules."""
    return [sys.executable, "-P", "-m", module, *arguments]


def environment(**more: str) -> dict[str, str]:
    """This process's environment, in which this very package is found, and what else is given."""
    package = str(Path(__file__).parent.parent)
    path = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path, **more}
