"""Files that are no UTF-8 text are refused with their path, the byte and what would be right."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from charrnn.errors import InvalidCorpus
from charrnn.text.corpus import ingest

FRENCH = "Où est passé le garçon ? « Là-bas », dit-elle – c’était l’été.\n" * 30
RUSSIAN = "Все счастливые семьи похожи друг на друга, каждая несчастна по-своему.\n" * 30


def refusal(tmp_path: Path, content: bytes) -> str:
    source = tmp_path / "text.txt"
    source.write_bytes(content)
    with pytest.raises(InvalidCorpus) as error:
        ingest(source, tmp_path / "corpus.ids")
    assert str(source) in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["text.txt"]
    return str(error.value).replace(str(tmp_path), "")  # there may be any number in it


def test_an_empty_file(tmp_path: Path) -> None:
    message = refusal(tmp_path, b"")
    assert "is empty" in message
    assert "byte 0" in message


def test_a_file_with_nothing_but_a_byte_order_mark(tmp_path: Path) -> None:
    assert "empty but for a byte order mark" in refusal(tmp_path, b"\xef\xbb\xbf")


@pytest.mark.parametrize("content", [b"a", b"aaaa", b"\r\n\r\n", "\ufeff中中".encode()])
def test_a_single_distinct_character(tmp_path: Path, content: bytes) -> None:
    message = refusal(tmp_path, content)
    assert "one character only" in message
    assert "at least two" in message


def test_a_nul(tmp_path: Path) -> None:
    assert "NUL at byte 5;" in refusal(tmp_path, b"hello\0world")


def test_nuls_in_a_text_of_8_bits_are_not_called_utf16(tmp_path: Path) -> None:
    assert "NUL at byte 5;" in refusal(tmp_path, b"hello\0world, hello\0again" * 100)


def test_a_nul_far_into_a_long_text_is_told_by_its_offset_in_the_file(tmp_path: Path) -> None:
    content = "é\r\n".encode() * 1_000_000
    assert f"NUL at byte {len(content):,}" in refusal(tmp_path, content + b"\0")


def test_a_byte_that_is_no_utf8_is_told_with_its_line(tmp_path: Path) -> None:
    message = refusal(tmp_path, "первая\r\nвторая\r\n".encode() + b"\xff third")
    assert "byte 28 (line 3)" in message
    assert "FF 20 74 68" in message


def test_a_text_cut_in_the_middle_of_a_character(tmp_path: Path) -> None:
    message = refusal(tmp_path, "hello 中".encode()[:-1])
    assert "middle of a character at byte 6" in message


@pytest.mark.parametrize("text", [FRENCH, RUSSIAN, "天地玄黄\n宇宙洪荒 100\n" * 40])
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("mark", ["\ufeff", ""])
def test_utf16_is_recognised_with_and_without_its_mark(tmp_path: Path, text: str, encoding: str, mark: str) -> None:
    message = refusal(tmp_path, (mark + text).encode(encoding))
    assert encoding.upper().replace("-LE", "LE").replace("-BE", "BE") in message
    assert "iconv" in message
    assert "byte " in message


@pytest.mark.parametrize("encoding", ["utf-32-le", "utf-32-be"])
def test_utf32_is_recognised_by_its_mark(tmp_path: Path, encoding: str) -> None:
    assert encoding.upper().replace("-LE", "LE").replace("-BE", "BE") in refusal(
        tmp_path, ("\ufeff" + FRENCH).encode(encoding)
    )


@pytest.mark.parametrize("text", [FRENCH, "caf\xe9 noir", "Plain for long. " * 5000 + "50 \x80"])
def test_windows_1252_is_recognised(tmp_path: Path, text: str) -> None:
    content = text.encode("latin-1") if "\x80" in text else text.encode("cp1252")
    offset = next(i for i, byte in enumerate(content) if byte >= 0x80)
    message = refusal(tmp_path, content)
    assert "Windows-1252" in message
    assert f"byte {offset:,} " in message


@pytest.mark.parametrize(
    "content", [RUSSIAN.encode("cp1251"), RUSSIAN.encode("koi8-r"), ("天地玄黄" * 50).encode("gbk")]
)
def test_other_old_encodings_are_refused_and_not_called_windows_1252(tmp_path: Path, content: bytes) -> None:
    message = refusal(tmp_path, content)
    assert "not UTF-8" in message
    assert "1252" not in message
    assert "UTF-16" not in message


def test_one_broken_byte_in_a_utf8_text_is_not_called_windows_1252(tmp_path: Path) -> None:
    message = refusal(tmp_path, FRENCH.encode() + b"\xe9 \n" + FRENCH.encode())
    assert "1252" not in message


@pytest.mark.parametrize(
    ("start", "what"),
    [(b"PK\x03\x04", "ZIP"), (b"%PDF-1.7\n", "PDF"), (b"\x1f\x8b\x08", "gzip"), (b"BZh91AY", "bzip2")],
)
def test_files_that_hold_a_text_in_another_form_are_named(tmp_path: Path, start: bytes, what: str) -> None:
    assert what in refusal(tmp_path, start + bytes(range(256)) * 4)


def test_a_text_about_pdf_is_a_text(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("%PDF is how such files begin")
    assert len(ingest(tmp_path / "text.txt", tmp_path / "corpus.ids")) == 28


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(InvalidCorpus, match="is a folder"):
        ingest(tmp_path, tmp_path / "corpus.ids")


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidCorpus, match=r"there is no file at .*missing\.txt"):
        ingest(tmp_path / "missing.txt", tmp_path / "corpus.ids")


def test_a_path_that_no_file_can_have(tmp_path: Path) -> None:
    with pytest.raises(InvalidCorpus):
        ingest("a\0b", tmp_path / "corpus.ids")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_a_pipe_is_refused_at_once_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidCorpus, match="save it to a file first"):
        ingest(tmp_path / "pipe", tmp_path / "corpus.ids")
