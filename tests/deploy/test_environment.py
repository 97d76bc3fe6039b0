"""What conda and Binder install is what pyproject.toml says: the same packages, in the same ranges."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parent.parent.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CONDA_FORGE = {"jupyter-server": "jupyter_server"}  # names that differ there from PyPI's
EXTRAS = {"pymysql": {"cryptography": SpecifierSet("")}}  # what pymysql[rsa] asks for
FROM_PYPI = {"tensorflow"}
OURS = {"python", "pip"}


def environment(path: str) -> tuple[dict[str, SpecifierSet], list[str]]:
    """The ranges of what comes from conda-forge, and the lines for pip."""
    document = yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))
    assert document["name"] == "charrnn"
    assert document["channels"] == ["conda-forge", "nodefaults"]
    *packages, last = document["dependencies"]
    ranges = {}
    for line in packages:
        found = re.fullmatch(r"([\w-]+)(?:\s+([<>=!].*)|(=\d+\.\d+))?", line)
        assert found is not None, line
        ranges[found[1]] = SpecifierSet(found[2] or (f"={found[3]}.*" if found[3] else ""))
    assert len(ranges) == len(packages)
    return ranges, last["pip"]


def wanted() -> dict[str, Requirement]:
    """What the project needs, with storage in S3, which whoever deploys it wants."""
    lines = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["s3"]]
    return {requirement.name: requirement for requirement in map(Requirement, lines)}


def test_conda_installs_what_the_project_needs_in_the_same_ranges_and_nothing_else() -> None:
    found, _ = environment("environment.yml")
    expected: dict[str, SpecifierSet] = {}
    for name, requirement in wanted().items():
        if name not in FROM_PYPI:
            expected[CONDA_FORGE.get(name, name)] = requirement.specifier
            expected |= EXTRAS[name] if requirement.extras else {}
    assert {name: found[name] for name in found.keys() - OURS} == expected
    assert found["python"] == SpecifierSet(PROJECT["requires-python"])


def test_pip_brings_the_rest_and_the_project_itself() -> None:
    _, lines = environment("environment.yml")
    assert [Requirement(line) for line in lines[:-1]] == [wanted()[name] for name in sorted(FROM_PYPI)]
    assert lines[-1] == "-e ."


def test_binder_installs_the_same_with_one_python_of_those_that_are_supported() -> None:
    here, here_lines = environment("environment.yml")
    there, there_lines = environment("binder/environment.yml")
    (python,) = there.pop("python")
    assert python.operator == "=="
    assert python.version.removesuffix("*") + "0" in here.pop("python")
    assert there == here
    assert there_lines == here_lines[:-1]  # where `-e .` would be another folder


def test_binder_finds_a_version_of_python_that_it_can_read() -> None:
    lines = (ROOT / "binder" / "environment.yml").read_text(encoding="utf-8")
    assert re.search(r"^  - python\s*=+\s*3\.\d+$", lines, re.MULTILINE)


def test_binder_opens_with_the_dashboard(tmp_path: Path) -> None:
    """Whichever of Jupyter's servers that starts."""
    script = ROOT / "binder" / "postBuild"
    assert os.access(script, os.X_OK)
    python = tmp_path / "python"  # in the place of Binder's, which is there to be changed
    python.write_text(f'#!/bin/sh\n[ "$1" = -m ] || echo {tmp_path}\n')
    python.chmod(0o755)
    subprocess.run([script], env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}, timeout=60, check=True)
    shown = subprocess.run(
        [sys.executable, "-m", "jupyter_server", "--show-config-json"],
        env={**os.environ, "JUPYTER_CONFIG_PATH": str(tmp_path / "etc" / "jupyter")}, timeout=120, check=True,
        capture_output=True, encoding="utf-8",
    )  # fmt: skip
    config = json.loads(shown.stdout)
    assert {config[app]["default_url"] for app in ("ServerApp", "LabApp", "JupyterNotebookApp")} == {"/charrnn"}
