"""The corpus of bad inputs: each gets its answer on both databases, and nothing is stored."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi.testclient import TestClient

from api.app import create_app
from store.settings import Settings
from tests.api.conftest import NO_BROKER, migrated
from tests.api.test_bad_requests import JSON, assert_problem, changed
from tests.store.conftest import _fresh_database

ROOT = Path(__file__).parents[2]
CORPUS: list[dict[str, Any]] = yaml.safe_load((ROOT / "tests/corpus/bad_inputs.yaml").read_text())
REQUESTS = [entry for entry in CORPUS if not {"proved_by", "open"} & set(entry)]
NEVER_SAID = ("site-packages", "SELECT ", "INSERT ", "sqlalchemy", "psycopg", str(ROOT))


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def application(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """One application for each database."""
    url = None
    if request.param == "postgresql":
        url = _fresh_database(request.getfixturevalue("postgresql_url"))
    state_dir = tmp_path_factory.mktemp("corpus")
    settings = Settings(state_dir=state_dir, broker_url=NO_BROKER, database_url=url)
    migrated(settings.resolved_database_url).dispose()
    with TestClient(create_app(settings), base_url="http://127.0.0.1") as http:
        yield http


def content_of(entry: dict[str, Any]) -> str | None:
    """The body as it is sent."""
    if "change" not in entry:
        return entry.get("body")
    body: dict[str, Any] = {}
    for path, value in entry["change"].items():
        section = path.partition("/")[0]
        body = {**(body or changed(path, value)), section: changed(path, value)[section]}
    return json.dumps(body)


@pytest.mark.parametrize("entry", REQUESTS, ids=lambda entry: f"{entry['id']} {entry['says']}")
def test_bad_input_gets_its_answer_and_leaves_nothing(application: TestClient, entry: dict[str, Any]) -> None:
    answer = application.request(
        entry.get("method", "POST"),
        entry.get("path", "/v1/jobs"),
        content=content_of(entry),
        headers={**JSON, **entry.get("headers", {})},
    )
    problem = assert_problem(answer, entry.get("status", 422), entry.get("code", "invalid_request"))
    if "pointer" in entry:
        assert entry["pointer"] in [item["pointer"] for item in problem["errors"]]
    assert not [word for word in NEVER_SAID if word in answer.text]
    assert application.get("/v1/jobs").json()["data"] == []


def test_every_number_has_an_entry() -> None:
    assert {str(number) for number in range(1, 100)} <= {entry["id"] for entry in CORPUS}


def test_every_test_that_is_named_exists() -> None:
    for entry in CORPUS:
        if "proved_by" in entry:
            file, name = entry["proved_by"].split("::")
            assert f"\ndef {name}(" in (ROOT / file).read_text(), entry
