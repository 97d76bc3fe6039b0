"""Model and checkpoint files: written whole or not at all, and believed only after they were checked."""

from __future__ import annotations

import json
import os
import pickle
import struct
import subprocess
import sys
import threading
import zipfile

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charrnn.errors import InvalidModel
from charrnn.network import file
from charrnn.network.file import read_tensors, write_tensors

TENSORS = {
    "a": np.arange(6, dtype=np.float32).reshape(2, 3),
    "b": np.array([1, 2], np.int64),
    "empty": np.zeros((0, 4), np.float32),
    "one": np.array(3.5, np.float64),
    "bytes": np.array([[True, False]]),
}
METADATA = {"kind": "model", "text": "é漢🙂\n", "list": [1, 2.5, None, {"x": True}]}


def raw(header, data=b"", *, length=None, text=False):
    encoded = header if text else json.dumps(header).encode()
    return struct.pack("<Q", len(encoded) if length is None else length) + encoded + data


def with_metadata(entries=None, metadata=None):
    text = json.dumps(metadata or {"format_version": 1, "kind": "model"})
    return {"__metadata__": {"charrnn": text}, **(entries or {})}


def f32(start, stop, *shape):
    return {"dtype": "F32", "shape": list(shape), "data_offsets": [start, stop]}


def assert_refused(path, words):
    with pytest.raises(InvalidModel) as error:
        read_tensors(path)
    assert str(path) in str(error.value)
    assert words in str(error.value)
    assert len(str(error.value)) < 700


def test_what_was_written_is_read_again(tmp_path):
    path = tmp_path / "m.safetensors"
    write_tensors(path, TENSORS, METADATA)
    tensors, metadata = read_tensors(path, kind="model")
    assert metadata == {**METADATA, "format_version": 1}
    assert set(tensors) == set(TENSORS)
    for name, array in TENSORS.items():
        assert tensors[name].dtype == array.dtype
        np.testing.assert_array_equal(tensors[name], array)
        assert tensors[name].shape == array.shape


def test_the_bytes_depend_on_the_content_alone(tmp_path):
    write_tensors(tmp_path / "1", TENSORS, METADATA)
    write_tensors(tmp_path / "2", dict(reversed(TENSORS.items())), dict(reversed(METADATA.items())))
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


def test_any_safetensors_reader_can_open_it(tmp_path):
    path = tmp_path / "m.safetensors"
    write_tensors(path, TENSORS, METADATA)
    np.testing.assert_array_equal(safetensors.numpy.load_file(path)["a"], TENSORS["a"])
    with safetensors.safe_open(path, "numpy") as opened:
        assert list(opened.metadata()) == ["charrnn"]


def test_arrays_that_are_not_contiguous_or_of_the_other_byte_order_are_written_right(tmp_path):
    path = tmp_path / "m.safetensors"
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    write_tensors(path, {"t": array.T, "big": array.astype(">f4")}, {"kind": "model"})
    tensors, _ = read_tensors(path)
    np.testing.assert_array_equal(tensors["t"], array.T)
    np.testing.assert_array_equal(tensors["big"], array)


def test_numbers_that_are_not_finite_are_neither_written_nor_read(tmp_path):
    path = tmp_path / "m.safetensors"
    for value in (np.nan, np.inf, -np.inf):
        with pytest.raises(InvalidModel, match="not finite"):
            write_tensors(path, {"a": np.array([1, value], np.float32)}, {})
        assert not path.exists()
        path.write_bytes(raw(with_metadata({"a": f32(0, 4, 1)}), np.float32(value).tobytes()))
        assert_refused(path, "not finite")
        path.unlink()


def test_a_write_that_fails_changes_nothing_and_leaves_nothing_behind(tmp_path, monkeypatch):
    path = tmp_path / "m.safetensors"
    write_tensors(path, TENSORS, METADATA)
    before = path.read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_tensors(path, {"a": TENSORS["a"]}, {})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_metadata_that_is_no_json_is_not_written(tmp_path):
    for bad in ({"x": float("nan")}, {"x": object()}):
        with pytest.raises((TypeError, ValueError)):
            write_tensors(tmp_path / "m", TENSORS, bad)
    assert list(tmp_path.iterdir()) == []


def test_a_reader_never_sees_half_a_file(tmp_path):
    path = tmp_path / "m.safetensors"
    arrays = [{"a": np.full(50_000, value, np.float32)} for value in (1, 2)]
    write_tensors(path, arrays[0], {})
    done = threading.Event()

    def write():
        for turn in range(40):
            write_tensors(path, arrays[turn % 2], {})
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not done.is_set():
        values = read_tensors(path)[0]["a"]
        assert values.min() == values.max()
    writer.join()


def test_a_file_cut_off_anywhere_is_refused(tmp_path):
    path = tmp_path / "m.safetensors"
    write_tensors(path, TENSORS, METADATA)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(InvalidModel, match=r"cut off|empty"):
            read_tensors(path)
    path.write_bytes(whole + b"\0")
    assert_refused(path, "1 bytes too long")


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_file_with_flipped_bytes_is_read_or_refused_but_never_more(tmp_path, data):
    path = tmp_path / "m.safetensors"
    write_tensors(path, TENSORS, METADATA)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content))
    try:
        tensors, metadata = read_tensors(path)
    except InvalidModel as error:
        refused = str(error)
    else:
        refused = f"{path}: not refused"
        assert isinstance(metadata, dict)
        assert all(np.isfinite(array).all() for array in tensors.values())
    assert refused.startswith(f"{path}: ")


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_but_never_more(tmp_path, content):
    path = tmp_path / "m.safetensors"
    path.write_bytes(content)
    with pytest.raises(InvalidModel):
        read_tensors(path)


def test_missing_files_and_folders_are_named(tmp_path):
    assert_refused(tmp_path / "nothing.safetensors", "there is no such file")
    assert_refused(tmp_path, "is a folder")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (struct.pack("<Q", 2**63) + b"{}", "announce a header"),
        (struct.pack("<Q", file.HEADER_LIMIT + 1), "announce a header"),
        (b"To be, or not to be, that is the question", "announce a header"),
        (raw(b"[]", text=True), "no JSON object"),
        (raw(b"{", text=True), "not valid JSON"),
        (raw(b"\xff\xff", text=True), "not valid JSON"),
        (raw(b'{"a":NaN}', text=True), "not valid JSON"),
        (raw(b'{"a":1,"a":1}', text=True), "given twice"),
        (raw(b'{"a":' + b"9" * 5000 + b"}", text=True), "not valid JSON"),
        (raw(b"[" * 150_000 + b"]" * 150_000, text=True), "nested too deeply"),
        (raw(b'{"a":' * 100_000 + b"1" + b"}" * 100_000, text=True), "nested too deeply"),
        (raw(b"[" + b"[]," * 300_000 + b"1]", text=True), "more than 200000"),
        (raw({"a": f32(0, 0, 0)}), "not charrnn's"),
        (raw({"__metadata__": {"format": "pt"}}), "not charrnn's"),
        (raw({"__metadata__": {"charrnn": 3}}), "not charrnn's"),
        (raw({"__metadata__": "charrnn"}), "not charrnn's"),
        (raw({"__metadata__": {"charrnn": "[" * 90_000}}), "nested too deeply"),
        (raw({"__metadata__": {"charrnn": "{"}}), "not valid JSON"),
        (raw({"__metadata__": {"charrnn": "\ud800"}}), "not valid JSON"),
        (raw({"__metadata__": {"charrnn": "[]"}}), "no format_version"),
        (raw(with_metadata(metadata={"kind": "model"})), "no format_version"),
        (raw(with_metadata(metadata={"format_version": True})), "no format_version"),
        (raw(with_metadata(metadata={"format_version": 2})), "newer charrnn"),
        (raw(with_metadata({"a": f32(0, 4, 2)}), bytes(4)), "4 bytes where"),
        (raw(with_metadata({"a": f32(0, 4, -1, -1)}), bytes(4)), "no list of whole numbers"),
        (raw(with_metadata({"a": f32(0, 4, 1.0)}), bytes(4)), "no list of whole numbers"),
        (raw(with_metadata({"a": f32(0, 4, True)}), bytes(4)), "no list of whole numbers"),
        (raw(with_metadata({"a": f32(4, 0, 1)}), bytes(4)), "-4 bytes where"),
        (raw(with_metadata({"a": f32(0, 0, 2**40, 2**40, 0)})), None),
        (raw(with_metadata({"a": f32(0, 4, *[1] * 9)}), bytes(4)), "no list of whole numbers"),
        (raw(with_metadata({"a": f32(0, 8, 2), "b": f32(4, 12, 2)}), bytes(12)), "starts at byte 4"),
        (raw(with_metadata({"a": f32(0, 4, 1), "b": f32(8, 12, 1)}), bytes(12)), "starts at byte 8"),
        (raw(with_metadata({"a": f32(0, 4, 1)}), bytes(8)), "4 bytes too long"),
        (raw(with_metadata({"a": f32(0, 2**40, 2**38)}), bytes(8)), "cut off"),
        (raw(with_metadata({"a": {**f32(0, 4, 1), "dtype": "BF16"}}), bytes(4)), "does not use"),
        (raw(with_metadata({"a": {**f32(0, 4, 1), "dtype": []}}), bytes(4)), "does not use"),
        (raw(with_metadata({"a": {"dtype": "F32", "shape": [1]}}), bytes(4)), "not described"),
        (raw(with_metadata({"a" * 5000: []})), "not described"),
    ],
)
def test_a_hostile_or_damaged_file_is_refused_with_the_reason(tmp_path, content, words):
    path = tmp_path / "m.safetensors"
    path.write_bytes(content)
    if words is None:
        with pytest.raises(InvalidModel):
            read_tensors(path)
    else:
        assert_refused(path, words)


def test_another_kind_of_file_of_ours_is_refused(tmp_path):
    path = tmp_path / "c.safetensors"
    write_tensors(path, TENSORS, {"kind": "checkpoint"})
    with pytest.raises(InvalidModel, match="holds a checkpoint; a model is needed"):
        read_tensors(path, kind="model")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("converter.pkl", "a pickle"),
        ("x.pickle", "a pickle"),
        ("model-10000.ckpt", "a TensorFlow checkpoint"),
        ("model.ckpt-200", "a TensorFlow checkpoint"),
        ("checkpoint", "a TensorFlow checkpoint"),
        ("model-20000.index", "a TensorFlow checkpoint"),
        ("model-20000.meta", "a TensorFlow checkpoint"),
        ("model-20000.data-00000-of-00001", "a TensorFlow checkpoint"),
        ("model.h5", "a Keras model"),
        ("model.keras", "a Keras model"),
    ],
)
def test_files_of_older_programs_are_recognised_by_name_even_if_they_are_missing(tmp_path, name, words):
    assert_refused(tmp_path / name, words)


def test_what_is_neither_file_nor_folder_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "m.safetensors")
    assert_refused(tmp_path / "m.safetensors", "is no file")


def test_our_own_checkpoint_name_is_not_taken_for_tensorflows(tmp_path):
    path = tmp_path / "shakespeare.checkpoint.safetensors"
    write_tensors(path, TENSORS, {})
    assert set(read_tensors(path)[0]) == set(TENSORS)


class Harm:
    def __reduce__(self):
        return (os.mkdir, ("harm",))


def test_a_pickle_under_another_name_is_recognised_and_not_opened(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "m.safetensors"
    for protocol in range(6):
        path.write_bytes(pickle.dumps(Harm(), protocol))
        assert_refused(path, "a pickle" if protocol >= 2 else "not a charrnn model")
    assert not (tmp_path / "harm").exists()


def test_hdf5_and_zip_files_are_recognised(tmp_path):
    path = tmp_path / "m.safetensors"
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    assert_refused(path, "HDF5")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x", "y")
    assert_refused(path, "zip archive")


def test_a_header_of_the_lengths_that_look_like_a_pickle_is_still_read(tmp_path):
    path = tmp_path / "m.safetensors"
    for second in (2, 3, 4, 5):
        header = json.dumps(with_metadata()).encode()
        header += b" " * (0x80 + 256 * second - len(header))
        path.write_bytes(raw(header, text=True))
        assert read_tensors(path)[0] == {}


def test_a_killed_write_leaves_the_old_file_whole(tmp_path):
    """A real process is killed while it writes the same file again and again."""
    path = tmp_path / "m.safetensors"
    script = f"""
import numpy as np
from charrnn.network.file import write_tensors
n = 0
while True:
    n += 1
    write_tensors({str(path)!r}, {{"a": np.full(300_000, n, np.float32)}}, {{"n": n}})
    if n == 1:
        print("started", flush=True)
"""
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
        process.stdout.readline()
        process.kill()
        process.wait()
        tensors, metadata = read_tensors(path)
        assert (tensors["a"] == metadata["n"]).all()
