"""What a received file is called."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from charrnn.received import shown_name


@pytest.mark.parametrize("name", ["<b>bold.txt", "<b>", "<", "a<b>.txt"])
def test_a_file_whose_name_begins_with_an_angle_bracket_keeps_its_name(name: str) -> None:
    upload = io.BytesIO(b"text")
    upload.name = name
    assert shown_name(upload, "text") == name
    assert shown_name(Path("folder") / name, "text") == name


def test_standard_input_is_not_the_name_of_a_file() -> None:
    stream = io.BytesIO(b"text")
    stream.name = "<stdin>"
    assert shown_name(stream, "text") == "text"
