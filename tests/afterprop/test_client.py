"""The client against a server that breaks lines: what is sent again, with which key, and where streams go on."""

import http.server
import json
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from afterprop.address import listen
from afterprop.client import Client
from afterprop.errors import Conflict, InvalidRequest, NotFound, ServiceFault, StreamLost, Unreachable

Answer = Callable[[http.server.BaseHTTPRequestHandler], None]


class Scripted(http.server.ThreadingHTTPServer):
    """A server that gives one scripted answer per request and keeps what it was asked."""

    daemon_threads = True

    def __init__(self, script: list[Answer]) -> None:
        self.script = script
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    """Plays the server's script."""

    server: Scripted

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked.append((self.command, self.path, dict(self.headers)))
        self.server.script.pop(0)(self)

    do_GET = do_POST

    def log_message(self, format: str, *args: Any) -> None:
        """Silent."""


def break_the_line(handler: http.server.BaseHTTPRequestHandler) -> None:
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True


def says(status: int, body: Any, **headers: str) -> Answer:
    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        content = json.dumps(body).encode()
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(content)

    return answer


def streams(*events: tuple[int, str]) -> Answer:
    """These events, and then the line is closed."""

    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.end_headers()
        for number, kind in events:
            handler.wfile.write(f': ping\n\nid: {number}\nevent: {kind}\ndata: {{"n": {number}}}\n\n'.encode())

    return answer


@pytest.fixture
def scripted() -> Iterator[Callable[..., Scripted]]:
    servers: list[Scripted] = []

    def make(*script: Answer) -> Scripted:
        servers.append(Scripted(list(script)))
        return servers[-1]

    yield make
    for server in servers:
        server.shutdown()
        server.server_close()


def test_broken_line_is_retried_with_the_same_key(scripted: Callable[..., Scripted]) -> None:
    server = scripted(break_the_line, break_the_line, says(202, {"id": "job_1"}))
    with Client(server.url) as client:
        assert client.jobs.create({"recipe": "backprop"})["id"] == "job_1"
    keys = [headers["Idempotency-Key"] for _, _, headers in server.asked]
    assert len(keys) == 3
    assert len(set(keys)) == 1


def test_two_jobs_have_two_keys(scripted: Callable[..., Scripted]) -> None:
    server = scripted(says(202, {"id": "job_1"}), says(202, {"id": "job_2"}))
    with Client(server.url) as client:
        for _ in range(2):
            client.jobs.create({"recipe": "backprop"})
    assert len({headers["Idempotency-Key"] for _, _, headers in server.asked}) == 2


def test_overloaded_service_is_asked_again_when_it_said(scripted: Callable[..., Scripted]) -> None:
    server = scripted(says(503, {}, Retry_After="0"), says(200, {"id": "job_1"}))
    with Client(server.url) as client:
        assert client.jobs.retrieve("job_1")["id"] == "job_1"


def test_key_that_is_still_being_answered_is_asked_again(scripted: Callable[..., Scripted]) -> None:
    server = scripted(says(409, {}, Retry_After="0"), says(200, {"id": "job_1"}))
    with Client(server.url) as client:
        assert client.jobs.create({})["id"] == "job_1"


def test_refusal_is_not_repeated(scripted: Callable[..., Scripted]) -> None:
    server = scripted(says(422, {"title": "no", "errors": [{"pointer": "/learner"}]}))
    with Client(server.url) as client, pytest.raises(InvalidRequest) as refused:
        client.jobs.create({})
    assert refused.value.problem["errors"][0]["pointer"] == "/learner"
    assert len(server.asked) == 1


@pytest.mark.parametrize(("status", "error"), [(404, NotFound), (409, Conflict), (500, ServiceFault)])
def test_status_has_its_own_error(scripted: Callable[..., Scripted], status: int, error: type[Exception]) -> None:
    server = scripted(says(status, "not even a problem"))
    with Client(server.url) as client, pytest.raises(error):
        client.jobs.retrieve("job_1")


def test_nobody_listening_is_unreachable() -> None:
    with Client("http://127.0.0.1:9", max_retries=0) as client, pytest.raises(Unreachable):
        client.jobs.retrieve("job_1")


def test_broken_stream_goes_on_after_the_last_event(scripted: Callable[..., Scripted]) -> None:
    server = scripted(streams((1, "status"), (2, "progress")), break_the_line, streams((3, "status"), (4, "end")))
    with Client(server.url) as client:
        events = list(client.jobs.events("job_1"))
    assert [event.sequence for event in events] == [1, 2, 3, 4]
    assert [headers.get("Last-Event-ID") for _, _, headers in server.asked] == [None, "2", "2"]


def test_stream_that_never_ends_properly_is_not_taken_for_an_end(
    scripted: Callable[..., Scripted], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("afterprop.jobs.STREAM_RETRIES", 2)
    server = scripted(streams((1, "status")), streams(), streams(), streams())
    with Client(server.url) as client, pytest.raises(StreamLost):
        list(client.jobs.events("job_1"))


def test_accepted_connections_do_not_wait_to_fill_a_packet() -> None:
    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
