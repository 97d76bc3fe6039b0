"""The settings: where database and files are, and what people may use. One class, read from the environment.

It knows the names, the defaults and which values cannot be right. It does not know the database or the files: nothing
is opened here.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from charrnn.errors import InvalidSettings
from charrnn.storage import split_url

PREFIX = "CHARRNN_"
KEPT = frozenset({"admin_token", "cookie_secret"})  # by the server: no process that it starts needs them


def _user_data_folder() -> Path:
    from platformdirs import user_data_path

    return user_data_path("charrnn")


def _default_database_url(settings: dict[str, Any]) -> SecretStr:
    """The database that the variables of MySQL's own images name, or else a file in the data folder."""
    database = os.environ.get("MYSQL_DATABASE")
    if not database:
        return SecretStr(f"sqlite:///{settings['data_folder'] / 'charrnn.sqlite3'}")
    host, port = os.environ.get("MYSQL_HOST") or "localhost", os.environ.get("MYSQL_PORT") or "3306"
    if not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise InvalidSettings(f"MYSQL_PORT: must be a port between 1 and 65535, not {port[:60]!r}")
    user, password = (quote(os.environ.get(name) or "", safe="") for name in ("MYSQL_USER", "MYSQL_PASSWORD"))
    login = f"{user}:{password}@" if password else f"{user}@" if user else ""
    return SecretStr(f"mysql://{login}{f'[{host}]' if ':' in host else host}:{port}/{database}")


def _default_storage_url(settings: dict[str, Any]) -> str:
    return f"file://{settings['data_folder'] / 'storage'}"


def _names(value: Any) -> Any:
    """Names separated by commas, as the environment has them, or several such."""
    if isinstance(value, (list, tuple, set, frozenset)) and all(isinstance(names, str) for names in value):
        value = ",".join(value)
    return frozenset(filter(None, map(str.strip, value.split(",")))) if isinstance(value, str) else value


def _networks(names: frozenset[str]) -> frozenset[str]:
    for name in names:
        try:
            ipaddress.ip_network(name)
        except ValueError:
            raise ValueError(
                f"{name[:60]!r} is neither an address nor a network; 10.0.0.7 or 10.0.0.0/8 would be right"
            ) from None
    return names


Names = Annotated[frozenset[str], NoDecode, BeforeValidator(_names)]


class Settings(BaseSettings):
    """The configuration: what is given here, else `CHARRNN_…` variables, else defaults. It never changes.

    Raises InvalidSettings, which names the setting and its variable. The database's URL, with its password, comes only
    from `database_url.get_secret_value()` and from `environment()`, `cookie_secret` and `admin_token` only from their
    `get_secret_value()`; they are in no repr, error or JSON.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="forbid", str_strip_whitespace=True,
        allow_inf_nan=False, hide_input_in_errors=True,
    )  # fmt: skip

    # a `title` says in words what the default is
    data_folder: Path = Field(
        default_factory=_user_data_folder,
        title="the user's data folder",
        description="folder of the database, the files and logs that have no other place",
    )
    database_url: SecretStr = Field(
        default_factory=_default_database_url,
        title="`charrnn.sqlite3` in the data folder",
        description="`sqlite:////PATH` or `mysql://USER:PASSWORD@HOST/NAME`",
    )
    database_tls: Literal["off", "required"] = Field(
        "off", description="`required`: speak to MySQL encrypted only, and check its certificate"
    )
    database_tls_ca: Path | None = Field(
        None, title="the system's", description="file of the authorities that may certify MySQL"
    )
    storage_url: str = Field(
        default_factory=_default_storage_url,
        title="`storage` in the data folder",
        description="texts, checkpoints, models: `file:///PATH` or `s3://BUCKET/PREFIX`",
    )
    max_running: int | None = Field(
        None, ge=1, title="half the processors", description="trainings at a time on this machine"
    )
    lease_seconds: float = Field(
        15, gt=0, le=3600, description="seconds of silence after which a worker is presumed dead"
    )
    privacy: Literal["everybody", "own"] = Field(
        "everybody", description="who sees a model: `everybody`, or people only their `own`"
    )
    admins: Names = Field(frozenset(), title="nobody", description="users who may do everything, separated by commas")
    max_models: int | None = Field(None, ge=0, title="no limit", description="models of a user")
    max_text_bytes: int | None = Field(None, ge=0, title="no limit", description="bytes of all texts of a user")
    max_queued: int | None = Field(None, ge=0, title="no limit", description="trainings of a user, queued or running")
    max_minutes: float | None = Field(None, gt=0, title="no limit", description="minutes of one training")
    max_generations_per_minute: int | None = Field(
        None, ge=0, title="no limit", description="texts a user may have written in a minute"
    )
    max_characters: int | None = Field(
        None, ge=0, title="no limit", description="characters that a user may have written or scored at a time"
    )
    upload_limit: int = Field(1_000_000_000, ge=1, title="1,000,000,000", description="bytes of one text")
    model_cache: int = Field(8, ge=1, description="models kept in memory, to write with")
    max_dashboards: int | None = Field(
        None, ge=1, title="as many as fit into the memory", description="dashboards that are open at a time"
    )
    visitors_per_address: int = Field(
        4, ge=1, description="public launch: an address may use as much as so many visitors"
    )
    visitors_together: int = Field(50, ge=1, description="public launch: all may use as much as so many visitors")
    trusted_proxies: Annotated[Names, AfterValidator(_networks)] = Field(
        frozenset(),
        title="none",
        description="public launch: addresses or networks whose `X-Forwarded-For` is believed, separated by commas",
    )
    cookie_secret: SecretStr | None = Field(
        None,
        min_length=16,
        title="one kept in the data folder",
        description="public launch: signs who a visitor is; the same for all servers of one site",
    )
    admin_token: SecretStr | None = Field(
        None,
        min_length=16,
        title="nobody can",
        description="public launch: whoever enters it at `/charrnn/admin` may do everything, a teacher say",
    )

    def __init__(self, **overrides: Any) -> None:
        problems = []
        try:
            super().__init__(**overrides)
        except ValidationError as error:
            problems = [
                _problem(problem) for problem in error.errors() if problem["type"] != "default_factory_not_called"
            ]
        if problems:  # outside of `except`, so that what pydantic knows of passwords does not travel along
            raise InvalidSettings("; ".join(problems))

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource, dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:  # fmt: skip
        return init_settings, env_settings

    @field_validator("data_folder", "database_tls_ca")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        """A worker may be started in another folder than this process."""
        return None if path is None else path.expanduser().absolute()

    @field_validator("database_url")
    @classmethod
    def _database(cls, value: SecretStr) -> SecretStr:
        scheme, _, rest = value.get_secret_value().partition("://")
        if scheme == "sqlite":
            path = rest.removeprefix("/")
            if not rest.startswith("/") or path in ("", ":memory:") or "?" in path:
                raise ValueError("workers need a file to share: sqlite:////PATH/NAME.sqlite3 would be right")
            return SecretStr(f"sqlite:///{Path(path).expanduser().absolute()}")
        if scheme in ("mysql", "mariadb", "mysql+pymysql", "mariadb+pymysql"):
            if not re.fullmatch(r"[^/?]+/[^/?]+(\?.*)?", rest.rpartition("@")[2]):
                raise ValueError(
                    "no host or no database is named; mysql://USER:PASSWORD@HOST/NAME would be right, "
                    "with %40 for an @ in the password, and so on"
                )
            return SecretStr(f"mysql+pymysql://{rest}")
        raise ValueError("must begin with sqlite:/// or mysql://")

    @field_validator("storage_url")
    @classmethod
    def _storage(cls, url: str) -> str:
        split_url(url)
        return url

    @property
    def running_limit(self) -> int:
        """How many trainings run at a time on this machine: `max_running`, or half the processors, at least one."""
        return self.max_running or max(1, len(os.sched_getaffinity(0)) // 2)

    def environment(self) -> dict[str, str]:
        """The variables with which a child process has the same settings, whatever else is in its environment.

        What only the server needs (`KEPT`) is taken out of it.
        """
        variables = {}
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, SecretStr):
                value = value.get_secret_value()
            elif isinstance(value, frozenset):
                value = ",".join(sorted(value))
            variables[variable(name)] = "" if value is None or name in KEPT else str(value)
        return variables


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + name.upper()


def _problem(problem: Any) -> str:
    """What pydantic found wrong, in a line that names the setting, its variable and what would be right."""
    name = str(problem["loc"][0])
    if problem["type"] == "extra_forbidden":
        close = difflib.get_close_matches(name, Settings.model_fields, 1)
        return f"there is no setting {name!r}" + (f"; did you mean {close[0]}?" if close else "")
    what = str(problem["msg"]).removeprefix("Value error, ")
    secret = name.endswith(("_url", "_secret"))  # passwords may be in those
    given = "" if secret else f", not {str(problem['input'])[:60]!r}"
    return f"{variable(name)} ({name}): {what[0].lower()}{what[1:]}{given}"


def table() -> str:
    """The settings as a table in Markdown, for the README."""
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = field.title or f"`{field.default}`"
        rows.append(f"| `{variable(name)}` | {default} | {field.description} |")
    return "\n".join(rows) + "\n"
