"""The README's commands work as they are written, each with a budget of a few steps in place of minutes."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

import charrnn
from charrnn.cli import COMMANDS
from tests.command_line import output, variables, wait_for_supervisors

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(sh|python)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)

# Minutes are more than a test has. A small network makes as good a file.
SMALL = {
    "--minutes 3": "--max-steps 20 --rnn-size 16",
    "--max_steps 20000": "--max_steps 20 --lstm_size 16",
    "minutes=3": "max_steps=20, rnn_size=16",
    "continue plays --minutes 10": "continue plays --max-steps 1000",
    "charrnn supervise": "charrnn supervise --until-idle",  # which would go on for ever
}


def shortened(text: str) -> str:
    for long, short in SMALL.items():
        text = text.replace(long, short)
    return text


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the README's reader has the texts that it names, and a workspace of their own."""
    folder = tmp_path_factory.mktemp("readme")
    charrnn.samples.write("python", folder / "shakespeare.txt", limit=100_000)
    charrnn.samples.write("python", folder / "held-out.txt", limit=20_000)
    (folder / "data").mkdir()
    (folder / "data" / "shakespeare.txt").write_bytes((folder / "shakespeare.txt").read_bytes())
    yield folder
    wait_for_supervisors(folder / "workspace")


def run(command: list[str], folder: Path) -> str:
    own = {"CHARRNN_DATA_FOLDER": str(folder / "workspace"), "CHARRNN_DATABASE_URL": "", "CHARRNN_STORAGE_URL": ""}
    result = subprocess.run(
        command, cwd=folder, env=variables(**own), capture_output=True, encoding="utf-8", timeout=600, check=False
    )
    assert result.returncode == 0, f"{command[-1]}\n{result.stdout}\n{result.stderr}"
    return result.stdout


def test_the_shell_commands_work_one_after_the_other(folder: Path) -> None:
    lines = [line for kind, block in BLOCKS if kind == "sh" for line in block.splitlines()]
    commands = [line for line in lines if line.startswith("charrnn ")]
    assert len(commands) >= 20
    for command in commands:
        script = f'set -eu; charrnn() {{ "{sys.executable}" -m charrnn "$@"; }}; {shortened(command)}'
        assert run(["bash", "-c", script], folder) != ""


def test_the_python_blocks_work(folder: Path) -> None:
    blocks = [block for kind, block in BLOCKS if kind == "python"]
    assert len(blocks) >= 3
    for block in blocks:
        run([sys.executable, "-c", shortened(block)], folder)


def test_everything_else_a_reader_is_told_to_type_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z]+)", README))
    assert named <= targets
    lines = [line for kind, block in BLOCKS if kind == "sh" for line in block.splitlines()]
    rest = [line for line in lines if not line.startswith(("charrnn ", "make ", "curl ", "ID=$(curl "))]
    docker = [line.split() for line in rest if line.startswith("docker ")]
    assert [line for line in rest if not line.startswith("docker ")] == ["source .venv/bin/activate"]
    assert {words[1] for words in docker} == {"build", "run", "compose"}
    assert (ROOT / "Dockerfile").is_file()
    services = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8"))["services"]
    for words in docker:
        if words[1] == "compose":
            assert words[2:4] == ["-f", "deploy/compose.yaml"]
        if words[1] == "compose" and "charrnn" in words:
            at = words.index("charrnn")
            assert words[at - 1] in services, " ".join(words)
            assert words[at + 1] in COMMANDS, " ".join(words)


def test_every_option_in_the_readme_exists() -> None:
    help_texts = "".join(output(command, "--help") for command in COMMANDS)
    table = [line for line in README.splitlines() if line.startswith("| `--")]
    for option in re.findall(r"`(--[a-z-]+)`", "\n".join(table)):
        assert option in help_texts
