"""Sample texts: one needs no network, the others arrive whole or not at all. The server here is a real one."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from charrnn.errors import InvalidCorpus, WouldOverwrite
from charrnn.text import samples
from charrnn.text.corpus import ingest
from tests.text.served import PLAY, offer, serving


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ThreadingHTTPServer]:
    with serving(tmp_path / "served") as server:
        yield server


@pytest.fixture
def play(server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch) -> samples.Sample:
    return offer(server, monkeypatch)


def test_the_sample_that_needs_no_network_is_named_first() -> None:
    assert samples.names() == ["python", "tiny-shakespeare"]


def test_python_is_python_within_the_limit_and_the_same_every_time(tmp_path: Path) -> None:
    path = samples.write("python", tmp_path / "python.txt", limit=300_000)
    text = path.read_text("utf-8")
    assert 250_000 < path.stat().st_size <= 300_000
    assert text.count("def ") > 100
    assert samples.write("python", tmp_path / "again.txt", limit=300_000).read_bytes() == path.read_bytes()
    report = ingest(path, tmp_path / "python.ids").report()
    assert report.characters == len(text)


def test_a_smaller_limit_never_changes_which_module_comes_first(tmp_path: Path) -> None:
    small = samples.write("python", tmp_path / "small.txt", limit=100_000).read_text("utf-8")
    large = samples.write("python", tmp_path / "large.txt").read_text("utf-8")
    assert large[:2000] == small[:2000]
    assert len(large) > 2_000_000


def test_a_limit_that_no_module_fits_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidCorpus, match="limit of 3 bytes"):
        samples.write("python", tmp_path / "python.txt", limit=3)


def test_an_unknown_sample_is_an_error_that_names_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(InvalidCorpus, match="python, tiny-shakespeare"):
        samples.write("hamlet", tmp_path / "hamlet.txt")


def test_a_sample_is_fetched_once_and_then_taken_from_the_folder(
    tmp_path: Path, play: samples.Sample, server: ThreadingHTTPServer
) -> None:
    path = samples.fetch("play", tmp_path / "texts")
    assert path == tmp_path / "texts" / "play.txt"
    assert path.read_text() == PLAY
    (tmp_path / "served" / "input.txt").unlink()
    assert samples.fetch("play", tmp_path / "texts") == path


def test_it_is_told_how_much_is_fetched_and_who_gives_up_leaves_nothing(tmp_path: Path, play: samples.Sample) -> None:
    told: list[float] = []
    path = samples.write("play", tmp_path / "whole.txt", progress=told.append)
    assert path.stat().st_size > 0
    assert (told, len(told) > 2, told[-1]) == (sorted(told), True, 1.0)

    def give_up(done: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        samples.write("play", tmp_path / "part.txt", progress=give_up)
    assert not (tmp_path / "part.txt").exists()


def test_a_text_with_another_checksum_is_refused_and_not_written(
    tmp_path: Path, play: samples.Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(samples.SAMPLES, "play", dataclasses.replace(play, sha256="0" * 64))
    with pytest.raises(InvalidCorpus, match="SHA-256"):
        samples.fetch("play", tmp_path / "texts")
    assert not (tmp_path / "texts").exists()


def test_no_answer_is_an_error_that_names_the_address_and_the_way_out(
    tmp_path: Path, play: samples.Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    for url in ("http://127.0.0.1:9/input.txt", f"{play.url}.missing"):
        monkeypatch.setitem(samples.SAMPLES, "play", dataclasses.replace(play, url=url))
        with pytest.raises(InvalidCorpus, match="online") as error:
            samples.fetch("play", tmp_path / "texts")
        assert url in str(error.value)
        assert "'python' needs no network" in str(error.value)


@pytest.mark.parametrize("name", ["play", "python"])
def test_a_file_that_is_something_else_is_never_overwritten(tmp_path: Path, play: samples.Sample, name: str) -> None:
    (tmp_path / "mine.txt").write_text("my own words")
    with pytest.raises(WouldOverwrite):
        samples.write(name, tmp_path / "mine.txt")
    assert (tmp_path / "mine.txt").read_text() == "my own words"
