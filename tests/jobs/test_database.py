"""How the database is reached, what a failure of it does, and what is said of it."""

from __future__ import annotations

import sqlite3
import subprocess
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import Connection, text, update

from charrnn.errors import DatabaseUnavailable, InvalidSettings
from charrnn.jobs import database as database_module
from charrnn.jobs.database import Database
from charrnn.jobs.records import Claim, CorpusFacts, Delivery, Metric, ModelRecord
from charrnn.jobs.schema import Model
from charrnn.jobs.status import Status
from charrnn.jobs.store import Store
from tests.jobs.trainings import wait_for
from tests.mariadb import MariaDB, started

FACTS = CorpusFacts("a.txt", 10, 10, 5, 6, "a" * 64, "b" * 64, 20, "t", "i")


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    database = Database(database_url)
    database.upgrade()
    yield Store(database)
    database.close()


def running(store: Store) -> Claim:
    store.enqueue(store.create("faust", corpus=FACTS).id)
    claim = store.claim("here", 60)
    assert claim is not None
    return claim


# -- URLs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    ["", "nonsense", "postgresql://host/name", "mysql://host", "mysql://host:port/name", "sqlite://", "sqlite:///:memory:"],
)  # fmt: skip
def test_a_url_that_cannot_be_one_is_refused_by_the_name_of_its_setting(url: str) -> None:
    with pytest.raises(InvalidSettings, match=r"^CHARRNN_DATABASE_URL: "):
        Database(url)


@pytest.mark.parametrize("scheme", ["mysql", "mysql+pymysql", "mariadb", "mariadb+pymysql"])
def test_mysql_and_mariadb_are_reached_in_the_same_way(scheme: str, mariadb: str) -> None:
    database = Database(mariadb.replace("mysql", scheme, 1))
    database.upgrade()
    database.prepare()
    database.close()


def test_a_password_is_in_no_text_and_no_error(mariadb_server: MariaDB) -> None:
    urls = [
        f"mysql://nobody:SECRET@127.0.0.1:{mariadb_server.port}/charrnn",
        "mysql://nobody:SECRET@127.0.0.1:1/charrnn",
        "mysql://nobody:SECRET@host.invalid/charrnn",
    ]
    for url in urls:
        database = Database(url)
        assert "SECRET" not in repr(database) + str(database)
        with pytest.raises(DatabaseUnavailable, match="does not answer") as caught:
            database.prepare()
        assert "nobody:***@" in str(caught.value)
        assert "SECRET" not in "".join(traceback.format_exception(caught.value))
    url = urls[1].replace(":1/", ":port/")
    with pytest.raises(InvalidSettings) as refused:
        Database(url)
    assert "SECRET" not in "".join(traceback.format_exception(refused.value))


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DatabaseUnavailable, match=r"the folder .*file of the database cannot be made"):
        Database(f"sqlite:///{tmp_path / 'file' / 'charrnn.sqlite3'}").prepare()


# -- transactions ----------------------------------------------------------------------------------------------------


def test_a_transaction_that_fails_leaves_nothing_behind(store: Store) -> None:
    model = store.create("faust")

    def work(connection: Connection) -> None:
        connection.execute(update(Model).values(name="changed"))
        raise KeyError("in the middle")

    with pytest.raises(KeyError, match="in the middle"):
        store.database.write(work)
    assert store.get(model.id) == model


def test_a_snapshot_is_of_one_moment_however_often_it_asks(store: Store) -> None:
    store.create("faust")

    def work(connection: Connection) -> list[int]:
        counts = [connection.scalar(text("SELECT COUNT(*) FROM model"))]
        store.create("mephisto")
        counts += [connection.scalar(text("SELECT COUNT(*) FROM model"))]
        return counts

    assert store.database.read(work) == [1, 2] if not store.database.embedded else [1, 1]
    before = len(store.page().models)
    assert store.database.snapshot(work) == [before, before]
    assert len(store.page().models) == before + 1


def test_whoever_only_reads_asks_the_server_nothing_else(mariadb: str) -> None:
    database = Database(mariadb)

    def statements(connection: Connection) -> int:
        return int(connection.execute(text("SHOW SESSION STATUS LIKE 'Questions'")).one()[1])

    def something(connection: Connection) -> None:
        connection.execute(text("SELECT 1"))

    before = database.read(statements)
    for _ in range(5):
        database.read(something)
    assert database.read(statements) == before + 6
    database.write(something)
    assert database.read(statements) == before + 6 + 4  # BEGIN and COMMIT were two of them
    database.close()


def test_those_who_write_to_sqlite_wait_for_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "BUSY_SECONDS", 0.1)
    file = tmp_path / "charrnn.sqlite3"
    impatient = Store(Database(f"sqlite:///{file}"))
    impatient.database.prepare()
    monkeypatch.undo()
    patient = Store(Database(f"sqlite:///{file}"))
    other = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    assert patient.page().models == []  # readers do not wait
    with pytest.raises(DatabaseUnavailable, match="locked"):
        impatient.create("faust")
    threading.Timer(0.2, other.execute, ["COMMIT"]).start()
    assert patient.create("faust").name == "faust"
    other.close()


def test_a_new_sqlite_file_waits_for_whoever_sets_it_up_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "charrnn.sqlite3"
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            other.execute("COMMIT")

    monkeypatch.setattr("charrnn.jobs.database.time.sleep", sleep)
    database = Database(f"sqlite:///{file}")
    assert database.read(lambda connection: connection.scalar(text("PRAGMA journal_mode"))) == "wal"
    assert len(waits) == 3
    database.close()
    other.close()


def test_a_transaction_that_lost_a_race_is_made_again(mariadb: str) -> None:
    database = Database(mariadb)
    database.upgrade()
    store = Store(database)
    ids = [store.create("faust").id for _ in range(2)]
    both_have_one = threading.Barrier(2)
    tries: list[str] = []

    def swap(first: str, second: str) -> None:
        def work(connection: Connection) -> None:
            tries.append(first)
            connection.execute(update(Model).where(Model.id == first).values(step=Model.step + 1))
            if len(tries) <= 2:
                both_have_one.wait(120)
            connection.execute(update(Model).where(Model.id == second).values(step=Model.step + 1))

        database.write(work)

    threads = [threading.Thread(target=swap, args=pair) for pair in (ids, ids[::-1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    assert len(tries) == 3
    assert [store.get(id).step for id in ids] == [2, 2]
    database.close()


def test_deleting_in_sqlite_keeps_to_foreign_keys(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'charrnn.sqlite3'}")
    database.prepare()
    pragmas = {name: database.read(lambda connection, name=name: connection.scalar(text(f"PRAGMA {name}")))
               for name in ("foreign_keys", "journal_mode", "synchronous")}  # fmt: skip
    assert pragmas == {"foreign_keys": 1, "journal_mode": "wal", "synchronous": 2}


# -- a server that goes away -----------------------------------------------------------------------------------------


def test_a_server_that_was_stopped_is_said_to_be_and_found_again(mariadb: str, mariadb_server: MariaDB) -> None:
    database = Database(mariadb)
    database.upgrade()
    store = Store(database)
    model = store.create("faust")
    mariadb_server.stop()
    for _ in range(2):
        with pytest.raises(DatabaseUnavailable, match="does not answer"):
            store.get(model.id)
        with pytest.raises(DatabaseUnavailable, match="does not answer"):
            store.rename(model.id, "mephisto")
    mariadb_server.start()
    assert store.get(model.id) == model
    assert store.rename(model.id, "mephisto").name == "mephisto"
    database.close()


def test_a_server_that_hangs_is_noticed(mariadb: str, mariadb_server: MariaDB, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "ANSWER_SECONDS", 5)
    monkeypatch.setattr(database_module, "CONNECT_SECONDS", 5)
    database = Database(mariadb)
    database.upgrade()
    store = Store(database)
    model = store.create("faust")
    mariadb_server.pause()
    with pytest.raises(DatabaseUnavailable):
        store.get(model.id)
    mariadb_server.resume()

    def answer() -> ModelRecord | None:
        with suppress(DatabaseUnavailable):  # it may need a moment
            return store.get(model.id)
        return None

    assert wait_for(answer) == model
    database.close()


def test_lines_are_neither_lost_nor_doubled_when_the_server_is_killed_at_any_moment(
    mariadb: str, mariadb_server: MariaDB
) -> None:
    database = Database(mariadb)
    database.upgrade()
    store = Store(database)
    claim = running(store)
    position, lost = 0, 0
    written, ended = threading.Semaphore(0), threading.Event()

    def kill_now_and_then() -> None:
        for _ in range(4):
            for _ in range(15):
                written.acquire()
            mariadb_server.kill()
            mariadb_server.start()
        ended.set()

    killer = threading.Thread(target=kill_now_and_then)
    killer.start()
    while not ended.is_set():
        lines = [(position + number, f"line {position + number}") for number in range(5)]
        try:
            store.deliver(claim, Delivery(lines, [Metric(position)], fields={"step": position}), 60)
        except DatabaseUnavailable:
            lost += 1
            continue  # the same again
        position += 5
        written.release()
    killer.join()
    assert lost >= 4
    read = [line for start in range(0, position, 1000) for line in store.log(claim.model_id, after=start - 1)]
    assert [(line.position, line.text) for line in read] == [(n, f"line {n}") for n in range(position)]
    store.finish(claim, Status.COMPLETE, Delivery())
    database.close()


# -- TLS -------------------------------------------------------------------------------------------------------------


def openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def certify(folder: Path, authority: str, host: str) -> None:
    """An authority's certificate `{authority}.pem`, and one by it for a host: `{host}.pem`, `{host}.key`."""
    new = ("req", "-newkey", "rsa:2048", "-nodes", "-days", "2")
    openssl(
        folder, *new, "-x509", "-subj", f"/CN={authority}", "-keyout", f"{authority}.key", "-out", f"{authority}.pem",
        "-addext", "keyUsage=critical,keyCertSign,cRLSign",
    )  # fmt: skip
    kind = "IP" if host[0].isdigit() else "DNS"
    openssl(
        folder, *new, "-x509", "-subj", f"/CN={host}", "-keyout", f"{host}.key", "-out", f"{host}.pem",
        "-addext", f"subjectAltName={kind}:{host}", "-CA", f"{authority}.pem", "-CAkey", f"{authority}.key",
        "-addext", "basicConstraints=critical,CA:FALSE",
    )  # fmt: skip


def with_certificate(folder: Path, host: str) -> Sequence[str]:
    """A server's options to show the certificate of a host."""
    return (f"--ssl-cert={folder / host}.pem", f"--ssl-key={folder / host}.key")


def test_a_server_of_the_right_authority_is_spoken_to_encrypted(tmp_path: Path) -> None:
    certify(tmp_path, "ours", "127.0.0.1")
    certify(tmp_path, "theirs", "other.example")
    with started(tmp_path / "server", with_certificate(tmp_path, "127.0.0.1")) as server:
        server.execute("CREATE DATABASE charrnn")
        database = Database(server.url("charrnn"), tls="required", ca=tmp_path / "ours.pem")
        database.upgrade()
        assert Store(database).create("faust 🎉").name == "faust 🎉"
        cipher = text("SHOW SESSION STATUS LIKE 'Ssl_cipher'")
        assert database.read(lambda connection: connection.execute(cipher).one())[1]
        database.close()
        for wrong in (tmp_path / "theirs.pem", None):  # None: those that the system trusts
            with pytest.raises(DatabaseUnavailable, match="certificate verify failed"):
                Database(server.url("charrnn"), tls="required", ca=wrong).prepare()
        assert Database(server.url("charrnn")).revision() is not None  # nobody demanded it


def test_a_server_with_the_certificate_of_another_host_is_refused(tmp_path: Path) -> None:
    certify(tmp_path, "ours", "other.example")
    with started(tmp_path / "server", with_certificate(tmp_path, "other.example")) as server:
        server.execute("CREATE DATABASE charrnn")
        with pytest.raises(DatabaseUnavailable, match=r"certificate is not valid for '127.0.0.1'"):
            Database(server.url("charrnn"), tls="required", ca=tmp_path / "ours.pem").prepare()


def test_a_server_without_tls_is_refused_where_it_is_required(mariadb: str, tmp_path: Path) -> None:
    certify(tmp_path, "ours", "127.0.0.1")
    with pytest.raises(DatabaseUnavailable, match="SSL"):
        Database(mariadb, tls="required", ca=tmp_path / "ours.pem").prepare()


def test_authorities_that_cannot_be_read_are_refused_by_the_name_of_their_setting(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").touch()
    (tmp_path / "none.pem").write_text("no certificate")
    for file in ("missing.pem", "empty.pem", "none.pem"):
        with pytest.raises(InvalidSettings, match=r"^CHARRNN_DATABASE_TLS_CA: .*pem cannot be used: "):
            Database("mysql://host/name", tls="required", ca=tmp_path / file)
