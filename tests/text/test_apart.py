"""A text that is read in another process becomes the same ids, and is refused in the same words."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from charrnn.errors import InvalidCorpus, InvalidOptions
from charrnn.text.apart import ingest_apart
from charrnn.text.corpus import ingest
from charrnn.text.vocabulary import Vocabulary

TEXT = "Zwölf Boxkämpfer jagen Viktor\r\nquer über den großen Sylter Deich 🙂.\n" * 50


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_bytes(TEXT.encode())
    return path


@pytest.mark.parametrize(
    "options",
    [
        {}, {"max_vocab": 5}, {"whitelist": "aeiouäöü \n🙂"}, {"vocabulary": Vocabulary("xyz abc")},
        {"vocabulary": Vocabulary("xyz abc"), "extend": True, "max_vocab": 20},
    ],
)  # fmt: skip
def test_the_ids_are_the_same(source: Path, tmp_path: Path, options: dict[str, object]) -> None:
    corpus = ingest_apart(source, tmp_path / "apart.ids", **options)  # type: ignore[arg-type]
    expected = ingest(source, tmp_path / "here.ids", **options)  # type: ignore[arg-type]
    assert (tmp_path / "apart.ids").read_bytes() == (tmp_path / "here.ids").read_bytes()
    assert corpus.report() == expected.report()


@pytest.mark.parametrize(
    ("content", "options"),
    [
        (TEXT.encode() + b"\xff", {}), (b"", {}), (b"aaaa", {}), (TEXT.encode("utf-16"), {}),
        (TEXT.encode(), {"whitelist": "7"}), (TEXT.encode(), {"max_vocab": 0}),
    ],
)  # fmt: skip
def test_the_errors_are_the_same(source: Path, tmp_path: Path, content: bytes, options: dict[str, object]) -> None:
    source.write_bytes(content)
    with pytest.raises((InvalidCorpus, InvalidOptions)) as expected:
        ingest(source, tmp_path / "ids", **options)  # type: ignore[arg-type]
    with pytest.raises(type(expected.value)) as apart:
        ingest_apart(source, tmp_path / "ids", **options)  # type: ignore[arg-type]
    assert str(apart.value) == str(expected.value)
    assert getattr(apart.value, "fields", None) == getattr(expected.value, "fields", None)
    assert [path.name for path in tmp_path.iterdir()] == ["text.txt"]


def test_it_says_how_far_it_is(source: Path, tmp_path: Path) -> None:
    told: list[float] = []
    ingest_apart(source, tmp_path / "ids", progress=told.append)
    assert told == sorted(told)
    assert told[-1] == 1


def test_whoever_gives_up_leaves_no_process(source: Path, tmp_path: Path) -> None:
    class GiveUp(Exception):
        pass

    def give_up(done: float) -> None:
        raise GiveUp

    with pytest.raises(GiveUp):
        ingest_apart(source, tmp_path / "ids", progress=give_up)
    assert not [child for child in psutil.Process().children() if "charrnn.text.apart" in child.cmdline()]
    assert not (tmp_path / "ids").exists()


@pytest.mark.parametrize("characters", [10, 1_000_000])  # less, and more, than a pipe takes of what nobody reads
def test_a_process_that_dies_is_told(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, characters: int
) -> None:
    monkeypatch.setenv("PYTHONHOME", str(tmp_path))
    with pytest.raises(InvalidCorpus, match="could not be read: the process for it ended"):
        ingest_apart(source, tmp_path / "ids", whitelist="a" * characters)
