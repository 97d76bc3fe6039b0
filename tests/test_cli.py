"""The command line, as a person or a script uses it: real processes, their output and exit codes."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import charrnn
from charrnn.network.model import Model
from charrnn.text.vocabulary import Vocabulary
from tests.command_line import error, output, run, variables, words

CHARACTERS = " etaoinshrdlucmfwygpbvk\nABCDEFGHIJKLMNOPQRSTUVWXYZ.,:;'!?"


@pytest.fixture(scope="module")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cli") / "small.safetensors"
    model = Model.initial("gru", Vocabulary(CHARACTERS), rnn_size=24, num_layers=2, seed=3)
    model.record = {
        **model.record,
        "finished": True,
        "step": 700,
        "source_name": "plays.txt",
        "train_loss": 1.4,
        "validation_loss": 1.6,
        "points": [
            {"step": step, "seconds": step / 9, "epoch": step / 90, "train_loss": 2.0, "validation_loss": 2.5}
            for step in range(0, 701, 10)
        ],
        "samples": [{"step": 700, "text": "thou \x1b[31mart\nfair"}],
        "versions": {"charrnn": "0.1.0"},
        "notes": ["resumed at step 350"],
    }
    model.save(path)
    return path


# -- charrnn ------------------------------------------------------------------------------------------------------


def test_help_lists_the_commands() -> None:
    for text in (output(), output("--help")):
        for command in ("train", "sample", "evaluate", "inspect"):
            assert command in text


def test_the_version_is_the_packages() -> None:
    assert output("--version") == f"charrnn {charrnn.__version__}\n"


def test_an_unknown_command_or_option_is_wrong_usage() -> None:
    assert "No such command 'trian'" in error("trian", code=2)
    assert "No such option: --temprature" in error("sample", "--temprature", "1", code=2)
    assert "--seed" in error("sample", "--seed", "1.5", code=2)


# -- charrnn sample -----------------------------------------------------------------------------------------------


def test_sample_prints_the_prompt_and_as_many_characters_as_asked_for(model_path: Path) -> None:
    text = output("sample", model_path, "--prompt", "ROMEO:", "--length", "200")
    assert text.startswith("ROMEO:")
    assert len(text) == len("ROMEO:") + 200 + len("\n")
    assert len(output("sample", model_path)) == 1000 + len("\n")


def test_sample_writes_what_the_library_writes(model_path: Path) -> None:
    text = output("sample", model_path, "--prompt", "To be", "--length", "80", "--seed", "7", "--temperature", "0.7")
    assert text == "To be" + str(charrnn.load(model_path).generate("To be", length=80, seed=7, temperature=0.7)) + "\n"


def test_sample_takes_both_spellings_and_the_classic_names(model_path: Path) -> None:
    new = output("sample", model_path, "--prompt", "The ", "--length", "50", "--seed", "1", "--top-k", "5")
    old = output("sample", model_path, "--start_string", "The ", "--max_length", "50", "--seed=1", "--top_k=5")
    assert new == old


def test_an_option_and_its_other_name_together_are_an_error(model_path: Path) -> None:
    message = error("sample", model_path, "--length", "5", "--max_length", "5")
    assert "length" in message
    assert "twice" in message


def test_several_texts_differ_and_the_first_is_the_one_written_alone(model_path: Path) -> None:
    text = output("sample", model_path, "--prompt", "A", "--length", "40", "--seed", "5", "--count", "3")
    texts = [part.partition("---\n")[2] for part in text.split("\n--- ")]
    assert text.startswith("--- 1 of 3 ---\n")
    assert len(set(texts)) == 3
    assert texts[0].rstrip("\n") == output(
        "sample", model_path, "--prompt", "A", "--length", "40", "--seed", "5"
    ).rstrip("\n")


def test_the_text_ends_before_a_stop(model_path: Path) -> None:
    arguments = ("sample", model_path, "--prompt", "A", "--length", "300", "--seed", "2")
    whole = output(*arguments)
    stop = whole[40:42]
    assert output(*arguments, "--stop", stop) == whole[: whole.index(stop, 1)] + "\n"


def test_without_a_model_the_small_one_that_ships_with_charrnn_writes() -> None:
    assert output("sample", "--prompt", "def ", "--length", "60", "--seed", "1").startswith("def ")
    shipped = list((Path(charrnn.__file__).parent / "data").glob("*.safetensors"))
    assert sum(path.stat().st_size for path in shipped) < 2_000_000


def test_characters_the_model_has_never_seen_are_read_as_unknown_and_said(model_path: Path) -> None:
    result = run("sample", model_path, "--prompt", "漢字 A", "--length", "10")
    assert result.returncode == 0
    assert result.stdout.startswith("漢字 A")
    assert len(result.stderr.splitlines()) == 1
    assert "'漢'" in result.stderr
    assert "unknown" in result.stderr


@pytest.mark.parametrize("locale", ["C", "POSIX", "en_US.ISO-8859-1"])
def test_output_is_utf8_whatever_the_locale(model_path: Path, locale: str) -> None:
    result = run(
        "sample", model_path, "--prompt", "é漢", "--length", "5", environment={"LC_ALL": locale, "LANG": locale}
    )
    assert result.returncode == 0
    assert result.stdout.startswith("é漢")


def test_sample_starts_without_what_only_training_needs(model_path: Path) -> None:
    code = (
        "import sys\nfrom charrnn.cli import main\nassert main(sys.argv[1:]) == 0\n"
        "print([name for name in ('tensorflow', 'pydantic', 'rich', 'IPython') if name in sys.modules])"
    )
    command = [sys.executable, "-c", code, "sample", str(model_path), "--length", "10", "--seed", "1", "--top-p", "0.9"]
    result = subprocess.run(command, env=variables(), capture_output=True, text=True, timeout=180, check=True)
    assert result.stdout.endswith("\n[]\n")


def test_a_reader_that_leaves_ends_sample_without_a_word(model_path: Path) -> None:
    read, written = os.pipe()
    command = words("sample", model_path, "--length", "100000")
    with subprocess.Popen(command, env=variables(), stdout=written, stderr=subprocess.PIPE) as process:
        os.close(written)
        assert os.read(read, 5)
        os.close(read)
        _, complaints = process.communicate(timeout=180)
    assert complaints == b""
    assert process.returncode != 0


def test_text_appears_while_it_is_written_and_ctrl_c_ends_it_quietly(model_path: Path) -> None:
    command = words("sample", model_path, "--length", "10000000", "--prompt", "A")
    with subprocess.Popen(command, env=variables(), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.read(2000).startswith(b"A")
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        rest, complaints = process.communicate(timeout=180)
    assert process.returncode == 130
    assert rest.endswith(b"\n")
    assert b"Traceback" not in complaints


def test_a_folder_stands_for_the_model_in_it(model_path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model" / "shakespeare"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(model_path.read_bytes())
    (folder / "model.checkpoint.safetensors").write_bytes(b"never read")
    arguments = ("--length", "30", "--seed", "1")
    text = output("sample", model_path, *arguments)
    assert output("sample", "model/shakespeare", *arguments, cwd=tmp_path) == text
    classic = run(
        *("sample", "--converter_path", "model/shakespeare/converter.pkl"),
        *("--checkpoint_path", "model/shakespeare/", "--max_length", "30", "--start_string", "", "--seed", "1"),
        *("--use_embedding", "--lstm_size", "128", "--num_layers", "2"),
        cwd=tmp_path,
    )
    assert classic.returncode == 0, classic.stderr
    assert classic.stdout == text
    assert "not needed" in classic.stderr
    assert "--converter_path" in classic.stderr


@pytest.mark.parametrize("left", [["checkpoint", "model-100.index", "model-100.meta"], ["converter.pkl"]])
def test_what_the_original_program_saved_is_refused_with_an_explanation(left: list[str], tmp_path: Path) -> None:
    for name in left:
        (tmp_path / name).write_bytes(pickle.dumps({"vocab": "abc"}))
    message = error("sample", "--checkpoint_path", tmp_path, "--start_string", "The ")
    assert "TensorFlow checkpoint or a pickle" in message
    assert "charrnn train --input_file" in message


def test_a_checkpoint_prefix_and_a_pickle_named_themselves_are_refused_too(tmp_path: Path) -> None:
    (tmp_path / "model-100.index").write_bytes(b"x")
    (tmp_path / "converter.pkl").write_bytes(pickle.dumps("abc"))
    assert "does not read" in error("sample", "--checkpoint_path", tmp_path / "model-100")
    assert "does not read" in error("sample", tmp_path / "converter.pkl")


def test_a_model_that_is_missing_damaged_or_ambiguous_is_one_line(model_path: Path, tmp_path: Path) -> None:
    assert "does not exist" in error("sample", tmp_path / "nothing.safetensors")
    assert "model.safetensors is missing" in error("sample", tmp_path)
    (tmp_path / "a.safetensors").write_bytes(model_path.read_bytes()[:-100])
    assert str(tmp_path / "a.safetensors") in error("sample", tmp_path / "a.safetensors")
    (tmp_path / "b.safetensors").write_bytes(model_path.read_bytes())
    assert "a.safetensors, b.safetensors" in error("sample", tmp_path)


def test_options_out_of_range_are_one_line_that_names_them_all(model_path: Path) -> None:
    message = error("sample", model_path, "--length", "-1", "--top-p", "2")
    assert "length" in message
    assert "top_p" in message


# -- charrnn evaluate and inspect ---------------------------------------------------------------------------------


def test_evaluate_prints_what_the_library_measures(model_path: Path, tmp_path: Path) -> None:
    text = tmp_path / "held-out.txt"
    text.write_text("The quick brown fox.\n" * 200, encoding="utf-8")
    expected = charrnn.load(model_path).evaluate(text)
    printed = output("evaluate", model_path, text)
    assert f"{expected.nats_per_character:.4f} nats per character" in printed
    assert f"{expected.unknown:,} characters left out" in printed
    data = json.loads(output("evaluate", model_path, text, "--json"))
    assert data["nats_per_character"] == pytest.approx(expected.nats_per_character, abs=1e-6)
    assert data["characters"] == expected.characters


def test_evaluate_refuses_a_file_that_is_no_text(model_path: Path, tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"abc\x00def" * 100)
    assert "binary" in error("evaluate", model_path, tmp_path / "binary")
    assert "missing.txt" in error("evaluate", model_path, tmp_path / "missing.txt")
    assert "file" in error("evaluate", model_path, code=2).lower()


def test_inspect_shows_options_vocabulary_and_training(model_path: Path) -> None:
    text = output("inspect", model_path)
    for part in ("gru", "24", "plays.txt", "etaoinshrdlu", "2.5000", "resumed at step 350", "finished"):
        assert part in text
    assert "\x1b" not in text


def test_inspect_as_json_holds_everything_but_the_weights_values(model_path: Path) -> None:
    data = json.loads(output("inspect", model_path, "--json"))
    assert data["options"]["rnn_size"] == 24
    assert data["vocabulary"] == {"characters": CHARACTERS}
    assert len(data["record"]["points"]) == 71
    assert data["parameters"] == charrnn.load(model_path).parameters
    assert data["finished"] is True
