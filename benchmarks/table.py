"""The rows of the benchmark table, and the peer that several of them are measured against."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass

NOT_RUN = "not run"


@dataclass(frozen=True)
class Row:
    """One figure: ours, the peer's from the same run (None: it was not run), and what has to be reached."""

    figure: str
    ours: str
    peer: str | None
    ratio: str
    bar: str
    aim: str

    def cells(self) -> tuple[str, ...]:
        """The row as text."""
        return self.figure, self.ours, NOT_RUN if self.peer is None else self.peer, self.ratio, self.bar, self.aim


HEADER = ("figure", "charrnn", "peer", "ratio", "bar", "aim")


def markdown(rows: Iterable[Row]) -> str:
    """The rows as one Markdown table, columns aligned."""
    lines = [HEADER, *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADER))]
    texts = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
             for line in lines]  # fmt: skip
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([texts[0], rule, *texts[1:]])


@dataclass(frozen=True)
class Peer:
    """PyTorch's LSTM: a script of its own, in an environment of its own."""

    script: str
    python: str

    def figures(self, *arguments: object, bf16: bool = False) -> list[float]:
        """Run it and return the numbers it prints after `: `, in order."""
        command = [self.python, self.script, *(["--bf16"] if bf16 else []), *map(str, arguments)]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        _, _, figures = output.strip().splitlines()[-1].partition(": ")
        numbers = [float(number) for number in re.findall(r"\d+\.?\d*", figures)]
        if not numbers:
            raise SystemExit(f"the peer printed no figure: {output!r}")
        return numbers


def say(text: str) -> None:
    """Progress of a long benchmark, beside the table."""
    print(text, file=sys.stderr, flush=True)
