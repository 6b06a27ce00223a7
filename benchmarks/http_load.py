"""A load client on bare sockets: HTTP/1.1, kept-alive connections, few instructions a request.

A comfortable client would take more of the machine than the server that it measures.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

Make = Callable[[int], bytes]
"""The bytes of the n-th request."""


@dataclass
class Taken:
    """What a load came to."""

    seconds: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    latencies_s: list[float] = field(default_factory=list)
    without_retry_after: int = 0
    broken: int = 0

    @property
    def good_per_s(self) -> float:
        return sum(count for status, count in self.statuses.items() if status < 400) / self.seconds

    def percentile_ms(self, share: float) -> float | None:
        """Of the requests that were taken."""
        ordered = sorted(self.latencies_s)
        return 1000 * ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else None


def request(method: str, path: str, host: str, body: bytes = b"", **headers: str) -> bytes:
    """A request as bytes."""
    lines = [
        f"{method} {path} HTTP/1.1",
        f"Host: {host}",
        *(f"{name.replace('_', '-')}: {headers[name]}" for name in headers),
    ]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


def load(host: str, port: int, make: Make, *, connections: int, seconds: float) -> Taken:
    """Each connection sends its next request when the last is answered, until the time is up."""
    return asyncio.run(_load(host, port, make, connections, seconds))


async def _load(host: str, port: int, make: Make, connections: int, seconds: float) -> Taken:
    taken = Taken()
    numbers = iter(range(1 << 40))
    began = time.perf_counter()

    async def one() -> None:
        while (now := time.perf_counter()) - began < seconds:
            try:
                reader, writer = await asyncio.open_connection(host, port)
            except OSError:
                taken.broken += 1
                await asyncio.sleep(0.05)
                continue
            try:
                while (now := time.perf_counter()) - began < seconds:
                    writer.write(make(next(numbers)))
                    status, retry_after, closes = await _answer(reader)
                    taken.statuses[status] += 1
                    if status < 400:
                        taken.latencies_s.append(time.perf_counter() - now)
                    elif not retry_after:
                        taken.without_retry_after += 1
                    if status in (429, 503):
                        await asyncio.sleep(0.1)  # a client that heeds Retry-After somewhat
                    if closes:
                        break
            except (OSError, asyncio.IncompleteReadError, ValueError, IndexError):
                taken.broken += 1
            finally:
                writer.close()

    await asyncio.gather(*(one() for _ in range(connections)))
    taken.seconds = time.perf_counter() - began
    return taken


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bool, bool]:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    status = int(head[9:12])
    at = head.find(b"content-length:")
    if at >= 0:
        await reader.readexactly(int(head[at + 15 : head.index(b"\r", at)]))
    elif b"transfer-encoding: chunked" in head:
        while size := int(await reader.readuntil(b"\r\n"), 16):
            await reader.readexactly(size + 2)
        await reader.readexactly(2)
    return status, b"retry-after:" in head, b"connection: close" in head
