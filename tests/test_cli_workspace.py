"""The commands on the workspace, as a person or a script uses them: real processes, their output and exit codes."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import charrnn
from charrnn.cli import COMMANDS
from charrnn.network.model import Model
from charrnn.text.vocabulary import Vocabulary
from charrnn.workspace import Workspace
from tests.command_line import error, output, run, variables, wait_for_supervisors, words

TEXT = "The kettle hums a low brown tune,\nthe cat has claimed the chair,\n" * 40
TINY = ("--rnn-size", "8", "--batch-size", "4", "--seq-length", "16")


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """The workspace of the commands: a data folder of the test's own, where nothing is left at work."""
    for name in ("CHARRNN_DATABASE_URL", "CHARRNN_STORAGE_URL", "MYSQL_DATABASE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CHARRNN_DATA_FOLDER", str(tmp_path / "data"))
    workspace = Workspace()
    yield workspace
    for model in [model for model in workspace.list().models if model.active] * 2:
        workspace.stop(model.id)
    wait_for_supervisors(tmp_path / "data")
    workspace.close()


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "poems.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cli") / "small.safetensors"
    Model.initial("gru", Vocabulary("\n etaoinshrdlu"), rnn_size=8).save(path)
    return path


def until(condition: Callable[[], object], seconds: float = 180) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, f"not in {seconds} s: {condition}"
        time.sleep(0.05)


# -- what needs no training ---------------------------------------------------------------------------------------


def test_help_names_every_command_as_it_is_typed() -> None:
    lines = output("--help").splitlines()
    for command in COMMANDS:
        assert any(line.startswith(f"│ {command} ") for line in lines), command
        assert f"Usage: charrnn {command} " in output(command, "--help")


def test_a_model_is_made_shown_renamed_and_deleted_by_its_name(workspace: Workspace, text: Path) -> None:
    assert "there is none yet: charrnn new NAME FILE" in output("list")
    made = output("new", "poems 🙂", text, "--minutes", "2", "--rnn_size=8")
    assert "its text, poems.txt: 2,600 characters, 21 distinct" in made
    assert "train it: charrnn start 'poems 🙂'" in made
    id = workspace.find("poems 🙂").id
    assert id in made
    assert output("list").splitlines()[1].split() == [id, "ready", "poems", "🙂"]
    shown = output("show", "poems 🙂")
    for part in ("poems 🙂", id, "ready", "poems.txt", "The kettle hums", "rnn_size  8", "minutes   2", "note: Short:"):
        assert part in shown
    said = run("logs", "poems 🙂")
    assert (said.stdout, said.stderr) == ("", "poems 🙂 is ready\n")
    assert output("rename", id, "verse") == "it is called verse now\n"
    assert "say so with --yes" in error("delete", "verse", code=2)
    assert output("delete", "verse", "--yes") == "verse is deleted\n"
    assert "there is no model called 'verse'" in error("show", "verse")


def test_a_text_is_uploaded_from_a_file_from_standard_input_or_from_a_sample(workspace: Workspace, text: Path) -> None:
    made = output("new", "poems")
    assert "it needs a text: charrnn upload poems FILE" in made
    assert "its text, poems.txt" in output("upload", "poems", text)
    piped = subprocess.run(
        words("upload", "poems", "-"), env=variables(), input=TEXT.encode() * 2, capture_output=True, check=True
    )
    assert b"its text, text: 5,200 characters" in piped.stdout
    assert "its text, python: " in output("upload", "poems", "--sample", "python")
    assert "name the text to learn" in error("upload", "poems", code=2)
    assert "give either a text or the name of a sample" in error("upload", "poems", text, "--sample", "python")
    text.write_bytes(b"abc\xff")
    message = error("upload", "poems", text)
    assert "poems.txt is not UTF-8 at byte 3" in message
    assert str(workspace.settings.data_folder) not in message
    assert "No such option: --rnn-siez" in error("new", "other", "--rnn-siez", "3", code=2)
    assert "rnn_size: must be at least 1" in error("new", "other", "--rnn-size", "0")
    assert len(workspace.list().models) == 1


def test_several_models_of_one_name_are_told_apart_by_their_ids(workspace: Workspace, model_file: Path) -> None:
    older, newer = (workspace.import_model(model_file, "poems").id for _ in range(2))
    for command in (("sample", "poems"), ("show", "poems"), ("start", "poems"), ("delete", "poems", "--yes")):
        message = error(*command)
        assert "2 models are called 'poems'" in message
        assert older in message
        assert newer in message
    assert len(output("sample", older, "--length", "30")) == 31


def test_the_list_is_plain_lines_in_a_pipe_and_json_for_programs(workspace: Workspace, model_file: Path) -> None:
    ids = [workspace.import_model(model_file, f"model {number}").id for number in range(3)]
    first = run("list", "--limit", "2")
    assert [line.split()[0] for line in first.stdout.splitlines()] == ["id", ids[2], ids[1]]
    assert first.stderr == f"2 of 3; go on with --after {ids[1]}\n"
    assert ids[0] in output("list", "--limit", "2", "--after", ids[1])
    assert "\x1b" not in first.stdout
    data = json.loads(output("list", "MODEL", "--status", "complete", "--json"))
    assert [model["id"] for model in data["models"]] == ids[::-1]
    assert (data["total"], data["exact"], data["next"]) == (3, True, None)
    assert json.loads(output("list", "nothing", "--json"))["models"] == []
    shown = json.loads(output("show", "model 1", "--json"))
    assert (shown["id"], shown["status"], shown["place_in_queue"]) == (ids[1], "complete", None)
    assert "status: must be one of draft, ready" in error("list", "--status", "done")


def test_in_a_terminal_the_list_fits_its_width(workspace: Workspace) -> None:
    workspace.create("[red]name[/red] " + "long " * 35, TEXT.encode())
    screen = in_a_terminal("list", columns=80)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", screen).splitlines()
    assert all(len(line) <= 80 for line in lines), lines
    assert lines[0].split() == ["id", "status", "step", "done", "loss", "left", "name"]
    assert lines[1].split()[1:3] == ["ready", "[red]name[/red]"]
    assert "…" in lines[1]


def in_a_terminal(*arguments: str, columns: int) -> str:
    """What a command shows in a terminal of that width."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        words(*arguments), env=variables(COLUMNS=str(columns), TERM="xterm"), stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    pieces = []
    while select.select([ours], [], [], 180)[0]:
        try:
            piece = os.read(ours, 4096)
        except OSError:  # how Linux says that the other side is closed
            break
        pieces.append(piece)
    os.close(ours)
    assert process.wait(180) == 0
    return b"".join(pieces).decode()


def test_a_model_file_comes_and_goes_unchanged(workspace: Workspace, model_file: Path, tmp_path: Path) -> None:
    imported = output("import", model_file)
    assert "write with it: charrnn sample small" in imported
    out = tmp_path / "out.safetensors"
    assert f"charrnn sample {out}" in output("export", "small", out)
    assert out.read_bytes() == model_file.read_bytes()
    assert "exists; force replaces it" in error("export", "small", out)
    output("export", "small", out, "--force")
    assert "must end in .safetensors" in error("export", "small", tmp_path / "out", code=2)
    assert "'small' came without a text and cannot be trained; fork it with one" in error("start", "small")
    (tmp_path / "bad.safetensors").write_bytes(b"bad")
    assert "bad.safetensors: cut off or empty" in error("import", tmp_path / "bad.safetensors")


def test_sample_takes_a_file_where_there_is_one_and_else_a_name(
    workspace: Workspace, model_file: Path, tmp_path: Path
) -> None:
    arguments = ("--prompt", "the ", "--length", "40", "--seed", "3", "--temperature", "0.5")
    expected = output("sample", model_file, *arguments)
    id = workspace.import_model(model_file, "poems").id
    for name in ("poems", "POEMS", id):
        assert output("sample", name, *arguments, cwd=tmp_path) == expected
    assert output("sample", "poems", "--count", "2", "--length", "5").count("---") == 4
    workspace.set_sampling(id, prompt="the ", length=40, seed=3, temperature=0.5)
    assert output("sample", "poems") == expected
    (tmp_path / "poems").mkdir()
    assert "model.safetensors is missing" in error("sample", "poems", cwd=tmp_path)
    assert "does not exist" in error("sample", "poems.safetensors", cwd=tmp_path)
    assert "there is neither a file nor a model 'prose'" in error("sample", "prose")
    young = workspace.create("young", TEXT.encode())
    assert f"'{young.name}' is ready and has learned nothing yet" in error("sample", "young")


def test_a_file_is_written_with_without_a_look_at_the_workspace(model_file: Path, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom charrnn.cli import main\n"
        f"assert main(['sample', {str(model_file)!r}, '--length', '5']) == 0\n"
        "print([name for name in ('charrnn.workspace', 'sqlalchemy', 'fsspec', 'pydantic') if name in sys.modules])"
    )
    environment = variables(CHARRNN_DATA_FOLDER=str(tmp_path / "data"))
    printed = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True)
    assert printed.stdout.endswith(b"\n[]\n")
    assert not (tmp_path / "data").exists()


def test_a_server_database_is_made_ready_once_and_says_when_nobody_trains(
    mariadb: str, workspace: Workspace, text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHARRNN_DATABASE_URL", mariadb)
    assert "run `charrnn db upgrade`" in error("list")
    assert "is ready, revision" in output("db", "upgrade")
    assert "is up to date, revision" in output("db", "upgrade")
    output("new", "poems", text)
    started = run("start", "poems")
    assert started.returncode == 0
    assert "poems is queued, number 1 in the queue" in started.stdout
    assert "nobody trains what is queued in this database: run charrnn supervise" in started.stderr
    assert output("stop", "poems") == "poems is out of the queue; put it back: charrnn start poems\n"
    assert output("stop", "poems") == "poems is not being trained: it is ready\n"


def test_a_setting_that_cannot_be_is_one_line_that_names_its_variable(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHARRNN_DATABASE_URL", "postgres://user:s3cret@host/name")
    message = error("list")
    assert "CHARRNN_DATABASE_URL" in message
    assert "s3cret" not in message


# -- training -----------------------------------------------------------------------------------------------------


def test_a_training_goes_on_in_the_background_and_is_followed_continued_and_forked(
    workspace: Workspace, text: Path
) -> None:
    output("new", "poems", text, *TINY)
    started = output("start", "poems", "--max-steps", "20")
    assert "follow it: charrnn logs -f poems" in started
    followed = run("logs", "-f", "poems")
    assert followed.returncode == 0
    assert "finished at step 20" in followed.stdout
    assert followed.stderr == "poems is complete\n"
    assert output("logs", "poems") == followed.stdout
    assert output("logs", "poems", "-n", "1") == followed.stdout.splitlines(keepends=True)[-1]
    assert output("list").splitlines()[1].split()[1:4] == ["complete", "20", "100%"]
    assert len(output("sample", "poems", "--length", "30")) == 31
    assert "complete: continue it with a larger budget, or start it over" in error("start", "poems")
    assert "is queued" in output("continue", "poems", "--max-steps", "5")
    assert "finished at step 25" in output("logs", "-f", "poems")
    assert "what it wrote at step 25" in output("show", "poems")
    assert "train it: charrnn start 'more poems'" in output("fork", "poems", "--name", "more poems")


def test_ctrl_c_while_a_log_is_followed_leaves_the_training_alone_and_stop_ends_it(
    workspace: Workspace, text: Path
) -> None:
    output("new", "poems", text, *TINY, "--learning-rate", "0.000001")  # so that it never knows the text by heart
    output("start", "poems", "--until-stopped")
    with subprocess.Popen(
        words("logs", "-f", "poems"), env=variables(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"training: LSTM 1 x 8")
        process.send_signal(signal.SIGINT)
        _, complaints = process.communicate(timeout=180)
    assert process.returncode == 130
    assert b"Traceback" not in complaints
    id = workspace.find("poems").id
    step = workspace.get(id).step
    until(lambda: workspace.get(id).step > step)
    assert "poems saves what it has learned and stops" in output("stop", "poems")
    output("stop", "poems")
    assert run("logs", "-f", "poems").stderr in ("poems is stopped\n", "poems is complete\n")
    assert isinstance(workspace.model(id), charrnn.Model)


def test_a_training_that_fails_says_why(workspace: Workspace, text: Path) -> None:
    output("new", "poems", text, "--batch-size", "2000", "--seq-length", "500")
    output("start", "poems")
    followed = run("logs", "-f", "poems")
    assert followed.returncode == 1
    assert followed.stderr.startswith("error: poems failed: ")
    assert "batch_size" in followed.stderr
    assert "batch_size" in output("show", "poems")
