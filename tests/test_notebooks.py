"""The notebooks run from top to bottom, in a folder they may not write to, and leave nothing behind.

Outputs that are the same on every machine are compared; the others only have to come without an error.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from charrnn_server import contract
from tests.command_line import variables
from tests.server.running import PACKAGES

FOLDER = Path(__file__).parent.parent / "notebooks"
NOTEBOOKS = sorted(path.name for path in FOLDER.glob("*.ipynb"))
LESSONS = [name for name in NOTEBOOKS if name[0].isdigit()]
PLACES = re.compile(r"(?<![\w.])/(?:tmp|home|root|Users|work|usr|opt|builds)/")


def cells(name: str, kind: str = "code") -> list[dict[str, Any]]:
    notebook = json.loads((FOLDER / name).read_text(encoding="utf-8"))
    return [cell for cell in notebook["cells"] if cell["cell_type"] == kind]


def test_the_lessons_are_there() -> None:
    assert [name[:2] for name in LESSONS] == ["01", "02", "03", "04"]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs_and_leaves_nothing_behind(name: str, tmp_path: Path) -> None:
    checkout, temporary = tmp_path / "checkout", tmp_path / "temporary"
    for folder in (checkout, temporary):
        folder.mkdir()
    shutil.copyfile(FOLDER / name, checkout / name)
    checkout.chmod(0o555)
    own = {"HOME": tmp_path / "home", "TMPDIR": temporary, "CHARRNN_DATA_FOLDER": tmp_path / "data"}
    own |= {f"JUPYTER_{kind}_DIR": tmp_path / "jupyter" / kind.lower() for kind in ("CONFIG", "DATA", "RUNTIME")}
    own |= {"IPYTHONDIR": tmp_path / "ipython"}
    paths = {variable: str(path) for variable, path in own.items()}
    others = {"PYTHONPATH": PACKAGES, "PYTHONDONTWRITEBYTECODE": "1", "CHARRNN_DATABASE_URL": "", "MYSQL_DATABASE": ""}
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider", "--nbval-lax",
         "--nbval-current-env", "--nbval-cell-timeout=900", name],
        cwd=checkout, env=variables(**paths, **others), capture_output=True, encoding="utf-8", timeout=1800,
        check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout[-8000:] + result.stderr[-2000:]
    assert os.listdir(checkout) == [name]  # noqa: PTH208
    assert [path.name for path in temporary.iterdir() if path.name != "pytest-of-root"] == []


@pytest.mark.parametrize("name", LESSONS)
def test_a_lesson_shows_what_it_did_and_not_where(name: str) -> None:
    for cell in cells(name):
        assert cell["execution_count"] is not None
        assert not PLACES.search(json.dumps(cell["outputs"])), cell["source"]
        assert all(output["output_type"] != "error" for output in cell["outputs"])
    assert any("# NBVAL_CHECK_OUTPUT" in "".join(cell["source"]) for cell in cells(name))


def test_the_lesson_on_http_asks_for_everything_that_can_be_asked() -> None:
    source = "".join("".join(cell["source"]) for cell in cells("04-rest-api.ipynb"))
    asked = {re.sub(r"\{\w+\}", "ID", path) for path in re.findall(r'"(/[\w{}/.]+)"', source)}
    for path in contract.document("/")["paths"]:
        if not path.startswith("/charrnn/api/v1/") or path.endswith("/visitors"):
            continue
        short = path.removeprefix("/charrnn/api/v1")
        kinds = ("training", "sampling") if "{kind}" in short else ("",)
        for kind in kinds:
            assert short.replace("{id}", "ID").replace("{kind}", kind) in asked, path


def test_lessons_lead_to_one_another() -> None:
    for name, following in itertools.pairwise(LESSONS):
        assert f"({following})" in "".join("".join(cell["source"]) for cell in cells(name, "markdown"))
