"""A body over the limit is answered, not reset, over a real socket."""

import json
import socket
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from store.settings import Settings
from tests.api.conftest import NO_BROKER, migrated
from tests.api.serving import served

SIZE = 20 * 1024**2
PIECE = b" " * 65_536
COUNTED = f"Content-Length: {SIZE}\r\n"
CHUNKED = "Transfer-Encoding: chunked\r\n"
ASKING = f"Content-Length: {SIZE}\r\nExpect: 100-continue\r\n"


def answer_to(url: str, header: str, pieces: list[bytes]) -> bytes:
    """All that the service says to a client that sends everything before it listens."""
    address = urlsplit(url)
    with socket.create_connection((address.hostname, address.port), timeout=20) as connection:
        start = f"POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n{header}\r\n"
        connection.sendall(start.encode())
        for piece in pieces:
            connection.sendall(piece)
        found = b""
        while piece := connection.recv(65_536):
            found += piece
    return found


@pytest.mark.parametrize(
    ("header", "pieces"),
    [
        (COUNTED, [PIECE] * (SIZE // len(PIECE))),
        (CHUNKED, [b"10000\r\n" + PIECE + b"\r\n"] * (SIZE // len(PIECE)) + [b"0\r\n\r\n"]),
        (ASKING, []),
    ],
    ids=["counted", "chunked", "asking first"],
)
def test_body_over_the_limit_is_answered_and_not_reset(header: str, pieces: list[bytes], tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path / "state", broker_url=NO_BROKER)
    migrated(settings.resolved_database_url).dispose()
    with served(settings.state_dir, tmp_path / "api.log") as (url, _):
        head, _, body = answer_to(url, header, pieces).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in head.lower()
    assert json.loads(body)["code"] == "body_too_large"
