"""A text that is checked as it comes is refused at the same byte as when it is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from charrnn.errors import InvalidCorpus
from charrnn.text.corpus import ingest
from charrnn.text.source import ArrivingText

TEXT = "Zwölf Boxkämpfer 🙂\r\njagen Viktor\n" * 30


def arrive(path: Path, content: bytes, size: int) -> None:
    """Write `content` in chunks of a size, and check each as soon as it is written."""
    text = ArrivingText(path)
    with path.open("wb", buffering=0) as file:
        for start in range(0, len(content), size):
            file.write(content[start : start + size])
            text.take(content[start : start + size])
    text.end()


@pytest.mark.parametrize("size", [1, 2, 3, 5, 64, 10_000])
@pytest.mark.parametrize("text", [TEXT, "﻿" + TEXT, "a", "\r\n", "🙂", "﻿"])
def test_what_is_text_is_taken_whatever_it_is_cut_into(tmp_path: Path, text: str, size: int) -> None:
    arrive(tmp_path / "text", text.encode(), size)


@pytest.mark.parametrize("size", [1, 3, 64, 10_000])
@pytest.mark.parametrize(
    "wrong",
    [
        TEXT.encode() + b"\xff more", TEXT.encode() + b"\xc3", TEXT.encode() + b"\xf0\x9f\x99",
        b"\xed\xa0\x80 surrogate",
        TEXT.encode() + b"a\0b", "Où est passé le garçon ?".encode("cp1252"), b"\xc0\xaf", TEXT.encode("utf-16"),
        TEXT.encode("utf-16-le"), b"\xff\xfe\0\0a", b"\xff\xfe", b"%PDF-1.7\n\xe2\xe3",
    ],
)  # fmt: skip
def test_what_is_no_text_is_refused_at_the_same_byte(tmp_path: Path, wrong: bytes, size: int) -> None:
    (tmp_path / "whole").write_bytes(wrong)
    with pytest.raises(InvalidCorpus) as whole:
        ingest(tmp_path / "whole", tmp_path / "ids")
    with pytest.raises(InvalidCorpus) as arriving:
        arrive(tmp_path / "text", wrong, size)
    assert byte(arriving.value) == byte(whole.value)
    if size > len(wrong):
        assert str(arriving.value) == str(whole.value).replace(str(tmp_path / "whole"), str(tmp_path / "text"))


def test_it_is_refused_long_before_its_end(tmp_path: Path) -> None:
    text = ArrivingText(tmp_path / "text")
    (tmp_path / "text").write_bytes(b"a\xffb and much more")
    with pytest.raises(InvalidCorpus, match="at byte 1 "):
        text.take(b"a\xffb and much more")


@given(some.text(min_size=1).filter(lambda text: "\0" not in text), some.integers(1, 20))
def test_any_text_is_taken(tmp_path_factory: pytest.TempPathFactory, text: str, size: int) -> None:
    arrive(tmp_path_factory.getbasetemp() / "any text", text.encode(), size)


def byte(error: InvalidCorpus) -> str:
    found = re.search(r"at byte ([\d,]+)", str(error))
    assert found, error
    return found[1]
