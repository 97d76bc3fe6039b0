"""`charrnn train` as a person uses it: progress, Ctrl-C, going on, older scripts' calls, and errors in one line."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

import charrnn
from tests.command_line import error, output, run, variables, words

# long enough to hold some of it out, easy enough to learn something of it in seconds
VERSE = "A small boat rocks beside the quiet pier,\nand counts the lamps that wake along the shore.\n"
SMALL = ("--rnn-size", "16", "--num_layers", "1", "--batch-size", "8", "--seq_length", "20")


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "verse.txt"
    path.write_text("".join(f"{number} {VERSE}" for number in range(800)), encoding="utf-8")
    return path


def inspected(path: Path, *, cwd: Path) -> dict[str, object]:
    data = json.loads(output("inspect", path, "--json", cwd=cwd))
    assert isinstance(data, dict)
    return data


def test_help_says_how_defaults_are_chosen_and_names_every_option(tmp_path: Path) -> None:
    text = output("train", "--help", cwd=tmp_path)
    assert "How defaults are chosen" in text
    for name in charrnn.TrainingOptions.model_fields:
        assert f"--{name.replace('_', '-')}" in text


def test_training_shows_plain_progress_saves_beside_itself_and_goes_on_only_when_asked(text: Path) -> None:
    folder = text.parent
    arguments = ("train", text, "-o", "m.safetensors", *SMALL)
    printed = output(*arguments, "--max-steps", "40", "--log-every", "10", cwd=folder)
    assert re.search(r"loss \d\.\d+ .*characters/s", printed)
    assert "\x1b" not in printed
    assert "charrnn sample m.safetensors" in printed
    assert (folder / "m.checkpoint.safetensors").exists()
    assert len(output("sample", "m.safetensors", "--length", "50", cwd=folder)) == 51

    before = (folder / "m.safetensors").read_bytes()
    assert "m.safetensors" in error(*arguments, "--max-steps", "40", cwd=folder)
    assert (folder / "m.safetensors").read_bytes() == before

    again = run(*arguments, "--max-steps", "40", "--resume", cwd=folder)
    assert again.returncode == 0, again.stderr
    assert "has ended at step 40" in again.stdout

    assert "rnn_size" in error(
        "train", text, "-o", "m.safetensors", "--rnn-size", "32", "--max-steps", "40", "--resume", cwd=folder
    )

    output(*arguments, "--max-steps", "60", "--resume", cwd=folder)
    assert inspected(folder / "m.safetensors", cwd=folder)["record"]["step"] == 60  # type: ignore[index]

    output(*arguments, "--max-steps", "10", "--force", cwd=folder)
    assert inspected(folder / "m.safetensors", cwd=folder)["record"]["step"] == 10  # type: ignore[index]


def test_ctrl_c_saves_and_says_how_to_go_on(text: Path) -> None:
    arguments = ("train", text, "-o", "my model.safetensors", *SMALL, "--minutes", "10", "--log-every", "10")
    with subprocess.Popen(
        words(*arguments),
        cwd=text.parent,
        env=variables(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert any("characters/s" in line for line in process.stdout)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the child, too
        rest, complaints = process.communicate(timeout=180)
    assert process.returncode == 130
    assert "Traceback" not in complaints
    assert "--resume" in rest
    assert "-o 'my model.safetensors'" in rest
    model = charrnn.load(text.parent / "my model.safetensors")
    assert not model.finished
    assert model.record["step"] > 0


def test_resume_without_a_checkpoint_begins_and_says_so(text: Path) -> None:
    printed = output("train", text, "-o", "m.safetensors", *SMALL, "--max-steps", "5", "--resume", cwd=text.parent)
    assert "beginning" in printed
    assert (text.parent / "m.safetensors").exists()


def test_a_terminal_shows_it_live(text: Path) -> None:
    import pty

    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        words("train", text, "-o", "m.safetensors", *SMALL, "--max-steps", "300", "--log-every", "20"),
        cwd=text.parent,
        env=variables(TERM="xterm-256color"),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    screen = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # how Linux ends a terminal that nobody writes to any more
            break
        if not piece:
            break
        screen += piece
    os.close(ours)
    assert process.wait(timeout=180) == 0, screen.decode(errors="replace")
    shown = screen.decode()
    for part in ("step", "loss", "characters/s", "left", "finished at step 300"):
        assert part in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown)


def test_the_classic_calls_work_as_written(text: Path) -> None:
    folder = text.parent
    (folder / "data").mkdir()
    text.rename(folder / "data" / "shakespeare.txt")
    output(
        *("train", "--input_file", "data/shakespeare.txt", "--name", "shakespeare", "--num_steps", "50"),
        *("--num_seqs", "32", "--learning_rate", "0.01", "--max_steps", "30", "--lstm_size", "16"),
        *("--num_layers", "2", "--train_keep_prob", "0.5", "--use_embedding", "--embedding_size", "12"),
        *("--log_every_n", "10", "--save_every_n", "10"),
        cwd=folder,
    )
    data = inspected(Path("model/shakespeare"), cwd=folder)
    options = data["options"]
    assert isinstance(options, dict)
    expected = {
        "batch_size": 32,
        "seq_length": 50,
        "learning_rate": 0.01,
        "schedule": "constant",
        "warmup_steps": 0,
        "max_steps": 30,
        "rnn_size": 16,
        "num_layers": 2,
        "dropout": 0.5,
        "embedding_size": 12,
        "log_every": 10,
        "save_every": 10,
    }
    assert {name: options[name] for name in expected} == expected
    written = output(
        *("sample", "--converter_path", "model/shakespeare/converter.pkl"),
        *("--checkpoint_path", "model/shakespeare/", "--max_length", "100", "--start_string", "The "),
        cwd=folder,
    )
    assert written.startswith("The ")
    assert len(written) == 4 + 100 + 1


def test_an_older_script_that_names_no_size_gets_the_originals(text: Path) -> None:
    output("train", "--input_file", text, "--name", "small", "--num_steps", "50", "--max_steps", "2", cwd=text.parent)
    data = inspected(Path("model/small"), cwd=text.parent)
    options = data["options"]
    assert isinstance(options, dict)
    assert (options["num_layers"], options["rnn_size"], options["schedule"]) == (2, 128, "constant")


def test_what_is_wrong_is_said_in_one_line(text: Path) -> None:
    folder = text.parent
    assert "FILE" in error("train", cwd=folder, code=2)
    assert "--input_file" in error("train", text, "--input_file", text, cwd=folder, code=2)
    assert ".safetensors" in error("train", text, "-o", "model.bin", cwd=folder, code=2)
    assert "--rnn-size" in error("train", text, "--rnn-size", "wide", cwd=folder, code=2)
    assert "rnn_size" in error("train", text, "--rnn-size", "-5", cwd=folder)
    assert "num_steps" in error("train", text, "--num_steps", "5", "--seq-length", "6", cwd=folder)
    assert "missing.txt" in error("train", "missing.txt", cwd=folder)
    (folder / "empty.txt").touch()
    assert "empty" in error("train", "empty.txt", cwd=folder)
    assert not list(folder.glob("*.safetensors"))
    assert not (folder / "model").exists()
