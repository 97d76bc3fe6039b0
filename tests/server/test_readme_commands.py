"""The README's commands for curl work as they are written, with a budget of a few steps in place of minutes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import charrnn
from tests.server.running import TOKEN, Server
from tests.test_readme import BLOCKS

SMALL = {"-F minutes=3": "-F max_steps=20 -F rnn_size=16"}  # minutes are more than a test has


def test_the_commands_for_curl_work_one_after_the_other(server: Server, tmp_path: Path) -> None:
    charrnn.samples.write("python", tmp_path / "shakespeare.txt", limit=100_000)
    lines = [line for kind, block in BLOCKS if kind == "sh" for line in block.splitlines()]
    commands = [line for line in lines if line.startswith(("curl ", "ID=$(curl "))]
    for long, short in SMALL.items():
        commands = [command.replace(long, short) for command in commands]
    script = [f"{command.replace('curl ', 'curl --fail-with-body ')}; echo; echo '-- next --'" for command in commands]
    result = subprocess.run(
        ["bash", "-euc", "\n".join(script)], cwd=tmp_path, capture_output=True, encoding="utf-8", timeout=600,
        check=False, env={"PATH": "/usr/bin:/bin", "SERVER": server.site, "TOKEN": TOKEN},
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    uploaded, listed, _, events, sample, text, _, rest = (part.strip() for part in result.stdout.split("-- next --"))
    assert rest == ""
    assert json.loads(uploaded)["name"] == "bard"
    assert json.loads(uploaded)["status"] == "queued"
    assert [model["name"] for model in json.loads(listed)["models"]] == ["bard"]
    assert events.rindex('"status": "complete"') > events.index("event: log")
    assert sample.startswith("ROMEO:")
    assert len(text) > 100
    assert charrnn.load(tmp_path / "bard.safetensors").generate("ROMEO:", length=10)
