"""A body that trickles in is ended: one byte now and then is not progress."""

import socket
import time
from pathlib import Path
from urllib.parse import urlsplit

from store.settings import Settings
from tests.api.conftest import NO_BROKER, migrated
from tests.api.serving import served

IDLE_S = 1.0
GIVEN_UP_S = 6.0


def trickled(url: str) -> bytes:
    """The answer to a body of a byte each tenth of a second."""
    address, began = urlsplit(url), time.monotonic()
    with socket.create_connection((address.hostname, address.port), timeout=5) as connection:
        head = "POST /v1/datasets?name=a.csv HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: text/csv\r\n"
        connection.sendall(f"{head}Content-Length: 100000\r\n\r\n".encode())
        connection.settimeout(0.1)
        while time.monotonic() - began < GIVEN_UP_S:
            try:
                if answer := connection.recv(4096):
                    return answer
            except TimeoutError:
                connection.sendall(b"1")
    return b""


def test_body_that_trickles_in_is_ended_and_leaves_no_file(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path / "state", broker_url=NO_BROKER)
    migrated(settings.resolved_database_url).dispose()
    with served(settings.state_dir, tmp_path / "api.log", AFTERPROP_UPLOAD_IDLE_S=str(IDLE_S)) as (url, _):
        answer = trickled(url)
        assert answer.startswith(b"HTTP/1.1 408 "), answer
        assert [path for path in settings.uploads_dir.rglob("*") if path.is_file()] == []
