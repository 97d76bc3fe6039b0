"""Trains the model that ships inside the package, `charrnn/data/python.safetensors`: it writes Python, more or less.

    .venv/bin/python scripts/train_shipped_model.py

The text is the running Python's own standard library, which is free to learn from and to pass on (PSF licence). The
network is small on purpose: the file stays under 2 MB.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import charrnn

TARGET = Path(charrnn.__file__).parent / "data" / "python.safetensors"
LIMIT = 2_000_000  # bytes


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        text, model = Path(folder) / "the standard library of Python.txt", Path(folder) / "python.safetensors"
        charrnn.samples.write("python", text, limit=8_000_000)
        charrnn.train(
            text, output=model, progress=True, minutes=3, rnn_size=256, max_vocab=100, validation="spread",
        )  # fmt: skip
        if model.stat().st_size > LIMIT:
            raise SystemExit(f"the model is {model.stat().st_size:,} bytes, more than the {LIMIT:,} that ship")
        TARGET.parent.mkdir(exist_ok=True)
        TARGET.write_bytes(model.read_bytes())
    print(f"{TARGET}: {TARGET.stat().st_size:,} bytes, {charrnn.load(TARGET)}")


if __name__ == "__main__":
    main()
