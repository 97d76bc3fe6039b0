"""Text to ids: how fast both passes over a large file are together, and how much unshared memory they take.

    python -m benchmarks.ingest [--size 1GB] [--folder FOLDER] [--runs 3]

Makes one file of ASCII and one of mixed UTF-8 in a temporary folder, turns each into ids in a child process, and prints
one table. Rates are bytes of text per second of wall time, the writing of the ids to the disk (fsync) included in
`both`. Memory is the highest RssAnon that was seen every 5 ms: what the process has for itself, without mapped files.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random

from rich.console import Console
from rich.table import Table

from benchmarks.table import Row, say

BAR_SPEED, AIM_SPEED, BAR_MEMORY = 100, 300, 200  # MB/s, MB/s, MB

ENGLISH = (
    "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness; "
    "Just quick foxes and very lazy dogs would ask (or yell): 'JUMP!' 1, 2, 3, 4, 567, 890 - X, Y & Z?\n"
)
MIXED = (
    "Le cœur a ses raisons, que la raison ne connaît point ; on le sait en mille choses.\n",
    "Die süßen Trauben hängen höher, als der Fuchs springt – „sauer“ nennt er sie.\n",
    "Все счастливые семьи похожи друг на друга, каждая несчастлива по-своему.\n",
    "天地玄黃， 宇宙洪荒。 日月盈昃， 辰宿列張。 寒來暑往， 秋收冬藏。 閏餘成歲， 律呂調陽。\n",
    "في البدء كانت الكلمة، والكلمة كانت عند الناس.\n",
    "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.\n",
    "Party 🎉🎉 at 8, bring cake 🍰 and e\u0301clairs 👩‍🍳!\n",
    ENGLISH,
)
TEXTS = (("ASCII", (ENGLISH,)), ("mixed UTF-8", MIXED))
CHILD = """
import json, sys, threading, time
from charrnn.text.corpus import ingest

def anonymous():
    with open("/proc/self/status") as status:
        return next((int(line.split()[1]) / 1024 for line in status if line.startswith("RssAnon")), None)

peak, ended = anonymous(), threading.Event()
def watch():
    global peak
    while not ended.wait(0.005):
        peak = max(peak, anonymous())

watcher = threading.Thread(target=watch)
if peak is not None:
    watcher.start()
first = None
def progress(done):
    global first
    if first is None and done >= 0.5:
        first = time.perf_counter()
begin = time.perf_counter()
corpus = ingest(sys.argv[1], sys.argv[2], progress=progress)
end = time.perf_counter()
ended.set()
print(json.dumps({"first": first - begin, "second": end - first, "both": end - begin, "memory": peak,
                  "characters": len(corpus), "distinct": corpus.distinct}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="1GB", help="of each file: 1GB, 100MB …")
    parser.add_argument("--folder", help="where to make the files; the system's temporary folder if not given")
    parser.add_argument("--runs", type=int, default=3, help="of each kind; the table shows the median")
    arguments = parser.parse_args()
    size = parsed_size(arguments.size)
    table = Table(title=f"Text to ids, {arguments.size} a file, {os.cpu_count()} cores, median of {arguments.runs}")
    for column in ("text", "characters", "distinct", "pass 1, MB/s", "pass 2, MB/s", "both, MB/s", "bar", "aim",
                   "unshared memory, MB", "bar"):  # fmt: skip
        table.add_column(column, justify="left" if column == "text" else "right")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        for name, lines in TEXTS:
            source = Path(folder) / "text.txt"
            write_text(source, lines, size)
            table.add_row(*measured(name, source, arguments.runs))
            source.unlink()
    Console(width=None if sys.stdout.isatty() else 120).print(table)


def rows(size: int = 10**9, runs: int = 3) -> Iterator[Row]:
    """A row of speed and one of memory for each kind of text."""
    with tempfile.TemporaryDirectory() as folder:
        for name, lines in TEXTS:
            say(f"text to ids, {name}")
            source = Path(folder) / "text.txt"
            write_text(source, lines, size)
            results = [run(source) for _ in range(runs)]
            source.unlink()
            speed = size / 1e6 / statistics.median(result["both"] for result in results)
            memory = max((result["memory"] or math.nan) for result in results)
            what = f"text to ids, {size / 1e9:g} GB of {name}"
            yield Row(f"{what}, MB/s", f"{speed:,.0f}", "", "", str(BAR_SPEED), str(AIM_SPEED))
            yield Row(f"{what}, unshared memory, MB", f"{memory:,.0f}", "", "", str(BAR_MEMORY), "")


def parsed_size(text: str) -> int:
    units = {"GB": 10**9, "MB": 10**6, "KB": 10**3}
    number, unit = text[:-2], text[-2:].upper()
    if unit not in units:
        raise SystemExit(f"--size is a number and GB, MB or KB, as 1GB; not {text!r}")
    return int(float(number) * units[unit])


def write_text(path: Path, lines: tuple[str, ...], size: int) -> None:
    """A file of at least `size` bytes: lines of one language each, in which its words come in random order.

    Without the randomness the processor would learn the text by heart and branch as no real text lets it.
    """
    random = Random(1)
    words = [line.split() for line in lines]
    block = "".join(" ".join(random.choices(line, k=14)) + "\n" for line in random.choices(words, k=60_000)).encode()
    with path.open("wb") as file:
        while file.tell() < size:
            file.write(block)


def measured(name: str, source: Path, runs: int) -> list[str]:
    size = source.stat().st_size / 1e6
    results = [run(source) for _ in range(runs)]
    middle = {key: statistics.median(result[key] for result in results) for key in ("first", "second", "both")}
    memory = results[0]["memory"] and max(result["memory"] for result in results)
    return [
        name, f"{results[0]['characters']:,}", f"{results[0]['distinct']:,}",
        *(f"{size / middle[key]:,.0f}" for key in ("first", "second", "both")), f"{BAR_SPEED}", f"{AIM_SPEED}",
        "not known here" if memory is None else f"{memory:,.0f}", f"{BAR_MEMORY}",
    ]  # fmt: skip


def run(source: Path) -> dict[str, float]:
    ids = source.with_name("corpus.ids")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    command = [sys.executable, "-c", CHILD, str(source), str(ids)]
    result = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    ids.unlink()
    answer: dict[str, float] = json.loads(result.stdout)
    return answer


if __name__ == "__main__":
    main()
