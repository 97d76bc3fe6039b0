"""A text becomes an ids file: the same for every chunk size, nothing lost, and nothing left behind when it fails."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charrnn.errors import InvalidCorpus, InvalidOptions, WouldOverwrite
from charrnn.text.corpus import ingest, normalise
from charrnn.text.vocabulary import Vocabulary

# Line ends and marks often, so that they fall on every edge; then characters of every length in UTF-8.
pieces = st.sampled_from(
    ["\r\n", "\r", "\n", "\ufeff", "a", "é", "ß", "я", "中", "한", "😀", "e\u0301", "שלום", "👨‍👩‍👧", "\U0010ffff"]
)
texts = st.lists(pieces | st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60).map("".join)
learnable = texts.filter(lambda text: len(set(normalise(text))) > 1)
bad_bytes = st.sampled_from([b"\xff", b"\x80", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf5", b"\0", b"\xe4\xb8"])
on_files = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@on_files
@given(text=learnable, chunk_bytes=st.integers(1, 12))
def test_the_ids_are_the_normalised_text_whatever_the_chunk_size(tmp_path: Path, text: str, chunk_bytes: int) -> None:
    source = write(tmp_path / "text.txt", text)
    corpus = ingest(source, tmp_path / "corpus.ids", chunk_bytes=chunk_bytes)
    expected = text.removeprefix("\ufeff").replace("\r\n", "\n")
    assert corpus.vocabulary.decode(corpus.ids) == expected
    assert corpus.vocabulary == Vocabulary.from_counts(Counter(map(ord, expected)))
    assert corpus.counts.tolist() == np.bincount(corpus.ids, minlength=len(corpus.vocabulary)).tolist()
    assert corpus.distinct == len(set(expected))
    assert corpus.source_sha256 == hashlib.sha256(text.encode()).hexdigest()
    assert corpus.source_bytes == len(text.encode())
    small = (tmp_path / "corpus.ids").read_bytes()
    ingest(source, tmp_path / "corpus.ids")
    assert small == (tmp_path / "corpus.ids").read_bytes()


@on_files
@given(text=learnable, bad=bad_bytes, at=st.integers(0, 60), chunk_bytes=st.integers(1, 12))
def test_a_bad_byte_is_refused_at_its_own_offset_whatever_the_chunk_size(
    tmp_path: Path, text: str, bad: bytes, at: int, chunk_bytes: int
) -> None:
    before = text[:at].encode()
    source = write(tmp_path / "text.txt", before + bad + b" " + text[at:].encode())
    with pytest.raises(InvalidCorpus) as error:
        ingest(source, tmp_path / "corpus.ids", chunk_bytes=chunk_bytes)
    assert str(source) in str(error.value)
    assert f"byte {len(before):,}" in str(error.value)
    assert names(tmp_path) == ["text.txt"]


@pytest.mark.parametrize("size", [(1 << 20) - 2, (1 << 20) - 1, 1 << 20])
def test_crlf_and_characters_are_whole_across_the_edges_of_real_chunks(tmp_path: Path, size: int) -> None:
    for edge in ("\r\n", "é", "中", "😀"):
        source = write(tmp_path / "text.txt", "x" * size + edge + "y" * size + "\r\r\n" + "z" * size + "\r")
        corpus = ingest(source, tmp_path / "corpus.ids")
        expected = "x" * size + normalise(edge) + "y" * size + "\r\n" + "z" * size + "\r"
        assert corpus.vocabulary.decode(corpus.ids) == expected


def test_a_byte_order_mark_is_dropped_only_at_the_beginning_and_once(tmp_path: Path) -> None:
    corpus = ingest(write(tmp_path / "text.txt", "\ufeff\ufeffab\ufeff"), tmp_path / "corpus.ids")
    assert corpus.vocabulary.decode(corpus.ids) == "\ufeffab\ufeff"


def test_forty_thousand_distinct_characters_are_kept_if_asked_for_and_cut_to_the_commonest_if_not(
    tmp_path: Path,
) -> None:
    characters = [chr(code) for code in range(0x3400, 0x3400 + 40_000)]
    source = write(tmp_path / "text.txt", "".join(characters) + "".join(characters[:3000]) * 2)
    whole = ingest(source, tmp_path / "whole.ids", max_vocab=50_000)
    assert (len(whole.vocabulary), whole.ids.dtype, int(whole.counts[0])) == (40_001, np.dtype("<u2"), 0)
    assert whole.vocabulary.decode(whole.ids) == source.read_text("utf-8")
    cut = ingest(source, tmp_path / "cut.ids")
    assert (len(cut.vocabulary), cut.distinct, int(cut.counts[0])) == (3_501, 40_000, 36_500)
    assert cut.vocabulary.characters == "".join(characters[:3_500])


@pytest.mark.parametrize(("distinct", "dtype"), [(255, "u1"), (256, "u2"), (65_535, "u2"), (65_536, "u4")])
def test_ids_take_one_byte_while_they_fit_then_two_then_four(tmp_path: Path, distinct: int, dtype: str) -> None:
    codes = [code for code in range(0x20, 0x20 + distinct + 2048) if not 0xD800 <= code < 0xE000][:distinct]
    text = "".join(map(chr, codes))
    corpus = ingest(write(tmp_path / "text.txt", text), tmp_path / "corpus.ids", max_vocab=100_000)
    assert corpus.ids.dtype == np.dtype(dtype)
    assert corpus.vocabulary.decode(corpus.ids) == normalise(text)


def test_with_a_whitelist_everything_else_is_unknown(tmp_path: Path) -> None:
    corpus = ingest(write(tmp_path / "text.txt", "abcabcab"), tmp_path / "corpus.ids", whitelist="bcz")
    assert corpus.vocabulary.characters == "bc"
    assert corpus.ids.tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
    assert corpus.distinct == 3


def test_a_whitelist_of_which_the_text_has_nothing_is_refused_as_an_option(tmp_path: Path) -> None:
    with pytest.raises(InvalidOptions) as error:
        ingest(write(tmp_path / "text.txt", "abc"), tmp_path / "corpus.ids", whitelist="xyz")
    assert "whitelist" in error.value.fields


def test_max_vocab_below_one_is_refused_as_an_option(tmp_path: Path) -> None:
    with pytest.raises(InvalidOptions) as error:
        ingest(write(tmp_path / "text.txt", "abc"), tmp_path / "corpus.ids", max_vocab=0)
    assert "max_vocab" in error.value.fields


def test_a_given_vocabulary_is_used_as_it_is(tmp_path: Path) -> None:
    corpus = ingest(
        write(tmp_path / "text.txt", "aaab"), tmp_path / "corpus.ids", vocabulary=Vocabulary("bz"), max_vocab=1
    )
    assert corpus.vocabulary.characters == "bz"
    assert corpus.ids.tolist() == [0, 0, 0, 1]
    assert corpus.counts.tolist() == [3, 1, 0]


def test_a_given_vocabulary_reads_even_a_text_of_one_character(tmp_path: Path) -> None:
    corpus = ingest(write(tmp_path / "text.txt", "aaa"), tmp_path / "corpus.ids", vocabulary=Vocabulary("ba"))
    assert corpus.ids.tolist() == [2, 2, 2]


def test_a_fork_keeps_its_parents_ids_and_appends_the_commonest_new_characters(tmp_path: Path) -> None:
    source = write(tmp_path / "text.txt", "xxyyyabz")
    parent = Vocabulary("ba")
    forked = ingest(source, tmp_path / "fork.ids", vocabulary=parent, extend=True)
    assert forked.vocabulary.characters == "bayxz"
    assert forked.vocabulary.decode(forked.ids) == "xxyyyabz"
    limited = ingest(source, tmp_path / "limited.ids", vocabulary=parent, extend=True, max_vocab=3)
    assert limited.vocabulary.characters == "bay"
    full = ingest(source, tmp_path / "full.ids", vocabulary=parent, extend=True, max_vocab=1)
    assert full.vocabulary == parent
    chosen = ingest(source, tmp_path / "chosen.ids", vocabulary=parent, extend=True, whitelist="xz")
    assert chosen.vocabulary.characters == "baxz"


def test_progress_rises_to_one_over_both_passes(tmp_path: Path) -> None:
    told: list[float] = []
    source = write(tmp_path / "text.txt", "hello world\n" * 1000)
    ingest(source, tmp_path / "corpus.ids", chunk_bytes=500, progress=told.append)
    assert told == sorted(told)
    assert told[-1] == 1
    assert len(told) > 10


@pytest.mark.parametrize("fraction", [0.2, 0.7])
def test_giving_up_in_either_pass_leaves_nothing_behind_and_the_old_ids_in_place(
    tmp_path: Path, fraction: float
) -> None:
    source = write(tmp_path / "text.txt", "hello world\n" * 1000)
    ingest(source, tmp_path / "corpus.ids", max_vocab=3)
    old = (tmp_path / "corpus.ids").read_bytes()

    def give_up(done: float) -> None:
        if done > fraction:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ingest(source, tmp_path / "corpus.ids", chunk_bytes=500, progress=give_up)
    assert names(tmp_path) == ["corpus.ids", "text.txt"]
    assert (tmp_path / "corpus.ids").read_bytes() == old


def test_a_text_that_changes_between_the_passes_is_refused(tmp_path: Path) -> None:
    source = write(tmp_path / "text.txt", "hello world\n" * 1000)

    def meddle(done: float) -> None:
        if done > 0.6:
            source.write_text("other words\n" * 1000, newline="")

    with pytest.raises(InvalidCorpus, match="changed while it was read"):
        ingest(source, tmp_path / "corpus.ids", chunk_bytes=500, progress=meddle)
    assert names(tmp_path) == ["text.txt"]


def test_the_text_itself_is_never_overwritten_by_its_ids(tmp_path: Path) -> None:
    source = write(tmp_path / "text.txt", "hello")
    (tmp_path / "link").symlink_to(source)
    for target in (source, tmp_path / "link"):
        with pytest.raises(WouldOverwrite):
            ingest(source, target)
    assert source.read_text() == "hello"


def test_a_folder_that_is_not_there_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(InvalidCorpus, match="nowhere"):
        ingest(write(tmp_path / "text.txt", "hello"), tmp_path / "nowhere" / "corpus.ids")


def test_the_ids_file_has_the_permissions_that_any_new_file_gets(tmp_path: Path) -> None:
    source = write(tmp_path / "text.txt", "hello")
    ingest(source, tmp_path / "corpus.ids")
    assert (tmp_path / "corpus.ids").stat().st_mode == source.stat().st_mode


KILLED_WHILE_WRITING = """
import sys, time
from charrnn.text.corpus import ingest
def wait(done):
    if done > 0.7:
        print("writing", flush=True)
        time.sleep(600)
ingest(sys.argv[1], sys.argv[2], chunk_bytes=500, progress=wait)
"""


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL and file locks are of POSIX")
def test_what_a_killed_process_left_behind_is_removed_by_the_next_and_a_living_one_is_left_alone(
    tmp_path: Path,
) -> None:
    source = write(tmp_path / "text.txt", "hello world\n" * 1000)
    command = [sys.executable, "-c", KILLED_WHILE_WRITING, str(source), str(tmp_path / "corpus.ids")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        ingest(source, tmp_path / "corpus.ids")
        assert len(names(tmp_path)) == 3
        process.kill()
    assert len(names(tmp_path)) == 3
    ingest(source, tmp_path / "corpus.ids")
    assert names(tmp_path) == ["corpus.ids", "text.txt"]


MEASURED = """
import sys
from charrnn.text.corpus import ingest
def anonymous():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("RssAnon"))
before = anonymous()
peak = 0
def look(done):
    global peak
    peak = max(peak, anonymous())
corpus = ingest(sys.argv[1], sys.argv[2], progress=look)
for start in range(0, len(corpus.ids), 1 << 20):
    corpus.ids[start : start + (1 << 20)].max()
corpus.report()
print(max(peak, anonymous()) // 1024)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="RssAnon is Linux's")
@pytest.mark.parametrize("kind", ["ascii", "mixed"])
def test_a_text_larger_than_the_memory_it_may_take_stays_below_it(tmp_path: Path, kind: str) -> None:
    line = "The quick brown fox.\r\n" if kind == "ascii" else "Быстрая лиса, naïve 天地玄黄 😀\n"
    block = (line * 40_000).encode()
    with (tmp_path / "text.txt").open("wb") as file:
        for _ in range(200_000_000 // len(block)):
            file.write(block)
    command = [sys.executable, "-c", MEASURED, str(tmp_path / "text.txt"), str(tmp_path / "corpus.ids")]
    megabytes = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert megabytes < 150


def test_no_thread_outlives_the_ingest_that_started_it(tmp_path: Path) -> None:
    import threading

    source = write(tmp_path / "text.txt", "hello world\n" * 100)
    before = threading.active_count()
    for _ in range(20):
        ingest(source, tmp_path / "corpus.ids", chunk_bytes=100)
    deadline = time.monotonic() + 60
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() == before
