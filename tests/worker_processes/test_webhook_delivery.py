"""Webhooks on their way: signed by the standard, sent where was judged and nowhere else, within bounds."""

import json
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError

from store import deliveries, jobs, webhooks
from store.database import Database
from store.deliveries import Claim
from store.destinations import Destination
from store.queue import Bell
from store.settings import Settings
from tests.api import lived_job
from tests.api.conftest import NO_BROKER
from tests.store.conftest import database as database
from tests.store.conftest import migrated_sqlite as migrated_sqlite
from tests.store.conftest import postgresql_url as postgresql_url
from tests.webhook_receiver import Receiver, receiving
from worker import sending
from worker.deliverer import Deliverer
from worker.places import Places
from worker.spawn_launcher import SpawnLauncher
from worker.workshop import Workshop

CERTIFICATE = Path(__file__).with_name("hooks.example.org.pem")
"""Of nobody: made for these tests, with its key."""
HOST = "hooks.example.org"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSx"
CLAIM = Claim(
    delivery_id="whd_1",
    attempt=1,
    url="",
    secrets=(SECRET, OTHER),
    event_id="evt_1",
    type="job.failed",
    detail={"id": "job_1", "name": "étude", "status": "failed"},
    created_at=1764000000.5,
)


def local(receiver: Receiver, *, encrypted: bool = False, host: str = HOST) -> Destination:
    return Destination(host, "127.0.0.1", receiver.port, "/told?by=test", encrypted)


@contextmanager
def delivering(database: Database, settings: Settings) -> Iterator[Deliverer]:
    shop = Workshop(
        worker_id="wrk_1",
        settings=settings,
        database=database,
        launcher=SpawnLauncher(),
        places=Places(cpu_slots=1, gpu_uuids=[]),
        bell=Bell(settings),
    )
    deliverer = Deliverer(shop)
    deliverer.start()
    yield deliverer
    shop.stopping.set()
    deliverer.close()
    shop.bell.close()


def told_of(database: Database, url: str) -> str:
    """A webhook, and a job of which it is to hear."""
    with database.writing.begin() as session:
        webhook = webhooks.create(session, project="default", url=url, events=["job.cancelled"])
    end_a_job(database)
    return webhook.id


def end_a_job(database: Database) -> None:
    job_id = lived_job.queued(database)
    with database.writing.begin() as session:
        jobs.cancel(session, job_id)


def tries(database: Database, webhook_id: str, *, count: int = 1) -> list[dict[str, Any]]:
    """The tries of a webhook's only delivery, once there are so many."""
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        with database.reading() as session:
            (row,) = webhooks.deliveries(session, webhook_id, limit=9)
        if len(row.tries) >= count:
            return row.tries
        time.sleep(0.02)
    raise AssertionError("nothing was tried")


def test_signature_is_that_of_the_standards_own_example() -> None:
    at = datetime.fromtimestamp(1614265330, UTC)
    signed = sending.signatures([SECRET], "msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}', at)
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_either_valid_secret_verifies_and_no_other_one() -> None:
    with receiving() as receiver:
        assert sending.send(CLAIM, local(receiver))["error"] is None
    (received,) = receiver.received
    assert received.path == "/told?by=test" and received.headers["host"] == f"{HOST}:{receiver.port}"
    for secret in (SECRET, OTHER):
        found = Verifier(secret).verify(received.body, received.headers)
    assert found == {"type": "job.failed", "timestamp": "2025-11-24T16:00:00.500Z", "data": CLAIM.detail}
    assert received.headers["webhook-id"] == "evt_1"
    with pytest.raises(WebhookVerificationError):
        Verifier("whsec_" + "A" * 32).verify(received.body, received.headers)
    with pytest.raises(WebhookVerificationError):
        Verifier(SECRET).verify(received.body.replace(b"failed", b"passed"), received.headers)


def test_delivered_by_a_worker_and_written_down(database: Database, tmp_path: Path) -> None:
    with receiving() as receiver:
        settings = Settings(
            state_dir=tmp_path,
            broker_url=NO_BROKER,
            poll_s=0.05,
            unsafe_webhook_loopback_for_tests=f"127.0.0.1:{receiver.port}",
        )
        webhook_id = told_of(database, receiver.url)
        with delivering(database, settings), delivering(database, settings):
            receiver.wait_for(1)
            (tried,) = tries(database, webhook_id)
            for _ in range(20):
                end_a_job(database)
            receiver.wait_for(21)
            time.sleep(0.3)
    assert (tried["status_code"], tried["error"]) == (204, None)
    ids = [received.headers["webhook-id"] for received in receiver.received]
    assert len(ids) == len(set(ids)) == 21, "two workers, and nothing twice"
    with database.reading() as session:
        rows = webhooks.deliveries(session, webhook_id, limit=99)
        secret = webhooks.get(session, webhook_id, project="default").secret
    assert {row.event_id for row in rows} == set(ids) and {row.status for row in rows} == {"delivered"}
    Verifier(secret).verify(receiver.received[0].body, receiver.received[0].headers)


def test_refused_delivery_comes_again_with_the_same_id_and_body(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "PAUSES_S", (0.2,) * 7)
    codes = iter([500, 302, 204])

    def answers(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(next(codes))
        handler.send_header("Location", "/elsewhere")
        handler.end_headers()

    with receiving(answers) as receiver:
        loopback = f"127.0.0.1:{receiver.port}"
        settings = Settings(
            state_dir=tmp_path, broker_url=NO_BROKER, poll_s=0.05, unsafe_webhook_loopback_for_tests=loopback
        )
        webhook_id = told_of(database, receiver.url)
        with delivering(database, settings):
            found = tries(database, webhook_id, count=3)
    assert [tried["status_code"] for tried in found] == [500, 302, 204]
    assert {received.path for received in receiver.received} == {"/told"}, "a redirect is not followed"
    assert len({(one.headers["webhook-id"], one.body) for one in receiver.received}) == 1


def test_name_that_has_become_private_is_not_sent_to(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The canary listens where the name leads by now."""
    with socket.socket() as canary:
        canary.bind(("127.83.84.85", 8443))
        canary.listen()
        canary.settimeout(0.3)
        answering(monkeypatch, lambda _host: ["127.83.84.85"])
        settings = Settings(state_dir=tmp_path, broker_url=NO_BROKER, poll_s=0.05, webhook_hosts=HOST)
        webhook_id = told_of(database, f"https://{HOST}:8443/")
        with delivering(database, settings):
            (tried,) = tries(database, webhook_id)
        assert (tried["status_code"], tried["error"]) == (None, "private_address")
        with pytest.raises(TimeoutError):
            canary.accept()


def test_host_that_is_no_longer_allowed_is_not_sent_to(database: Database, tmp_path: Path) -> None:
    webhook_id = told_of(database, f"https://{HOST}/")
    with delivering(database, Settings(state_dir=tmp_path, broker_url=NO_BROKER, poll_s=0.05)):
        (tried,) = tries(database, webhook_id)
    assert tried["error"] == "webhooks_off"


def test_connection_goes_to_the_judged_address_under_the_asked_name() -> None:
    """Certificate and SNI are the name's; the name is not looked up again."""
    asked: list[str | None] = []
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(CERTIFICATE)
    server.sni_callback = lambda _socket, name, _context: asked.append(name)
    trusting = ssl.create_default_context(cafile=str(CERTIFICATE))
    with receiving(context=server) as receiver:
        told = sending.send(CLAIM, local(receiver, encrypted=True), context=trusting)
        assert (told["status_code"], told["error"]) == (204, None)
        assert asked == [HOST]
        stranger = local(receiver, encrypted=True, host="other.example.org")
        assert sending.send(CLAIM, stranger, context=trusting)["error"] == "certificate"
        assert sending.send(CLAIM, local(receiver, encrypted=True))["error"] == "certificate", "a self-signed one"
    assert len(receiver.received) == 1


def endless(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    for _ in range(100_000):
        handler.wfile.write(b"x" * 65536)


def drop_by_drop_body(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    for _ in range(200):
        handler.wfile.write(b"x")
        time.sleep(0.05)


def drop_by_drop_head(handler: BaseHTTPRequestHandler) -> None:
    for number in range(200):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n" if number == 0 else b"X-Slow: x\r\n")
        time.sleep(0.05)


def silent(handler: BaseHTTPRequestHandler) -> None:
    time.sleep(5)


@pytest.mark.parametrize(
    ("answers", "error"),
    [(endless, None), (drop_by_drop_body, "timeout"), (drop_by_drop_head, "timeout"), (silent, "timeout")],
)
def test_try_is_bounded_in_time_and_bytes(
    answers: Callable[[BaseHTTPRequestHandler], None], error: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "TRY_S", 0.5)
    with receiving(answers) as receiver:
        begun = time.monotonic()
        told = sending.send(CLAIM, local(receiver))
        assert time.monotonic() - begun < 1.5
    assert told["error"] == error


def test_receiver_that_never_speaks_tls_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "TRY_S", 0.4)
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        begun = time.monotonic()
        told = sending.send(CLAIM, Destination(HOST, "127.0.0.1", mute.getsockname()[1], "/"))
        assert time.monotonic() - begun < 1.4
    assert told["error"] == "timeout"


def test_nothing_of_an_answer_is_kept_but_its_status() -> None:
    def answers(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(403, "inside-secret")
        handler.send_header("X-Inside", "inside-secret")
        handler.end_headers()
        handler.wfile.write(b"inside-secret")

    def no_http(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"inside-secret\r\n\r\n")

    for behaviour, error in ((answers, "status"), (no_http, "not_http")):
        with receiving(behaviour) as receiver:
            told = sending.send(CLAIM, local(receiver))
        assert told["error"] == error and "inside-secret" not in json.dumps(told)


def test_receiver_that_is_not_there_is_a_try_that_failed() -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        to = Destination(HOST, "127.0.0.1", unheard.getsockname()[1], "/", encrypted=False)
        assert sending.send(CLAIM, to)["error"] == "not_reached"


def answering(monkeypatch: pytest.MonkeyPatch, answers: Callable[[str], list[str]]) -> None:
    """The system's resolver as whoever owns a domain could have it answer."""
    real = socket.getaddrinfo

    def resolved(host: Any, port: Any, *rest: Any, **options: Any) -> Any:
        if host != HOST:
            return real(host, port, *rest, **options)
        return [found for address in answers(host) for found in real(address, port, type=socket.SOCK_STREAM)]

    monkeypatch.setattr(socket, "getaddrinfo", resolved)
