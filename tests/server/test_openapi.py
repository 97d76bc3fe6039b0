"""The contract is what the server does: every route is in it and nothing else, and requests made up from it hold."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis import Case
from schemathesis.config import SchemathesisConfig

from charrnn.network.options import TrainingOptions
from charrnn.network.sampling import sampling_schema
from charrnn_server import contract
from charrnn_server.app import API
from tests.server.places import BY_HAND, workspace_of
from tests.server.routes import Route, routes
from tests.server.running import TOKEN, Server, running
from tests.workspace.played import TEXT, trained

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
CONFIG = SchemathesisConfig.from_dict(
    {
        "checks": {
            # the only header that is needed is Authorization, and Jupyter answers 403 and not 401 where it is missing
            "missing_required_header": {"enabled": False},
            # what single values cannot say: names that two options share, budgets that exclude one another, a text
            # without two characters. Not 400 or 413: a body made up from the contract can always be read
            "positive_data_acceptance": {"expected-statuses": ["2xx", "3xx", "401", "403", "404", "409", "422", "429"]},
            # 302: pages send whoever is not known to log in
            "negative_data_rejection": {
                "expected-statuses": ["302", "400", "401", "403", "404", "405", "409", "413", "415", "422", "429"]
            },
        },
        "generation": {"deterministic": True, "max-examples": 6, "database": "none"},
    }
)
VISITORS = [f"{API}/visitors", "/charrnn/admin"]
LONGEST = 40  # characters that are written; to write ten million takes minutes
DOCUMENT = contract.document("/")
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT, config=CONFIG)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("contract")
    with running(folder, BY_HAND, CHARRNN_LEASE_SECONDS="3600") as server:  # a supervisor that is played is believed
        yield server


# every route is in the document, and everything in the document is a route --------------------------------------------


def described() -> dict[str, set[str]]:
    """The methods of every path of the document."""
    return {path: {name.upper() for name in item.keys() & contract.METHODS} for path, item in DOCUMENT["paths"].items()}


def ours(tmp_path: Path) -> list[Route]:
    """The routes of both launches, each once: not those that answer where there is nothing, nor those on which the
    dashboard's page and its kernel speak with each other."""
    found = [route for launch in ("personal", "public") for route in routes(launch, tmp_path) if route.ours]
    own = [
        route
        for route in found
        if "unknown" not in route.handler and "charrnn" in route.pattern and "charrnn/dashboard/" not in route.pattern
    ]
    return list({route.pattern: route for route in own}.values())


def answers(route: Route, path: str) -> bool:
    address = path.replace("{id}", "0" * 26).replace("{kind}", "training")
    return re.fullmatch(route.pattern.removesuffix("$"), address) is not None


def test_the_contract_describes_every_route_and_method_and_no_others(tmp_path: Path) -> None:
    found: dict[str, set[str]] = {}
    found_routes = ours(tmp_path)
    for path in described():
        route = next((route for route in found_routes if answers(route, path)), None)
        assert route is not None, f"nothing answers at {path}"
        found[path] = {method for method in route.methods if method in METHODS}
    assert found == described()
    undescribed = [route.pattern for route in found_routes if not any(answers(route, path) for path in found)]
    assert undescribed == []


def test_options_are_described_once_by_those_who_know_them(server: Server) -> None:
    document = server.get("/openapi.json").json()
    assert document["openapi"].startswith("3.")
    shapes = document["components"]["schemas"]
    training, sampling = TrainingOptions.model_json_schema()["properties"], sampling_schema()["properties"]
    assert shapes["TrainingOptions"]["properties"].keys() == training.keys()
    assert shapes["StartOptions"]["properties"].keys() == {"over", *training}
    assert shapes["SamplingOptions"]["properties"].keys() == sampling.keys()
    limits = shapes["TrainingOptions"]["properties"]["rnn_size"]["anyOf"][0]
    assert limits == {"type": "integer", "minimum": 1, "maximum": 16384}
    in_address = {each["name"] for each in document["paths"][f"{API}/uploads"]["post"]["parameters"]}
    assert in_address == {"name", "start", *training}


def test_every_status_that_can_come_of_any_operation_is_described() -> None:
    for path, item in DOCUMENT["paths"].items():
        for method in item.keys() & contract.METHODS:
            statuses = item[method]["responses"].keys()
            assert any(status[0] in "23" for status in statuses), (path, method)
            expected = {"405"} if item[method].get("security") == [] else {"401", "403", "405", "422", "429", "503"}
            assert expected <= statuses, (path, method)
            if "requestBody" in item[method]:
                assert {"400", "413"} <= statuses, (path, method)


# requests that are made up from the document --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ids(server: Server, model_file: Path) -> Iterator[str | None]:
    """Models that are there, in every state that needs no worker, and now and then one that is not, without end."""
    with workspace_of(server) as workspace, model_file.open("rb") as file:
        models = [
            trained(workspace, model_file, "complete"), workspace.create("ready", TEXT), workspace.create("draft"),
            workspace.import_model(file, "imported"),
        ]  # fmt: skip
        workspace._store.supervisor_alive("played", "here", os.getpid(), 1)
    return itertools.cycle([None, *(model.id for model in models)])


def bounded(case: Case, id: str | None) -> Case:
    """The same request about a model that is there, for nothing that takes long hundreds of times: sample texts, which
    other tests learn from, texts of millions of characters, events without an end."""
    deletes = case.method == "DELETE" or (case.method == "POST" and case.path.endswith("/delete"))
    if "id" in case.path_parameters and not deletes and id is not None:
        case.path_parameters["id"] = id
    if case.path.endswith("/events"):
        case.query.setdefault("until", "rest")
    if isinstance(case.body, dict) and case.body.get("sample") in ("python", "tiny-shakespeare"):
        del case.body["sample"]
    for options in (case.query, case.body):
        for name in ("length", "max_length", "count") if isinstance(options, dict) else ():
            if isinstance(options.get(name), int) and LONGEST < options[name] <= 10_000_000:
                options[name] = LONGEST if name != "count" else 2
    return case


bounds = settings(
    max_examples=6, deadline=None, derandomize=True, database=None, phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)  # fmt: skip


@SCHEMA.exclude(path=VISITORS).parametrize()
@bounds
def test_requests_that_are_made_up_from_the_contract_are_answered_as_it_says(
    case: Case, server: Server, ids: Iterator[str | None]
) -> None:
    bounded(case, next(ids)).call_and_validate(
        base_url=server.site, headers={"Authorization": f"Bearer {TOKEN}"}, allow_redirects=False, timeout=180
    )


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    secrets = {
        "CHARRNN_COOKIE_SECRET": "a secret that every copy of this server would share",
        "CHARRNN_ADMIN_TOKEN": "what only the teacher knows",
    }
    with running(tmp_path_factory.mktemp("public"), "--public", BY_HAND, token=None, **secrets) as server:
        yield server


@SCHEMA.include(path=VISITORS).parametrize()
@bounds
def test_what_only_visitors_can_ask_for_is_answered_as_the_contract_says(case: Case, public: Server) -> None:
    case.call_and_validate(base_url=public.site, allow_redirects=False, timeout=180)
