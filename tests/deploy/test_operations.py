"""The operations page has the settings as they are, and the README leads to it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import yaml

from tests.command_line import variables
from tests.server.running import PACKAGES

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")


def test_the_tables_of_settings_are_those_of_the_settings() -> None:
    result = subprocess.run(
        [sys.executable, ROOT / "scripts" / "tables.py", "--check"], env=variables(PYTHONPATH=PACKAGES),
        capture_output=True, encoding="utf-8", timeout=300, check=False,
    )  # fmt: skip
    assert (result.returncode, result.stderr) == (0, "")


def test_the_readme_leads_to_it() -> None:
    assert "(docs/operations.md)" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_example_for_prometheus_can_be_read() -> None:
    example = PAGE.partition("```yaml\n")[2].partition("```")[0]
    (job,) = yaml.safe_load(example)["scrape_configs"]
    assert job["metrics_path"] == "/metrics"
    assert job["authorization"]["type"] == "token"
