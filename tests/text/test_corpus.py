"""What can be asked of a corpus: its parts, its report; and ids files that are damaged are refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from charrnn.errors import InvalidCorpus, InvalidOptions
from charrnn.text.corpus import Corpus, Part, ingest
from charrnn.text.vocabulary import Vocabulary


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return make(tmp_path_factory.mktemp("corpus"), "".join(chr(97 + (7 * i + i // 23) % 23) for i in range(123_457)))


def make(folder: Path, text: str, **options: Any) -> Corpus:
    (folder / "text.txt").write_text(text, "utf-8", newline="")
    return ingest(folder / "text.txt", folder / "corpus.ids", **options)


def test_the_tail_is_the_last_tenth(corpus: Corpus) -> None:
    training, validation = corpus.split()
    assert training.stretches == ((0, 111_111),)
    assert validation.stretches == ((111_111, 123_457),)
    assert (len(training), len(validation)) == (111_111, 12_346)


@pytest.mark.parametrize("kind", ["tail", "spread"])
@pytest.mark.parametrize("fraction", [0.05, 0.1, 0.3, 0.5, 0.9])
def test_the_parts_together_are_the_text_and_share_nothing(corpus: Corpus, kind: Any, fraction: float) -> None:
    training, validation = corpus.split(fraction, kind)
    covered = sorted(training.stretches + validation.stretches)
    assert covered[0][0] == 0
    assert covered[-1][1] == len(corpus)
    assert all(before[1] == after[0] for before, after in pairwise(covered))
    assert len(validation) == len(corpus) - int(len(corpus) * (1 - fraction))


def test_spread_stretches_are_ten_of_like_length_and_evenly_placed(corpus: Corpus) -> None:
    _, validation = corpus.split(kind="spread")
    lengths = [stop - start for start, stop in validation.stretches]
    gaps = np.diff([start for start, _ in validation.stretches])
    assert len(lengths) == 10
    assert max(lengths) - min(lengths) <= 1
    assert gaps.max() - gaps.min() <= 2


@pytest.mark.parametrize("kind", ["tail", "spread"])
def test_nothing_is_held_out_when_it_would_be_fewer_than_5000_characters(tmp_path: Path, kind: Any) -> None:
    short = make(tmp_path, "ab" * 24_995)
    training, validation = short.split(kind=kind)
    assert (len(training), len(validation)) == (49_990, 0)
    assert len(validation.read(0, 0)) == 0
    enough = make(tmp_path, "ab" * 25_000)
    assert len(enough.split(kind=kind)[1]) == 5_000
    assert len(enough.split(0)[1]) == 0


@pytest.mark.parametrize(
    ("options", "field"),
    [((1.0,), "validation_fraction"), ((-0.1,), "validation_fraction"), ((0.1, "head"), "validation")],
)
def test_splits_that_cannot_be_are_refused_as_options(corpus: Corpus, options: tuple[Any, ...], field: str) -> None:
    with pytest.raises(InvalidOptions) as error:
        corpus.split(*options)
    assert field in error.value.fields


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 9)), max_size=6), st.data())
def test_a_part_reads_its_stretches_as_one_sequence(gaps: list[tuple[int, int]], data: st.DataObject) -> None:
    ids = np.arange(250, dtype=np.uint8)
    stretches, at = [], 0
    for gap, length in gaps:
        stretches.append((at + gap, at + gap + length))
        at += gap + length
    part = Part(ids, tuple(stretches), 250)
    whole = [i for start, stop in stretches for i in range(start, stop)]
    stop = data.draw(st.integers(0, len(whole)))
    start = data.draw(st.integers(0, stop))
    assert len(part) == len(whole)
    assert part.read(start, stop).tolist() == whole[start:stop]


@pytest.mark.parametrize(("start", "stop"), [(-1, 5), (5, 4), (0, 123_458), (123_458, 123_458)])
def test_reading_outside_of_a_part_is_an_error(corpus: Corpus, start: int, stop: int) -> None:
    with pytest.raises(IndexError):
        corpus.split(0)[0].read(start, stop)


def test_what_is_read_is_a_copy_and_the_ids_are_read_only(corpus: Corpus) -> None:
    training, _ = corpus.split()
    training.read(0, 10)[:] = 0
    assert training.read(0, 10).all()
    with pytest.raises(ValueError, match="read-only"):
        corpus.ids[0] = 0
    with pytest.raises(ValueError, match="read-only"):
        corpus.counts[0] = 0


def test_opening_gives_what_ingest_gave(corpus: Corpus) -> None:
    again = Corpus.open(str(corpus.path))
    assert (again.ids == corpus.ids).all()
    assert (again.counts == corpus.counts).all()
    assert again.vocabulary == corpus.vocabulary
    assert (again.source_sha256, again.source_bytes, again.distinct) == (corpus.source_sha256, 123_457, 23)
    assert "123,457 characters" in repr(again)


def test_the_ids_file_can_be_read_by_any_safetensors_reader(corpus: Corpus) -> None:
    tensors = safetensors.numpy.load_file(corpus.path)
    assert (tensors["ids"] == corpus.ids).all()
    assert (tensors["counts"] == corpus.counts).all()


def parts(path: Path) -> tuple[dict[str, Any], dict[str, Any], bytes]:
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    return header, json.loads(header["__metadata__"]["charrnn"]), content[8 + length :]


def rewrite(path: Path, header: dict[str, Any], metadata: dict[str, Any], data: bytes) -> None:
    header["__metadata__"] = {"charrnn": json.dumps(metadata)}
    encoded = json.dumps(header).encode()
    path.write_bytes(len(encoded).to_bytes(8, "little") + encoded + data)


@pytest.fixture
def copy(corpus: Corpus, tmp_path: Path) -> Path:
    return Path(shutil.copy(corpus.path, tmp_path / "copy.ids"))


@pytest.mark.parametrize("keep", [0, 1, 7, 8, 9, 100, 400, 123_000, -1])
def test_an_ids_file_cut_short_is_refused(copy: Path, keep: int) -> None:
    copy.write_bytes(copy.read_bytes()[:keep])
    with pytest.raises(InvalidCorpus, match=r"copy\.ids is no whole ids file"):
        Corpus.open(copy)


@pytest.mark.parametrize(
    "content",
    [
        b"just some text, nothing else, long enough to have a header" * 10,
        b"\xff" * 1000,
        (2).to_bytes(8, "little") + b"{}",
        (4).to_bytes(8, "little") + b"null",
        (6).to_bytes(8, "little") + b'{"a":}',
        (1_000_000).to_bytes(8, "little") + b"[" * 1_000_000,
        (2**63).to_bytes(8, "little") + b"{}" * 100,
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "other").write_bytes(content)
    with pytest.raises(InvalidCorpus, match="make it again from the text"):
        Corpus.open(tmp_path / "other")


def test_another_safetensors_file_is_refused(tmp_path: Path) -> None:
    safetensors.numpy.save_file({"ids": np.zeros(5, np.uint8)}, tmp_path / "other")
    with pytest.raises(InvalidCorpus, match="no whole ids file"):
        Corpus.open(tmp_path / "other")


def test_a_missing_ids_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidCorpus, match="no ids file at"):
        Corpus.open(tmp_path / "missing")
    with pytest.raises(InvalidCorpus, match="cannot be read"):
        Corpus.open(tmp_path)


def set_header(key: str, value: Any) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    return lambda header, metadata: header.update({key: value})


def set_metadata(key: str, value: Any) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    return lambda header, metadata: metadata.update({key: value})


@pytest.mark.parametrize(
    "change",
    [
        set_metadata("kind", "model"),
        set_metadata("format_version", 2),
        set_metadata("vocabulary", {"characters": "ab"}),
        set_metadata("vocabulary", {"characters": "ab" * 12}),
        set_metadata("vocabulary", ["a"]),
        set_metadata("source_sha256", 5),
        set_metadata("source_bytes", -5),
        set_metadata("source_bytes", True),
        set_metadata("distinct", "23"),
        set_header("more", {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}),
        set_header("ids", {"dtype": "U16", "shape": [123_457], "data_offsets": [192, 192 + 123_457]}),
        set_header("ids", {"dtype": "U8", "shape": [123_458], "data_offsets": [192, 192 + 123_457]}),
        set_header("ids", {"dtype": "U8", "shape": [-1], "data_offsets": [192, 192 + 123_457]}),
        set_header("ids", {"dtype": "U8", "shape": [123_457], "data_offsets": [0, 123_457]}),
        set_header("ids", {"dtype": "U8", "shape": [True], "data_offsets": [192, 193]}),
        set_header("ids", []),
        set_header("counts", {"dtype": "F64", "shape": [24], "data_offsets": [0, 192]}),
        lambda header, metadata: header.pop("ids"),
        lambda header, metadata: metadata.pop("distinct"),
        lambda header, metadata: metadata.clear(),
    ],
)
def test_headers_that_do_not_fit_are_refused(copy: Path, change: Callable[..., Any]) -> None:
    header, metadata, data = parts(copy)
    rewrite(copy, header, metadata, data)
    Corpus.open(copy)  # so it is the change that is refused
    change(header, metadata)
    rewrite(copy, header, metadata, data)
    with pytest.raises(InvalidCorpus, match="no whole ids file"):
        Corpus.open(copy)


@pytest.mark.parametrize("counts", [[-1, 1], [2**62, 2**62], [5, 5]])
def test_counts_that_do_not_add_up_are_refused(copy: Path, counts: list[int]) -> None:
    header, metadata, data = parts(copy)
    rewrite(copy, header, metadata, np.array(counts, "<i8").tobytes() + data[16:])
    with pytest.raises(InvalidCorpus, match="do not add up"):
        Corpus.open(copy)


def test_ids_that_the_vocabulary_has_not_are_refused_when_they_are_read(copy: Path) -> None:
    copy.write_bytes(copy.read_bytes()[:-1] + b"\xc8")
    damaged = Corpus.open(copy).split(0)[0]
    damaged.read(0, len(damaged) - 1)
    with pytest.raises(InvalidCorpus, match="id 200 where there are 24"):
        damaged.read(0, len(damaged))


def test_the_report_says_how_large_the_text_is_what_is_common_and_how_it_begins(tmp_path: Path) -> None:
    report = make(tmp_path, "Hello world! " * 5_000).report()
    assert (report.characters, report.distinct, report.vocabulary_size, report.unknown) == (65_000, 9, 10, 0)
    assert report.commonest[:3] == (("l", 15_000), (" ", 10_000), ("o", 10_000))
    assert report.preview.startswith("Hello world! Hello")
    assert report.warnings == ()


def warnings(tmp_path: Path, text: str, **options: Any) -> str:
    return "\n".join(make(tmp_path, text, **options).report().warnings)


def test_the_report_warns_of_a_short_text_and_more_of_a_very_short_one(tmp_path: Path) -> None:
    assert "Very short: with 300" in warnings(tmp_path, "abc" * 100)
    assert "nothing is held out" in warnings(tmp_path, "abc" * 10_000)
    assert warnings(tmp_path, "abc" * 20_000) == ""


def test_the_report_warns_of_many_unknown_characters(tmp_path: Path) -> None:
    text = "abcdefghij" * 6_000
    assert "40.0% of the text" in warnings(tmp_path, text, max_vocab=6)
    assert "10 distinct" in warnings(tmp_path, text, whitelist="abc")
    assert "100.0% of the text" in warnings(tmp_path, text, vocabulary=Vocabulary("xyz"))


def test_the_report_warns_of_many_characters_that_occur_once(tmp_path: Path) -> None:
    rare = "".join(chr(0x4E00 + i) for i in range(100))
    assert "100 of the 110 characters occur only once" in warnings(tmp_path, rare + "abcdefghij" * 6_000)


def test_the_report_warns_of_a_text_that_was_damaged_before(tmp_path: Path) -> None:
    assert "12,000 characters are U+FFFD" in warnings(tmp_path, "caf\ufffd " * 12_000)


def words(seed: int, count: int, letters: str) -> str:
    random = np.random.default_rng(seed)
    lengths = random.integers(2, 9, count)
    weights = 1 / np.arange(1, len(letters) + 1)
    return " ".join("".join(random.choice(list(letters), n, p=weights / weights.sum())) for n in lengths)


def test_the_report_warns_when_the_end_is_another_kind_of_text_and_only_then(tmp_path: Path) -> None:
    book = words(1, 20_000, "etaoinshrdlucmfwypvbgk")
    assert warnings(tmp_path, book) == ""
    licence = words(2, 2_000, "etaoinshrdlucmfwypvbgk").upper()
    warning = warnings(tmp_path, book + licence)
    assert "The last tenth differs" in warning
    assert "spread" in warning
    assert "The last tenth differs" not in warnings(tmp_path, licence + book)
