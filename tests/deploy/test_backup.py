"""`charrnn backup` and `charrnn restore`: everything is there again, also in another database and storage."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from charrnn.backup import back_up, restore
from charrnn.config import Settings
from charrnn.errors import InvalidBackup, WouldOverwrite
from charrnn.jobs.database import Database
from charrnn.jobs.records import Metric
from charrnn.workspace import Workspace
from tests.command_line import run, variables, words
from tests.mariadb import MariaDB
from tests.s3 import S3
from tests.workspace.played import TEXT, Attempt, saved_model, stored


def settings_of(folder: Path, url: str, storage: str = "") -> Settings:
    return Settings(data_folder=folder, database_url=url, storage_url=storage or f"file://{folder / 'storage'}")


def named(settings: Settings) -> dict[str, str]:
    """The settings as the variables of a command."""
    return {
        "CHARRNN_DATABASE_URL": settings.database_url.get_secret_value(),
        "CHARRNN_STORAGE_URL": settings.storage_url, "CHARRNN_DATA_FOLDER": str(settings.data_folder),
    }  # fmt: skip


def filled(settings: Settings, folder: Path) -> Workspace:
    """A workspace with a trained model, one that is in training, and a draft."""
    Database(settings.database_url.get_secret_value()).upgrade()
    workspace = Workspace(settings=settings)
    for name in ("poems", "letters"):
        workspace.start(workspace.create(name, TEXT).id)
        attempt = Attempt(workspace)
        attempt.publish(saved_model(folder / "model.safetensors"), step=100, seconds=120.0, progress=1.0)
        attempt.deliver(
            lines=[(0, "begun 🙂"), (1, "half")], metrics=[Metric(50, train_loss=2.5), Metric(100, train_loss=1.5)],
            samples=[(100, "The kettle\n")],
        )  # fmt: skip
        if name == "poems":
            attempt.end(lines=[(2, "trained")])
    workspace.create("a draft")
    return workspace


def everything(workspace: Workspace) -> Any:
    """What a user would miss."""
    return [
        (model, workspace.metrics(model.id), workspace.samples(model.id), list(workspace.log_lines(model.id)))
        for model in workspace.list().models
    ], stored(workspace)


def copy_of(settings: Settings) -> bytes:
    copy = io.BytesIO()
    back_up(settings, copy)
    return copy.getvalue()


def test_what_was_backed_up_from_mariadb_is_there_again_after_everything_was_dropped(
    mariadb: str, mariadb_server: MariaDB, tmp_path: Path
) -> None:
    settings = settings_of(tmp_path / "first", mariadb)
    workspace = filled(settings, tmp_path)
    before = everything(workspace)
    poems = workspace.list(prefix="poems").models[0].id
    text = workspace.generate(poems, "The ", length=40, seed=1)
    workspace.close()
    environment = named(settings)
    backup = run("backup", tmp_path / "copy.tar", environment=environment)
    assert backup.returncode == 0, backup.stderr
    again = run("backup", tmp_path / "copy.tar", environment=environment)
    assert again.returncode == 1
    assert "is there already" in again.stderr
    refused = run("restore", tmp_path / "copy.tar", environment=environment)
    assert refused.returncode == 1
    assert "has models already" in refused.stderr

    name = mariadb.rpartition("/")[2]
    mariadb_server.execute(f"DROP DATABASE {name}")
    mariadb_server.execute(f"CREATE DATABASE {name} CHARACTER SET latin1")
    (tmp_path / "first" / "storage").rename(tmp_path / "lost")
    restored = run("restore", tmp_path / "copy.tar", environment=environment)
    assert restored.returncode == 0, restored.stderr
    assert restored.stderr.startswith("3 models with 8 files")

    workspace = Workspace(settings=settings)
    assert everything(workspace) == before
    assert workspace.generate(poems, "The ", length=40, seed=1) == text
    workspace.close()


def test_a_copy_goes_through_a_pipe_into_another_database_and_a_bucket_and_back(
    mariadb: str, s3: S3, tmp_path: Path
) -> None:
    small = settings_of(tmp_path / "small", f"sqlite:///{tmp_path / 'small.sqlite3'}")
    workspace = filled(small, tmp_path)
    before = everything(workspace)
    workspace.close()
    large = settings_of(tmp_path / "large", mariadb, f"s3://{s3.bucket()}/charrnn")
    piped(small, large)
    workspace = Workspace(settings=large)
    assert everything(workspace) == before
    workspace.close()

    back = settings_of(tmp_path / "back", f"sqlite:///{tmp_path / 'back.sqlite3'}")
    piped(large, back)
    workspace = Workspace(settings=back)
    assert everything(workspace) == before
    workspace.close()


def piped(source: Settings, target: Settings) -> None:
    """`charrnn backup - | charrnn restore -`."""
    with subprocess.Popen(words("backup", "-"), env=variables(**named(source)), stdout=subprocess.PIPE) as backup:
        restored = subprocess.run(
            words("restore", "-"), env=variables(**named(target)), stdin=backup.stdout, check=True, timeout=300,
            capture_output=True, encoding="utf-8",
        )  # fmt: skip
        assert backup.wait(timeout=300) == 0
    assert restored.stdout == ""
    assert restored.stderr.startswith("3 models with 8 files")


def test_what_is_no_whole_backup_is_refused_and_nothing_changes(tmp_path: Path) -> None:
    source = settings_of(tmp_path / "source", f"sqlite:///{tmp_path / 'source.sqlite3'}")
    filled(source, tmp_path).close()
    whole = copy_of(source)
    target = settings_of(tmp_path / "target", f"sqlite:///{tmp_path / 'target.sqlite3'}")
    somebodys = io.BytesIO()
    with tarfile.open(fileobj=somebodys, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("../escape"))
    damaged = whole.replace(TEXT[:100], TEXT[:100].upper(), 1)
    assert damaged != whole
    for copy in (b"no tar file at all", whole[: len(whole) // 2], somebodys.getvalue(), damaged):
        with pytest.raises(InvalidBackup):
            restore(target, io.BytesIO(copy))
    workspace = Workspace(settings=target)
    assert everything(workspace) == ([], set())
    workspace.close()
    with pytest.raises(WouldOverwrite):
        restore(source, io.BytesIO(whole))


def test_a_file_that_is_lost_is_named_and_the_rest_is_copied(tmp_path: Path) -> None:
    settings = settings_of(tmp_path / "source", f"sqlite:///{tmp_path / 'source.sqlite3'}")
    workspace = filled(settings, tmp_path)
    lost = sorted(key for key in stored(workspace) if "checkpoint" in key)[0]
    (tmp_path / "source" / "storage" / lost).unlink()
    workspace.close()
    copied = back_up(settings, io.BytesIO())
    assert copied.missing == (lost,)
    assert copied.files == 7
