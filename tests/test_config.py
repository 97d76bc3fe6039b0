"""Settings: arguments, then the environment, then defaults; passwords stay inside; the README lists them all."""

from __future__ import annotations

import json
import pickle
import re
import subprocess
import sys
import traceback
from pathlib import Path

import pytest

from charrnn.config import Settings, table, variable
from charrnn.errors import CharRNNError, InvalidSettings
from tests.command_line import variables

README = Path(__file__).parent.parent / "README.md"
PASSWORD = "geheim%2Fund@lang"


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [variable(name) for name in Settings.model_fields]
    for name in [*names, *(f"MYSQL_{part}" for part in ("DATABASE", "HOST", "PORT", "USER", "PASSWORD"))]:
        monkeypatch.delenv(name, raising=False)


def url(settings: Settings) -> str:
    return settings.database_url.get_secret_value()


def refusal(**overrides: object) -> str:
    with pytest.raises(InvalidSettings) as caught:
        Settings(**overrides)
    assert isinstance(caught.value, CharRNNError)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_with_nothing_set_everything_lies_in_the_users_data_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    settings = Settings()
    assert settings.data_folder == tmp_path / "charrnn"
    assert url(settings) == f"sqlite:///{tmp_path}/charrnn/charrnn.sqlite3"
    assert settings.storage_url == f"file://{tmp_path}/charrnn/storage"
    assert settings.running_limit >= 1
    assert list(tmp_path.iterdir()) == []  # nothing is opened


def test_the_data_folder_moves_database_and_storage(tmp_path: Path) -> None:
    settings = Settings(data_folder=tmp_path)
    assert url(settings) == f"sqlite:///{tmp_path}/charrnn.sqlite3"
    assert settings.storage_url == f"file://{tmp_path}/storage"


def test_arguments_come_before_the_environment_and_empty_variables_are_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHARRNN_MAX_RUNNING", " 3 ")
    monkeypatch.setenv("CHARRNN_LEASE_SECONDS", "")
    monkeypatch.setenv("CHARRNN_ADMINS", "ada, grace,,")
    settings = Settings()
    assert (settings.max_running, settings.running_limit, settings.lease_seconds) == (3, 3, 15)
    assert settings.admins == {"ada", "grace"}
    assert Settings(max_running=5, admins=["alan"]).max_running == 5
    assert Settings(admins=["alan"]).admins == {"alan"}


def test_settings_never_change() -> None:
    settings = Settings()
    with pytest.raises(ValueError, match="frozen"):
        settings.max_running = 2  # type: ignore[misc]
    assert hash(settings) == hash(Settings())


def test_a_relative_path_means_the_same_in_every_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings(data_folder="here", database_url="sqlite:///models.sqlite3", database_tls_ca="~/ca.pem")
    assert settings.data_folder == tmp_path / "here"
    assert url(settings) == f"sqlite:///{tmp_path}/models.sqlite3"
    assert settings.database_tls_ca == Path.home() / "ca.pem"


@pytest.mark.parametrize("scheme", ["mysql", "mariadb", "mysql+pymysql"])
def test_mysql_means_pymysql(scheme: str) -> None:
    assert url(Settings(database_url=f"{scheme}://u:p@h:3307/d")) == "mysql+pymysql://u:p@h:3307/d"


def test_the_variables_of_mysqls_images_are_used_where_nothing_else_names_a_database(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MYSQL_HOST", "db.example.org")
    assert url(Settings()).startswith("sqlite:///")  # a host alone names no database
    monkeypatch.setenv("MYSQL_DATABASE", "charrnn")
    assert url(Settings()) == "mysql+pymysql://db.example.org:3306/charrnn"
    for name, value in {"MYSQL_USER": "ada", "MYSQL_PASSWORD": "a:b/c@d%#", "MYSQL_PORT": "3307"}.items():
        monkeypatch.setenv(name, value)
    assert url(Settings()) == "mysql+pymysql://ada:a%3Ab%2Fc%40d%25%23@db.example.org:3307/charrnn"
    monkeypatch.setenv("MYSQL_HOST", "::1")
    assert "@[::1]:3307/" in url(Settings())
    monkeypatch.setenv("CHARRNN_DATABASE_URL", "mysql://other/one")
    assert url(Settings()) == "mysql+pymysql://other/one"
    monkeypatch.delenv("CHARRNN_DATABASE_URL")
    monkeypatch.setenv("MYSQL_PORT", "many")
    assert refusal() == "MYSQL_PORT: must be a port between 1 and 65535, not 'many'"


def test_a_child_with_the_environment_has_the_same_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(
        data_folder=tmp_path / "föld er", database_url=f"mysql://u:{PASSWORD}@h/d", database_tls="required",
        database_tls_ca=tmp_path / "ca.pem", max_minutes=2.5, admins={"ada", "grace"}, privacy="own", max_queued=0,
    )  # fmt: skip
    monkeypatch.setenv("CHARRNN_MAX_RUNNING", "7")  # what is in the child's environment otherwise
    monkeypatch.setenv("MYSQL_DATABASE", "another")
    code = "import pickle, sys; from charrnn.config import Settings; sys.stdout.buffer.write(pickle.dumps(Settings()))"
    child = subprocess.run(
        [sys.executable, "-c", code], env=variables(**settings.environment()), capture_output=True, check=True
    )
    assert pickle.loads(child.stdout) == settings


def test_passwords_are_in_no_repr_and_no_json() -> None:
    settings = Settings(database_url=f"mysql://u:{PASSWORD}@h/d")
    shown = [repr(settings), str(settings), settings.model_dump_json(), str(settings.model_dump())]
    shown.append(json.dumps(settings.model_dump(mode="json")))
    assert PASSWORD in url(settings)
    for text in shown:
        assert "geheim" not in text


def test_what_only_the_server_needs_is_not_handed_to_what_it_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHARRNN_COOKIE_SECRET", "a secret of the server")
    settings = Settings()
    assert settings.cookie_secret is not None
    assert settings.cookie_secret.get_secret_value() == "a secret of the server"
    assert settings.environment()["CHARRNN_COOKIE_SECRET"] == ""
    assert "a secret" not in f"{settings!r} {settings.model_dump_json()} {settings.environment()}"


def test_proxies_are_addresses_or_networks() -> None:
    assert Settings(trusted_proxies="10.0.0.7, 2001:db8::/32,192.0.2.0/24").trusted_proxies == {
        "10.0.0.7", "2001:db8::/32", "192.0.2.0/24"
    }  # fmt: skip
    for wrong in ("proxy.example.org", "10.0.0.0/99", "10.0.0.7/8", "*"):
        assert "10.0.0.7 or 10.0.0.0/8 would be right" in refusal(trusted_proxies=wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"cookie_secret": "geheim"},
        {"database_url": f"postgresql://u:{PASSWORD}@h/d"},
        {"database_url": f"mysql://u:{PASSWORD}@h"},
        {"database_url": PASSWORD},
        {"database_url": [PASSWORD]},
        {"database_url": f"mysql://u:{PASSWORD}@h/d", "max_running": "many"},
        {"storage_url": f"s3://key:{PASSWORD}@bucket"},
    ],
)
def test_passwords_are_in_no_error_and_no_traceback(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidSettings) as caught:
        Settings(**wrong)
    assert "geheim" not in str(caught.value)
    assert caught.value.__context__ is None  # nor in what led to it
    assert "geheim" not in "".join(traceback.format_exception(caught.value))


def test_a_wrong_value_is_an_error_of_one_line_that_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHARRNN_LEASE_SECONDS", "soon")
    assert refusal().startswith("CHARRNN_LEASE_SECONDS (lease_seconds): input should be a valid number")
    assert "not 'soon'" in refusal()
    monkeypatch.delenv("CHARRNN_LEASE_SECONDS")
    assert refusal(max_running=0) == (
        "CHARRNN_MAX_RUNNING (max_running): input should be greater than or equal to 1, not '0'"
    )
    assert refusal(privacy="nobody").endswith("should be 'everybody' or 'own', not 'nobody'")
    assert refusal(lease_seconds=0, model_cache=0).count("; CHARRNN_MODEL_CACHE") == 1
    assert refusal(databse_url="sqlite:///x") == "there is no setting 'databse_url'; did you mean database_url?"
    assert refusal(data_folder=3).startswith("CHARRNN_DATA_FOLDER (data_folder): ")


@pytest.mark.parametrize("wrong", ["sqlite://", "sqlite:///:memory:", "sqlite:///", "sqlite:///a.db?mode=memory"])
def test_a_database_that_workers_cannot_share_is_refused(wrong: str) -> None:
    assert "workers need a file to share" in refusal(database_url=wrong)


@pytest.mark.parametrize(
    "wrong", ["storage", "/storage", "file://storage", "file:///", "s3://", "s3:///x", "s3://b//x", "gs://bucket/x"]
)
def test_a_storage_that_is_none_is_refused(wrong: str) -> None:
    assert "must be file:///an/absolute/folder or s3://bucket/prefix" in refusal(storage_url=wrong)


def test_settings_load_no_database_and_no_storage() -> None:
    code = (
        "import sys; from charrnn.config import Settings; Settings(storage_url='s3://bucket/x')\n"
        "print([name for name in ('sqlalchemy', 'pymysql', 'fsspec', 'numpy', 'tensorflow') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], env=variables(), capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


def test_the_readme_lists_the_settings_as_they_are() -> None:
    found = re.search(r"<!-- configuration -->\n\n(.*?)\n<!-- configuration -->", README.read_text("utf-8"), re.DOTALL)
    assert found
    assert found[1] == table(), "charrnn.config.table() prints what would be right"
