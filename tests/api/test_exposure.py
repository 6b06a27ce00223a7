"""To whom the service speaks: start-up refuses what would be open to everybody. Bad input 73, and 74's other half."""

import logging
from pathlib import Path

import pytest
import structlog
from fastapi.testclient import TestClient

from afterprop.stack import API_COMMAND
from api.app import create_app
from api.exposure import asks_for_keys, refusal_to_start, trusted_hosts
from api.redaction import Redacting, redact_event, redacted
from store import keys
from store.database import Database
from store.settings import Settings
from tests.api.serving import served

EVERYWHERE = "0.0.0.0"
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("setting", "asked"),
    [
        ({}, False),
        ({"host": "localhost"}, False),
        ({"host": "::1"}, False),
        ({"host": "127.8.8.8"}, False),
        ({"host": EVERYWHERE}, True),
        ({"host": "192.0.2.1"}, True),
        ({"host": "service.example"}, True),
        ({"host": EVERYWHERE, "open": "loopback-published"}, False),
        ({"host": EVERYWHERE, "open": "yes"}, True),
        ({"keys": "required"}, True),
        ({"host": EVERYWHERE, "open": "loopback-published", "keys": "required"}, True),
    ],
)
def test_keys_are_asked_for_wherever_others_can_come(setting: dict[str, str], asked: bool) -> None:
    assert asks_for_keys(Settings.model_validate(setting)) is asked


def test_on_the_network_it_starts_with_a_key_that_stands_and_not_without(
    settings: Settings, database: Database
) -> None:
    reachable = settings.model_copy(update={"host": EVERYWHERE})
    nobody = refusal_to_start(reachable, environment={})
    assert nobody is not None
    assert "afterprop keys create" in nobody
    with database.writing.begin() as session:
        expired, _ = keys.create(session, project="default", name="", scopes=["read"], expires_in_s=100)
        expired.expires_at = 1.0
        revoked, _ = keys.create(session, project="default", name="", scopes=["read"])
        keys.revoke(session, revoked.id)
    assert refusal_to_start(reachable, environment={}) == nobody
    with database.writing.begin() as session:
        keys.create(session, project="default", name="", scopes=["read"], expires_in_s=100)
    assert refusal_to_start(reachable, environment={}) is None


def test_without_its_tables_it_does_not_start_on_the_network(tmp_path: Path) -> None:
    bare = Settings(state_dir=tmp_path, host=EVERYWHERE)
    assert refusal_to_start(bare, environment={}) is not None
    assert refusal_to_start(bare.model_copy(update={"open": "loopback-published"}), environment={}) is None


def test_the_program_itself_refuses(tmp_path: Path) -> None:
    reachable = served(tmp_path / "state", tmp_path / "api.log", AFTERPROP_HOST=EVERYWHERE)
    with pytest.raises(AssertionError, match=r"Refused to start: on 0\.0\.0\.0"), reachable:
        pass


def test_any_name_is_only_for_a_service_that_asks_for_keys(settings: Settings) -> None:
    any_name = settings.model_copy(update={"allowed_hosts": "*"})
    assert refusal_to_start(any_name, environment={}) is not None
    assert refusal_to_start(any_name.model_copy(update={"keys": "required"}), environment={}) is None


def test_it_is_called_by_its_own_names_alone(settings: Settings, database: Database) -> None:
    assert trusted_hosts(settings) == {"127.0.0.1", "localhost", "::1"}
    named = settings.model_copy(update={"host": EVERYWHERE, "keys": "required", "allowed_hosts": "Train.Example, b"})
    assert trusted_hosts(named) == {"127.0.0.1", "localhost", "::1", "train.example", "b"}
    with TestClient(create_app(named), base_url="http://127.0.0.1") as http:
        assert http.get("/livez", headers={"Host": "TRAIN.example:8000"}).status_code == 200
        for name in ("evil.com", "0.0.0.0:8000", "train.example.evil.com", ""):
            answer = http.get("/livez", headers={"Host": name})
            assert (answer.status_code, answer.json()["code"]) == (400, "untrusted_host")
    anyone = settings.model_copy(update={"keys": "required", "allowed_hosts": "*"})
    with TestClient(create_app(anyone), base_url="http://127.0.0.1") as http:
        assert http.get("/livez", headers={"Host": "whatever"}).status_code == 200


def test_no_header_says_who_connects() -> None:
    """By itself the server would believe X-Forwarded-For of whoever connects from this machine."""
    assert "--no-proxy-headers" in API_COMMAND
    assert "--no-proxy-headers" in (ROOT / "api" / "Dockerfile").read_text()


def test_what_looks_like_a_key_is_cut_short_in_every_line() -> None:
    key = "afp_" + "0" * 32 + "_" + "f" * 64
    assert key not in redacted(f"GET /v1/jobs?key={key}&a=b")
    assert redacted(f"?key={key}&a=b") == "?key=afp_…&a=b"
    record = logging.LogRecord("uvicorn.access", 20, "", 0, '%s "%s"', ("1.2.3.4", f"/?k={key}"), None)
    assert Redacting().filter(record)
    assert key not in record.getMessage()
    line = redact_event(None, "info", {"event": "e", "path": key, "number": 1})
    assert key not in structlog.processors.JSONRenderer()(None, "info", line)
