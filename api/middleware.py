"""The outermost layer of every request: its id, the checks before any routing, headers after, and the last catch."""

import asyncio
import time
from contextlib import suppress
from typing import Any

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import problems
from api.crowding import COME_AGAIN_S, Crowd
from api.exposure import ANY_HOST
from api.metrics import Metrics
from store.identifiers import new_id
from store.settings import Settings

CONTENT_SECURITY_POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "object-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
SECURITY_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}

UPLOADS = "/v1/datasets"
MOST_DROPPED_BYTES = 64 * 1024**2
MOST_DROPPED_S = 10.0

_log = structlog.get_logger(__name__)


class Threshold:
    """Wraps the application: nothing enters unchecked, nothing leaves without its headers, no traceback leaves."""

    def __init__(self, app: ASGIApp, *, hosts: frozenset[str], settings: Settings, metrics: Metrics) -> None:
        self._app = app
        self._hosts = hosts
        self._settings = settings
        self._metrics = metrics
        self._crowd = Crowd()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = new_id("req")
        scope.setdefault("state", {})["request_id"] = request_id
        started = time.perf_counter()
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(raw=message["headers"])
                headers["X-Request-Id"] = request_id
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        self._crowd.inside += 1
        try:
            refusal = self._refusal(scope)
            if refusal is not None:
                await dropped(scope, receive)
            await (refusal or self._app)(scope, receive, send_with_headers)
        except Exception:  # the outer door: a defect is told by its request id, never by a traceback
            _log.exception("request_failed", request_id=request_id, method=scope["method"], path=scope["path"])
            if status == 0:
                await problems.response(scope, "internal_error")(scope, receive, send_with_headers)
        finally:
            self._crowd.inside -= 1
            route = getattr(scope.get("route"), "path", "unmatched")
            self._metrics.observe(scope["method"], route, status, time.perf_counter() - started)

    def _refusal(self, scope: Scope) -> Any:
        if self._crowd.is_too_large(scope["path"]):
            return problems.response(scope, "overloaded", headers={"Retry-After": str(COME_AGAIN_S)})
        headers = Headers(scope=scope)
        host = host_name(headers.get("host", ""))
        if host not in self._hosts and ANY_HOST not in self._hosts:
            return problems.response(scope, "untrusted_host")
        length = headers.get("content-length", "0")
        most = self._most_bytes(scope)
        if length.isdecimal() and int(length[:20]) > most:
            return problems.response(
                scope,
                "body_too_large",
                f"The body is larger than {most} bytes.",
                headers={"Connection": "close"},
            )
        return None

    def _most_bytes(self, scope: Scope) -> int:
        uploads = scope["method"] == "POST" and scope["path"] == UPLOADS
        limits = self._settings.limits
        return limits.upload_bytes if uploads else limits.body_bytes


async def dropped(scope: Scope, receive: Receive) -> None:
    """Reads what the client still sends, up to a bound, and forgets it.

    A connection that is closed with bytes unread is reset, and the answer is lost with it. A client that asked first
    (``Expect: 100-continue``) sends nothing.
    """
    if "100-continue" in Headers(scope=scope).get("expect", "").lower():
        return
    read = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(MOST_DROPPED_S):
            while read < MOST_DROPPED_BYTES:
                message = await receive()
                read += len(message.get("body", b""))
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    return


def host_name(header: str) -> str:
    """The name in a Host header, without its port; an IPv6 address without its brackets."""
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.rpartition(":")[0].lower() if ":" in header else header.lower()
