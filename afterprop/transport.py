"""Requests that are sent again when it is safe, and answers that become values or errors."""

import random
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any, final

import httpx2

from afterprop.errors import Unreachable, error_of

FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 5.0
LONGEST_RETRY_AFTER_S = 30.0
TRY_AGAIN_LATER = {429, 503}
STILL_BEING_ANSWERED = 409  # with Retry-After: an earlier request of the same key
UPLOAD_PIECE_BYTES = 1 << 20
# Event streams carry a heartbeat every 15 s; three missed ones are a lost line.
STREAM_SILENCE_S = 45.0
# A proxy of the environment cannot reach this machine's own loopback.
NO_PROXY_TO_HERE = dict.fromkeys(("all://127.0.0.1", "all://localhost", "all://[::1]"))


@final
class Transport:
    """One connection pool to one service. Every request that it is given may safely be repeated:
    it reads, it says "be so", or it carries an Idempotency-Key."""

    def __init__(self, url: str, *, api_key: str | None, timeout_s: float, max_retries: int) -> None:
        headers = {"Accept": "application/json"}
        if api_key:
            headers["Authorization"] = f"Bearer {api_key}"
        self.url = url.rstrip("/")
        self._retries = max_retries
        self._timeout_s = timeout_s
        self._client = httpx2.Client(base_url=self.url, headers=headers, timeout=timeout_s, mounts=NO_PROXY_TO_HERE)

    def close(self) -> None:
        self._client.close()

    def send(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx2.Response:
        """The answer, of status below 400. Raises ProblemError or Unreachable."""
        arguments: dict[str, Any] = {} if body is None else {"json": body}
        given = {name: value for name, value in (query or {}).items() if value is not None}
        request = self._client.build_request(method, path, params=given or None, headers=headers, **arguments)
        for attempt in range(self._retries + 1):
            pause_s = pause_before(attempt + 1)
            try:
                response = self._client.send(request)
            except httpx2.TransportError as error:
                if attempt == self._retries:
                    raise Unreachable(f"No answer from {self.url}: {error}") from error
            else:
                if attempt == self._retries or not wants_another_try(response):
                    return checked(response)
                pause_s = retry_after_s(response) or pause_s
            time.sleep(pause_s)
        raise AssertionError("the last attempt returns or raises")

    def json(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """The answer's JSON value; None for an answer without a body."""
        response = self.send(method, path, body=body, query=query, headers=headers)
        return response.json() if response.content else None

    def upload(self, path: str, content: IO[bytes], *, query: Mapping[str, Any], timeout_s: float) -> httpx2.Response:
        """The answer to a body that is read as it is sent; sent once: the stream cannot be read again."""
        headers = {"Content-Type": "application/octet-stream"}
        pieces = iter(lambda: content.read(UPLOAD_PIECE_BYTES), b"")
        timeout = httpx2.Timeout(self._timeout_s, read=timeout_s)
        try:
            response = self._client.post(path, params=dict(query), content=pieces, headers=headers, timeout=timeout)
        except httpx2.TransportError as error:
            raise Unreachable(f"No answer from {self.url}: {error}") from error
        return checked(response)

    @contextmanager
    def events(self, path: str, *, after: int | None) -> Iterator[httpx2.EventSource]:
        """An open event stream that starts after the event of that number."""
        headers = {} if after is None else {"Last-Event-ID": str(after)}
        timeout = httpx2.Timeout(self._timeout_s, read=STREAM_SILENCE_S)
        with self._client.sse(path, headers=headers, timeout=timeout) as source:
            if source.response.status_code >= httpx2.codes.BAD_REQUEST:
                source.response.read()
                checked(source.response)
            yield source

    @contextmanager
    def stream(self, path: str, *, headers: Mapping[str, str] | None = None) -> Iterator[httpx2.Response]:
        """An answer whose body is read in pieces."""
        try:
            with self._client.stream("GET", path, headers=headers) as response:
                if response.status_code >= httpx2.codes.BAD_REQUEST:
                    response.read()
                yield checked(response)
        except httpx2.TransportError as error:
            raise Unreachable(f"No answer from {self.url}: {error}") from error


def checked(response: httpx2.Response) -> httpx2.Response:
    """The response, unless it carries a problem."""
    if response.status_code < httpx2.codes.BAD_REQUEST:
        return response
    try:
        body = response.json()
    except ValueError:
        body = None
    raise error_of(response.status_code, body)


def pause_before(attempt: int) -> float:
    """Seconds before the attempt: doubling, with jitter so that clients do not come back all at once."""
    longest: float = min(FIRST_PAUSE_S * 2 ** (attempt - 1), LONGEST_PAUSE_S)
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - spreads retries, guards nothing


def wants_another_try(response: httpx2.Response) -> bool:
    in_flight = response.status_code == STILL_BEING_ANSWERED and "Retry-After" in response.headers
    return in_flight or response.status_code in TRY_AGAIN_LATER


def retry_after_s(response: httpx2.Response) -> float | None:
    """What the service asked to wait, bounded."""
    text: str = response.headers.get("Retry-After", "")
    return min(float(text), LONGEST_RETRY_AFTER_S) if text.isdecimal() else None
