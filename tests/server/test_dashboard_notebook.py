"""The notebook of the dashboard is found wherever the package is installed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import charrnn
import charrnn_server
from tests.command_line import variables

ROOT = Path(charrnn.__file__).parent.parent
FIND = """
import json, charrnn
from charrnn_server.dashboard import notebook
print(json.dumps([charrnn.__file__, str(notebook.find())]))
"""


def installed(folder: Path, *, notebook: bool = True) -> None:
    """What a wheel has, in the places where an installer puts it."""
    shared = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    ignored = shutil.ignore_patterns("__pycache__")
    for package in (charrnn, charrnn_server):
        source = Path(package.__file__).parent
        shutil.copytree(source, folder / source.name, ignore=ignored)
    if notebook:
        target = folder / shared["shared-data"]["notebooks/dashboard.ipynb"]
        target.parent.mkdir(parents=True)
        shutil.copy(ROOT / "notebooks" / "dashboard.ipynb", target)


def found(packages: str) -> list[Path]:
    """Where the package is, and the notebook, for a Python that finds packages there."""
    result = subprocess.run(
        [sys.executable, "-P", "-c", FIND], capture_output=True, text=True, check=False, timeout=120,
        env=variables(PYTHONPATH=packages),
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return [Path(each) for each in json.loads(result.stdout)]


def test_an_installed_package_has_it_among_its_shared_files(tmp_path: Path) -> None:
    installed(tmp_path)
    package, notebook = found(str(tmp_path))
    assert package == tmp_path / "charrnn" / "__init__.py"
    assert notebook == tmp_path / "share" / "charrnn" / "notebooks" / "dashboard.ipynb"
    assert json.loads(notebook.read_text())["cells"]


def test_a_checkout_uses_its_own() -> None:
    _, notebook = found(f"{ROOT}:{ROOT / 'server_ext'}")
    assert notebook == ROOT / "notebooks" / "dashboard.ipynb"


def test_where_there_is_none_it_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from charrnn_server.dashboard import notebook

    monkeypatch.setattr(notebook, "places", lambda: iter([tmp_path / "dashboard.ipynb"]))
    with pytest.raises(notebook.NoDashboard, match=r"dashboard\.ipynb is not installed"):
        notebook.find()
