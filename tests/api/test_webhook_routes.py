"""Webhooks over HTTP: made where this service may send, read without their secret, rotated, deleted."""

import socket
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from api.exposure import refusal_to_start
from store.database import Database
from store.destinations import Forbidden, destination, is_public
from store.settings import Settings
from tests.api import lived_job

BOTH = pytest.mark.parametrize("settings", ["sqlite", "postgresql"], indirect=True)
HOST = "hooks.example.org"
OWN = "afterprop.example.org"
PUBLIC = "93.184.216.34"
URL = f"https://{HOST}/told?by=afterprop"
BAD_ADDRESSES: dict[int, list[str]] = {
    83: [
        "http://169.254.169.254/latest/meta-data/",
        "https://169.254.169.254/",
        "https://metadata.google.internal/",
        "https://[fd00:ec2::254]/",
    ],
    84: [
        "https://127.0.0.1/",
        "https://localhost/",
        "https://localhost.localdomain/",
        "https://[::1]/",
        "https://0.0.0.0/",
        "https://0/",
        "redis:6379",
        "https://redis:6379/",
        "https://db:5432/",
        "https://redis/",
    ],
    85: [
        "https://2130706433/",
        "https://0x7f.1/",
        "https://0177.0.0.1/",
        "https://127.1/",
        "https://0x7f000001/",
        "https://[::ffff:10.0.0.1]/",
        "https://[64:ff9b::7f00:1]/",
        "https://[2002:7f00:1::]/",
        "https://127.0.0.1.:443/",
    ],
    88: [
        "gopher://hooks.example.org/",
        "file:///etc/passwd",
        "ftp://hooks.example.org/",
        "//hooks.example.org/",
        "https:/hooks.example.org/",
        "https:hooks.example.org",
        "https://user:pass@hooks.example.org/",
        "https://hooks.example.org@evil.example/",
        "https://hooks.example.org#@evil.example/",
        "https://hooks.example.org\\@evil.example/",
        "https://evil.example\\.hooks.example.org/",
        "https://hooks.example.org/\t",
        "https://hooks.example.org/\nHost: evil",
        "https://hooks.exa\tmple.org/",
        " https://hooks.example.org/",
        "https://hooks.example.org/ ",
        "https://hооks.example.org/",
        "https://hooks。example。org/",
        "https://ⓗooks.example.org/",
        "https://xn--hks-4cda.example.org/",
        "https://HOOKS.example.org/",
        "https://hooks.example.org./",
        "https://-hooks.example.org/",
        "https://.example.org/",
        "https://hooks.example.org/\x00",
        "https://hooks.example.org/\u202e",
        "javascript:alert(1)",
        "",
        "https://",
    ],
    89: [
        "https://hooks.example.org:80/",
        "https://hooks.example.org:22/",
        "https://hooks.example.org:6379/",
        "https://hooks.example.org:0443/",
        "https://hooks.example.org:/",
        "https://hooks.example.org:443443/",
        "https://hooks.example.org:-1/",
        "http://hooks.example.org/",
    ],
    91: ["https://127.0.0.1:8000/v1/jobs", f"https://{OWN}/v1/jobs"],
}
"""By their numbers in the list of bad inputs."""


@pytest.fixture
def settings(settings: Settings) -> Settings:
    allowed = {"webhook_hosts": f"{HOST}, Second.example.org,{OWN}", "allowed_hosts": OWN}
    return settings.model_copy(update=allowed)


@pytest.fixture(autouse=True)
def resolver(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the system's resolver is asked for; every name leads to a public address, unless a test says otherwise."""
    return answering(monkeypatch, lambda host: [PUBLIC])


def answering(monkeypatch: pytest.MonkeyPatch, answers: Callable[[str], list[str]]) -> list[str]:
    asked: list[str] = []

    def resolved(host: Any, port: Any, *_: Any, **__: Any) -> list[Any]:
        asked.append(str(host))
        found = answers(str(host))
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    return asked


@BOTH
def test_webhook_is_made_read_rotated_and_deleted(http: TestClient) -> None:
    made = http.post("/v1/webhooks", json={"url": URL, "events": ["job.failed", "job.succeeded", "job.failed"]})
    webhook = made.json()
    at = f"/v1/webhooks/{webhook['id']}"
    assert made.status_code == 201 and made.headers["Location"] == at
    assert made.headers["Cache-Control"] == "no-store" and webhook["secret"].startswith("whsec_")
    read = http.get(at).json()
    assert read == {name: value for name, value in webhook.items() if name != "secret"}
    assert (read["url"], read["events"]) == (URL, ["job.failed", "job.succeeded"])
    assert http.get("/v1/webhooks").json()["data"] == [read]
    rotated = http.post(f"{at}/rotate").json()
    assert rotated["secret"] != webhook["secret"] and rotated["previous_secret_until"] is not None
    for text in (http.get(at).text, http.get("/v1/webhooks").text):
        assert "whsec_" not in text
    assert http.delete(at).status_code == 204
    assert [http.request(verb, path).status_code for verb, path in _verbs(at)] == [404] * 4


def _verbs(at: str) -> list[tuple[str, str]]:
    return [("GET", at), ("DELETE", at), ("POST", f"{at}/rotate"), ("GET", f"{at}/deliveries")]


@BOTH
def test_deliveries_say_what_was_told_and_what_is_next(http: TestClient, database: Database) -> None:
    at = http.post("/v1/webhooks", json={"url": URL}).headers["Location"]
    job_id = lived_job.queued(database)
    http.post(f"/v1/jobs/{job_id}/cancel")
    (delivery,) = http.get(f"{at}/deliveries").json()["data"]
    assert (delivery["type"], delivery["status"], delivery["tries"]) == ("job.cancelled", "pending", [])
    assert delivery["data"] == {"id": job_id, "name": "lived", "status": "cancelled"}
    assert delivery["event_id"].startswith("evt_") and delivery["next_try_at"] == delivery["created_at"]


@pytest.mark.parametrize(
    ("number", "url"), [(number, url) for number, urls in BAD_ADDRESSES.items() for url in urls], ids=repr
)
def test_bad_address_is_refused_and_nothing_is_called(
    http: TestClient, monkeypatch: pytest.MonkeyPatch, number: int, url: str
) -> None:
    connected: list[Any] = []
    monkeypatch.setattr(socket, "create_connection", connected.append)
    answer = http.post("/v1/webhooks", json={"url": url}, headers={"Host": OWN} if OWN in url else {})
    assert answer.status_code == 422, number
    problem = answer.json()
    assert problem["errors"][0]["pointer"] == "/url"
    assert problem["errors"][0]["allowed"] or problem["errors"][0]["code"] == "nul_in_string"
    assert connected == []
    assert http.get("/v1/webhooks").json()["data"] == []


@pytest.mark.parametrize(
    "answers",
    [
        ["127.0.0.1"],
        ["10.0.0.1"],
        [PUBLIC, "192.168.0.7"],
        ["192.168.0.7", PUBLIC],
        ["::1"],
        ["fe80::1%eth0"],
        ["::ffff:127.0.0.1"],
        ["64:ff9b::a00:1"],
        ["2002:a00:1::"],
        ["2001:0:53aa:64c::1"],
        ["169.254.169.254"],
        ["100.64.0.1"],
        ["168.63.129.16"],
        ["224.0.0.1"],
        ["255.255.255.255"],
        ["0.0.0.0"],
        ["fc00::1"],
        ["ff02::1"],
        ["::"],
        [],
    ],
    ids=repr,
)
def test_name_with_an_answer_that_is_not_public_is_refused(
    http: TestClient, monkeypatch: pytest.MonkeyPatch, answers: list[str]
) -> None:
    answering(monkeypatch, lambda host: answers if host == HOST else [PUBLIC])
    answer = http.post("/v1/webhooks", json={"url": URL})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["code"] == ("private_address" if answers else "host_not_resolved")
    assert not any(address in answer.text for address in answers if len(address) > 3), "the inside is not told"


def test_name_is_resolved_once_and_the_judged_answer_is_where_it_is_sent(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: public when it is judged, private a moment later."""
    answers = iter([[PUBLIC], ["127.0.0.1"]])
    asked = answering(monkeypatch, lambda host: next(answers))
    found = destination(settings, URL)
    assert (found.address, found.host, found.port, found.target) == (PUBLIC, HOST, 443, "/told?by=afterprop")
    assert asked == [HOST]
    with pytest.raises(Forbidden):
        destination(settings, URL)


@pytest.mark.parametrize(
    ("tail", "port", "target"),
    [
        ("", 443, "/"),
        ("/", 443, "/"),
        (":8443", 8443, "/"),
        (":443/a/b?c=d&e=%20", 443, "/a/b?c=d&e=%20"),
        ("?q=1", 443, "/?q=1"),
    ],
)
def test_address_is_taken_apart_as_it_was_judged(settings: Settings, tail: str, port: int, target: str) -> None:
    found = destination(settings, f"https://{HOST}{tail}")
    assert (found.port, found.target, found.encrypted) == (port, target, True)


def test_public_addresses_are_taken() -> None:
    assert all(map(is_public, [PUBLIC, "1.1.1.1", "2606:4700:4700::1111", "::ffff:1.1.1.1"]))
    assert not is_public("hooks.example.org")


def test_host_that_the_operator_did_not_allow_is_refused_without_a_look(http: TestClient, resolver: list[str]) -> None:
    answer = http.post("/v1/webhooks", json={"url": "https://other.example.org/"})
    (item,) = answer.json()["errors"]
    assert (answer.status_code, item["code"]) == (422, "host_not_allowed")
    assert item["allowed"] == [OWN, HOST, "second.example.org"]
    assert resolver == []


def test_webhooks_are_off_until_a_host_is_allowed(settings: Settings, database: Database) -> None:
    with TestClient(
        create_app(settings.model_copy(update={"webhook_hosts": None})), base_url="http://127.0.0.1"
    ) as off:
        answer = off.post("/v1/webhooks", json={"url": URL})
    assert answer.status_code == 422 and answer.json()["errors"][0]["code"] == "webhooks_off"


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({}, "/url"),
        ({"url": 5}, "/url"),
        ({"url": f"https://{HOST}/{'x' * 2000}"}, "/url"),
        ({"url": URL, "events": []}, "/events"),
        ({"url": URL, "events": ["job.begun"]}, "/events/0"),
        ({"url": URL, "events": ["job.failed"] * 6}, "/events"),
        ({"url": URL, "secret": "whsec_mine"}, "/secret"),
        ({"url": URL, "project": "other"}, "/project"),
    ],
)
def test_bad_webhook_is_told_where_it_is_wrong(http: TestClient, fields: Any, pointer: str) -> None:
    answer = http.post("/v1/webhooks", json=fields)
    assert answer.status_code == 422 and answer.json()["errors"][0]["pointer"] == pointer


def test_project_has_twenty_webhooks_at_most(http: TestClient) -> None:
    codes = [http.post("/v1/webhooks", json={"url": URL}).status_code for _ in range(21)]
    assert codes == [201] * 20 + [409]


def test_loopback_receiver_of_a_test_is_refused_where_others_can_come(settings: Settings) -> None:
    unsafe = {"unsafe_webhook_loopback_for_tests": "127.0.0.1:9", "open": "loopback-published"}
    reachable = settings.model_copy(update={**unsafe, "host": "0.0.0.0"})
    refusal = refusal_to_start(reachable, environment={})
    assert refusal is not None and "UNSAFE_WEBHOOK_LOOPBACK_FOR_TESTS" in refusal
    here = settings.model_copy(update=unsafe)
    assert refusal_to_start(here, environment={}) is None
    assert destination(here, "http://127.0.0.1:9/told").address == "127.0.0.1"
    for other in ("http://127.0.0.1:10/told", "http://127.0.0.1/told", "http://127.0.0.2:9/", "https://127.0.0.1:9/"):
        with pytest.raises(Forbidden):
            destination(here, other)
