"""What compose.yaml says: in which order things start, and that no secret has a default. No engine is needed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).parent.parent.parent / "deploy"
TEXT = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def test_the_tables_are_there_before_the_server_and_the_database_before_both() -> None:
    assert set(SERVICES) == {"mysql", "migrate", "app"}
    assert SERVICES["migrate"]["depends_on"] == {"mysql": {"condition": "service_healthy"}}
    assert SERVICES["migrate"]["command"] == ["charrnn", "db", "upgrade"]
    assert SERVICES["app"]["depends_on"]["mysql"] == {"condition": "service_healthy"}
    assert SERVICES["app"]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
    assert "healthcheck" in SERVICES["mysql"]


def test_the_server_and_the_migration_are_one_image_with_one_database() -> None:
    assert SERVICES["app"]["image"] == SERVICES["migrate"]["image"]
    database = {name: value for name, value in SERVICES["migrate"]["environment"].items() if name.startswith("MYSQL_")}
    assert set(database) == {"MYSQL_HOST", "MYSQL_DATABASE", "MYSQL_USER", "MYSQL_PASSWORD"}
    assert database.items() <= SERVICES["app"]["environment"].items()
    assert SERVICES["app"]["environment"]["CHARRNN_PUBLIC"] == "1"
    context = (DEPLOY / COMPOSE["x-charrnn"]["build"]["context"]).resolve()
    assert (context / "Dockerfile").exists()


def test_what_is_made_outlives_containers_and_has_time_to_be_saved() -> None:
    assert SERVICES["app"]["volumes"] == ["data:/data"]
    assert set(COMPOSE["volumes"]) == {"data", "mysql"}
    assert SERVICES["app"]["stop_grace_period"] == "1m"
    assert {SERVICES[name]["restart"] for name in ("app", "mysql")} == {"unless-stopped"}


def test_every_secret_comes_from_outside_and_the_example_names_all_of_them() -> None:
    required = set(re.findall(r"\$\{(\w+):\?", TEXT))
    assert required == {"MYSQL_PASSWORD", "MYSQL_ROOT_PASSWORD", "CHARRNN_COOKIE_SECRET"}
    for service in SERVICES.values():
        for name, value in service["environment"].items():
            if re.search("PASSWORD|SECRET", name):
                assert re.match(r"\$\{\w+:\?.+\}$", value), name
    example = (DEPLOY / "example.env").read_text(encoding="utf-8")
    assert required <= set(re.findall(r"^#?\s*(\w+)=", example, re.MULTILINE))
    assert required.isdisjoint(re.findall(r"^(\w+)=\S", example, re.MULTILINE))  # and gives none away


def test_the_servers_lock_has_the_versions_of_the_whole_one_and_nothing_else() -> None:
    root = DEPLOY.parent
    pinned = {
        name: set(re.findall(r"^([\w.-]+==\S+)", (root / name).read_text(encoding="utf-8"), re.MULTILINE))
        for name in ("requirements.lock", "requirements-server.lock")
    }
    server, whole = pinned["requirements-server.lock"], pinned["requirements.lock"]
    assert server < whole
    names = {each.partition("==")[0] for each in server}
    assert {"tensorflow", "jupyter-server", "voila", "s3fs", "pymysql"} <= names
    assert names.isdisjoint({"pytest", "playwright", "moto", "mypy", "ruff"})
    assert "://" not in (root / "requirements-server.lock").read_text(encoding="utf-8")
