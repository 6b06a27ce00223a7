"""One webhook on its way: signed, sent to the address that was judged, and what came back told in a word.

Nothing of the answer but its status is kept, so nobody reads the inside through this service.
"""

import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

from standardwebhooks import Webhook

from specs.version import VERSION
from store.deliveries import Claim
from store.destinations import Destination

TRY_S: Final = 10.0
"""Of a whole try: connecting, encryption, sending, the answer's head and body."""
MOST_ANSWER_BYTES: Final = 64 * 1024


class _Connection(http.client.HTTPConnection):
    """A connection to a judged address under the name that was asked for. It knows no proxies and no redirects."""

    def __init__(self, to: Destination, context: ssl.SSLContext | None) -> None:
        super().__init__(to.host, to.port, timeout=TRY_S)
        self._to = to
        self._context = context
        self._line: socket.socket | None = None
        self._late = False

    def connect(self) -> None:
        self.sock = self._line = socket.create_connection((self._to.address, self._to.port), timeout=TRY_S)
        if self._context is not None:
            encrypted = self._context.wrap_socket(
                self.sock, server_hostname=self._to.host, do_handshake_on_connect=False
            )
            self.sock = self._line = encrypted
            encrypted.do_handshake()
        if self._late:
            raise TimeoutError

    def hang_up(self) -> None:
        """Ends whatever is waited for, from another thread. ``sock`` is forgotten once an answer has begun."""
        self._late = True
        if self._line is not None:
            with suppress(OSError):
                # Not the method of an encrypted socket, which would take its state from under the other thread.
                socket.socket.shutdown(self._line, socket.SHUT_RDWR)


def send(claim: Claim, to: Destination, *, context: ssl.SSLContext | None = None) -> dict[str, Any]:
    """One try: ``status_code``, ``error`` (null: delivered) and ``duration_s``. It takes ``TRY_S`` at most."""
    begun = time.monotonic()
    body = payload(claim)
    if to.encrypted and context is None:
        context = ssl.create_default_context()
    connection = _Connection(to, context if to.encrypted else None)
    deadline = threading.Timer(TRY_S, connection.hang_up)
    deadline.daemon = True
    deadline.start()
    status = None
    try:
        connection.request("POST", to.target, body, headers(claim, body, datetime.now(UTC)))
        answer = connection.getresponse()
        status = answer.status
        _read(answer, begun)
        error = None if 200 <= status < 300 else "status"
    except TimeoutError:
        error = "timeout"
    except (OSError, http.client.HTTPException, ValueError) as raised:
        error = "timeout" if time.monotonic() - begun >= TRY_S else _word(raised)
    finally:
        deadline.cancel()
        connection.close()
    return {"status_code": status, "error": error, "duration_s": round(time.monotonic() - begun, 3)}


def payload(claim: Claim) -> bytes:
    """The body: the same bytes at every try."""
    happened = datetime.fromtimestamp(claim.created_at, UTC).isoformat(timespec="milliseconds")
    fields = {"type": claim.type, "timestamp": happened.replace("+00:00", "Z"), "data": claim.detail}
    return json.dumps(fields, allow_nan=False, separators=(",", ":")).encode()


def headers(claim: Claim, body: bytes, at: datetime) -> dict[str, str]:
    """Those of Standard Webhooks; a signature by each secret that is valid."""
    return {
        "Content-Type": "application/json",
        "User-Agent": f"Afterprop/{VERSION}",
        "Connection": "close",
        "webhook-id": claim.event_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": signatures(claim.secrets, claim.event_id, body, at),
    }


def signatures(secrets: Sequence[str], event_id: str, body: bytes, at: datetime) -> str:
    """One for each secret, with spaces between."""
    return " ".join(Webhook(secret).sign(event_id, at, body.decode()) for secret in secrets)


def _read(answer: http.client.HTTPResponse, begun: float) -> None:
    """Reads on to the end of a short answer, and drops what is longer."""
    read = 0
    while read < MOST_ANSWER_BYTES:
        piece = answer.read1(8192)
        if not piece:
            break
        read += len(piece)
    if time.monotonic() - begun >= TRY_S:
        raise TimeoutError


def _word(error: Exception) -> str:
    """What went wrong, without a word of what the other side said."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return "certificate"
    if isinstance(error, ssl.SSLError):
        return "encryption"
    if isinstance(error, http.client.HTTPException):
        return "not_http"
    return "not_reached"
