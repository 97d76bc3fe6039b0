"""The workflow calls what is there, on every Python that is supported, and may do nothing but read."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent.parent
WORKFLOW: dict[Any, Any] = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text(encoding="utf-8"))
JOBS: dict[str, dict[str, Any]] = WORKFLOW["jobs"]
STEPS = [step for job in JOBS.values() for step in job["steps"]]


def test_it_runs_for_changes_and_may_only_read() -> None:
    assert set(WORKFLOW[True]) == {"push", "pull_request"}  # YAML takes `on` for a yes
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert not any("permissions" in job for job in JOBS.values())


def test_every_job_has_an_end() -> None:
    assert set(JOBS) == {"test", "wheel", "image"}
    assert all(0 < job["timeout-minutes"] <= 180 for job in JOBS.values())


def test_actions_are_of_a_named_major_version() -> None:
    used = [step["uses"] for step in STEPS if "uses" in step]
    assert used
    assert all(re.fullmatch(r"actions/[\w-]+@v\d+", name) for name in used)


def test_what_it_runs_exists_and_may_be_run() -> None:
    lines = "\n".join(step["run"] for step in STEPS if "run" in step)
    scripts = re.findall(r"(?<![\w./-])((?:scripts|\.ci)/[\w.-]+)", lines)
    assert {".ci/run", "scripts/check_wheel.sh"} <= set(scripts)
    assert all(os.access(ROOT / script, os.X_OK) for script in scripts)
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z]+)", lines)) <= targets
    assert "make test" in (ROOT / ".ci/run").read_text(encoding="utf-8")


def test_the_tests_run_on_every_python_that_is_supported_beside_a_mysql_that_they_use() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    supported = [line.rpartition(" ")[2] for line in project["classifiers"] if re.search(r":: 3\.\d+$", line)]
    job = JOBS["test"]
    assert job["strategy"]["matrix"]["python"] == supported
    assert job["services"]["mysql"]["image"] == "mysql:8"
    password = job["services"]["mysql"]["env"]["MYSQL_ROOT_PASSWORD"]
    assert job["env"]["CHARRNN_TEST_MYSQL_URL"] == f"mysql://root:{password}@mysql:3306"


@pytest.mark.parametrize("name", ["wheel", "image"])
def test_what_is_shipped_is_built_and_started(name: str) -> None:
    lines = "\n".join(step.get("run", "") for step in JOBS[name]["steps"])
    assert {"wheel": "pip wheel", "image": "docker build"}[name] in lines
    assert (ROOT / {"wheel": "pyproject.toml", "image": "Dockerfile"}[name]).exists()
