"""The jobs' database under load: how long pages, searches, claims and log tails take among millions.

    python -m benchmarks.database [--models 1000000] [--lines 20000000] [--calls 500] [--folder FOLDER]

Starts a MariaDB of its own in a temporary folder (6 GB), fills it in some minutes, and prints one table. Times are
those of `charrnn.jobs.store`, from the call to the records, when the server has warmed up. Half of the pages are first
ones, half begin anywhere. The names are what makes searching hard: one prefix begins 400,000 of them, another only old
ones, a single one, or none.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from rich.console import Console
from rich.table import Table

from benchmarks.table import Row, say
from charrnn.jobs.database import Database
from charrnn.jobs.schema import STRETCH
from charrnn.jobs.status import Status
from charrnn.jobs.store import Store
from tests.mariadb import MariaDB, started

BAR = 50  # ms, of the 99th percentile of each
SERVER = ("--innodb-buffer-pool-size=1G", "--innodb-log-file-size=512M")
WITH_LOG = 16  # one of so many models has a log: that whose id ends in 0
AT_A_TIME = 100_000  # models in one statement
WARMING_UP = 100  # calls of each kind that do not count

# A model's number, `seq`, decides on everything. Ids are hexadecimal, and lower than those that are made today.
ID = "CONCAT('01h', LPAD(LOWER(HEX(seq)), 23, '0'))"
NAME = """CASE seq % 10
    WHEN 0 THEN CONCAT('run-', seq) WHEN 1 THEN CONCAT('run-', seq)
    WHEN 2 THEN CONCAT('run-', seq) WHEN 3 THEN CONCAT('run-', seq)
    WHEN 4 THEN CONCAT('shakespeare ', seq % 997) WHEN 5 THEN CONCAT('my novel, take ', seq % 13)
    WHEN 6 THEN CONCAT(LOWER(CONV(CRC32(seq), 10, 36)), ' poems') WHEN 7 THEN 'untitled'
    WHEN 8 THEN CONCAT('größe 🎉 ', seq) ELSE CONCAT(IF(seq < {models} / 2, 'archive ', 'experiment '), seq) END"""
STATUS = """CASE WHEN CRC32(seq) % 100000 < 2 THEN 'running' WHEN CRC32(seq) % 20 < 14 THEN 'complete'
    ELSE ELT(CRC32(seq) % 20 - 13, 'queued', 'draft', 'ready', 'stopped', 'stopped', 'failed') END"""
MODELS = f"""INSERT INTO model (id, stretch, name, name_key, owner, status, options, sampling, corpus_bytes, step,
    seconds, attempt, deaths, stop_requested, worker_host, lease_until, queued_at, created_at, updated_at)
SELECT id, seq DIV {STRETCH}, name, REPLACE(name, 'ß', 'ss'), CONCAT('user ', CRC32(seq) % 20000), status,
    '{{{{"minutes": 3.0}}}}', '{{{{}}}}', 1000000, 1000, 180, 1, 0, 0, IF(status = 'running', 'elsewhere', NULL),
    IF(status = 'running', UTC_TIMESTAMP(6) + INTERVAL 1 DAY, NULL), created, created, created
FROM (SELECT seq, {ID} AS id, {NAME} AS name, {STATUS} AS status,
    UTC_TIMESTAMP(6) - INTERVAL {{models}} - seq SECOND AS created FROM seq_{{first}}_to_{{last}}) AS made"""
LINES = """INSERT INTO model_log (model_id, position, created_at, chunk)
SELECT id, seq, UTC_TIMESTAMP(6), CONCAT('step ', seq, '  epoch 0.', seq, '  loss 1.', seq, '23  7,123 characters/s')
FROM (SELECT id FROM model WHERE id BETWEEN '{first}' AND '{last}' AND id LIKE '%0') AS some, seq_0_to_{lines}"""

# Of a million names, 400,000 begin with "run-", 44,444 of them, mostly old ones, with "run-1"; 50,000 old ones with
# "archive"; 100,000 are "untitled"; a few begin with "zz", and one with "run-123450".
PREFIXES = (
    "run-", "run-1", "RUN-12", "run-123450", "Größe 🎉", "größe 🎉 9", "shakespeare 77", "archive", "archive 4",
    "untitled", "my novel, take 1", "a", "zz", "nothing of the kind",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=1_000_000)
    parser.add_argument("--lines", type=int, default=20_000_000, help="of all logs together")
    parser.add_argument("--calls", type=int, default=500, help="of each kind")
    parser.add_argument("--folder", type=Path, help="where to make the database; a temporary folder if not given")
    options = parser.parse_args()
    title = f"{options.models:,} models, {options.lines:,} log lines, MariaDB, {options.calls} calls each; ms"
    table = Table(title=title)
    for column in ("what", "p50", "p99", "longest", "bar of p99"):
        table.add_column(column, justify="left" if column == "what" else "right")
    with filled(options.models, options.lines, options.folder) as store:
        for what, times in measured(store, options.models, options.calls).items():
            figures = (statistics.median(times), percentile(times, 99), max(times))
            table.add_row(what, *(f"{figure:.1f}" for figure in figures), str(BAR))
    Console(width=None if sys.stdout.isatty() else 120).print(table)


def rows(models: int = 1_000_000, lines: int = 20_000_000, calls: int = 500) -> Iterator[Row]:
    """A row for each kind of call."""
    with filled(models, lines, None) as store:
        for what, times in measured(store, models, calls).items():
            yield Row(f"{what}, p99 of {models:,} models, ms", f"{percentile(times, 99):.1f}", "", "", str(BAR), "")


@contextmanager
def filled(models: int, lines: int, folder: Path | None) -> Iterator[Store]:
    """A store on a server with that many models and log lines."""
    with tempfile.TemporaryDirectory(dir=folder) as temporary, started(Path(temporary), SERVER) as server:
        server.execute("CREATE DATABASE charrnn")
        database = Database(server.url("charrnn"))
        database.upgrade()
        fill(server, models, lines)
        yield Store(database)
        database.close()


def fill(server: MariaDB, models: int, lines: int) -> None:
    server.execute("SET GLOBAL innodb_flush_log_at_trx_commit = 0")
    begin = time.monotonic()
    for first in range(0, models, AT_A_TIME):
        last = min(first + AT_A_TIME, models) - 1
        server.execute(MODELS.format(models=models, first=first, last=last), "charrnn")
    server.execute(f"INSERT INTO model_counter VALUES (1, {models}, '{'0' * 26}')", "charrnn")
    say(f"database: {models:,} models after {time.monotonic() - begin:.0f} s")
    each = round(lines / models * WITH_LOG)
    for first in range(0, models, AT_A_TIME):
        last = min(first + AT_A_TIME, models) - 1
        server.execute(LINES.format(first=model_id(first), last=model_id(last), lines=each - 1), "charrnn")
    server.execute("ANALYZE TABLE model, model_log", "charrnn")
    server.execute("SET GLOBAL innodb_flush_log_at_trx_commit = 1")
    say(f"database: {lines:,} log lines after {time.monotonic() - begin:.0f} s")


def model_id(number: int) -> str:
    return f"01h{number:023x}"


def measured(store: Store, models: int, calls: int) -> dict[str, list[float]]:
    """Milliseconds of each call."""
    random = Random(1)

    def after() -> str | None:
        return random.choice([None, model_id(random.randrange(models))])

    def status() -> Status:
        return random.choice(list(Status))

    def tail() -> object:
        id = model_id(random.randrange(models // WITH_LOG) * WITH_LOG)
        return store.log(id, after=store.last_position(id) - 100)

    kinds: dict[str, Callable[[], object]] = {
        "page of the list": lambda: store.page(after=after()),
        "page of one status": lambda: store.page(status=status(), after=after()),
        "page by name prefix": lambda: store.page(prefix=random.choice(PREFIXES), after=after()),
        "page by name prefix and status": lambda: store.page(
            prefix=random.choice(PREFIXES), status=status(), after=after()
        ),
        "page of one owner": lambda: store.page(owner=f"user {random.randrange(20000)}"),
        "claim of the next job": lambda: store.claim("here", 3600),
        "tail of a log, 100 lines": tail,
    }
    for call in kinds.values():
        for _ in range(WARMING_UP):
            call()
    return {what: [milliseconds(call) for _ in range(calls)] for what, call in kinds.items()}


def milliseconds(call: Callable[[], object]) -> float:
    begin = time.perf_counter()
    call()
    return (time.perf_counter() - begin) * 1000


def percentile(times: list[float], percent: float) -> float:
    return sorted(times)[math.ceil(len(times) * percent / 100) - 1]


if __name__ == "__main__":
    main()
