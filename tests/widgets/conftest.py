"""What the tests of widgets share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from charrnn import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    """A workspace in a folder of its own."""
    workspace = Workspace(data_folder=tmp_path / "data")
    yield workspace
    workspace.close()
