"""Comparisons: post them, wait for their answer, take it home."""

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, final

from afterprop.answers import TERMINAL, Page
from afterprop.jobs import new_key
from afterprop.transport import Transport

LOOK_S = 1.0

Comparison = dict[str, Any]
"""A comparison as the service answers it."""


@final
class Comparisons:
    """The comparisons of one service."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(self, spec: Mapping[str, Any], *, idempotency_key: str | None = None) -> Comparison:
        """Post a comparison. A lost connection is retried with the same key, so it never makes two."""
        headers = {"Idempotency-Key": idempotency_key or new_key()}
        made: Comparison = self._transport.json("POST", "/v1/comparisons", body=dict(spec), headers=headers)
        return made

    def retrieve(self, comparison_id: str) -> Comparison:
        found: Comparison = self._transport.json("GET", path_of(comparison_id))
        return found

    def list(self) -> Iterator[Comparison]:
        """All comparisons without their rows, newest first; pages are fetched as they are needed."""
        after = None
        while True:
            page: Page[Comparison] = self._transport.json("GET", "/v1/comparisons", query={"after": after})
            yield from page["data"]
            after = page["next_cursor"]
            if not page["has_more"] or after is None:
                return

    def cancel(self, comparison_id: str) -> Comparison:
        """End it and all its jobs."""
        found: Comparison = self._transport.json("POST", f"{path_of(comparison_id)}/cancel")
        return found

    def wait(self, comparison_id: str, *, seen: Callable[[Comparison], None] = lambda _: None) -> Comparison:
        """The comparison when it has ended, however it ended; ``seen`` is called at each look."""
        while True:
            found = self.retrieve(comparison_id)
            seen(found)
            if found["phase"] == TERMINAL:
                return found
            time.sleep(LOOK_S)

    def bundle(self, comparison_id: str, *, to: Path) -> Path:
        """Write the archive of specs, rows, receipts and protocol to a file."""
        return self._download(f"{path_of(comparison_id)}/bundle", to)

    def page(self, comparison_id: str, *, to: Path) -> Path:
        """Write the self-contained HTML page to a file."""
        return self._download(f"{path_of(comparison_id)}/page", to)

    def _download(self, path: str, to: Path) -> Path:
        partial = to.with_name(to.name + ".part")
        with self._transport.stream(path) as response, partial.open("wb") as file:
            for piece in response.iter_bytes():
                file.write(piece)
        return partial.replace(to)


def path_of(comparison_id: str) -> str:
    return f"/v1/comparisons/{comparison_id}"
