"""Seconds of training: without evaluation, checkpoints and measuring."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import final


@final
class Stopwatch:
    """Runs from ``start`` on; what happens ``aside`` is not counted. Goes on over attempts by ``seconds``."""

    def __init__(self, seconds: float = 0.0) -> None:
        self._before = seconds
        self._since: float | None = None
        self._is_aside = False

    def start(self) -> None:
        self._since = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Counted so far."""
        return self._before + (0.0 if self._since is None else time.perf_counter() - self._since)

    def leave_out(self, seconds: float) -> None:
        """Takes back time that was measured elsewhere as not training."""
        self._before -= seconds

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Does not count what happens inside; one inside another counts nothing twice."""
        if self._is_aside:
            yield
            return
        self._is_aside = True
        started = time.perf_counter()
        try:
            yield
        finally:
            self._is_aside = False
            self.leave_out(time.perf_counter() - started)
