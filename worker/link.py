"""The trainer's ends of its two pipes: reports go up, leases and stop orders come down."""

import os
import time
from abc import ABC, abstractmethod
from typing import Final, Literal, cast, final

from specs.reports import Report
from worker import frames
from worker.clock import boottime_s

StopReason = Literal["pause", "preempt", "time_limit"]
POLL_S: Final = 0.004


class WorkerGone(Exception):
    """The other end of a pipe was closed: nobody waits for this job any more."""


class LeaseOver(Exception):
    """The lease ran out between two steps: another attempt may begin."""


class Link(ABC):
    """What the loop knows of the outside. ``stop_reason`` and ``checkpoint_wanted`` are looked at between steps."""

    stop_reason: StopReason | None = None
    checkpoint_wanted: bool = False

    @abstractmethod
    def send(self, report: Report) -> None:
        """Tell the worker."""

    @abstractmethod
    def poll(self) -> None:
        """Take in what has come. Raises ``WorkerGone`` and ``LeaseOver``."""


@final
class Silence(Link):
    """Nobody at the other end: reports are kept in a list."""

    def __init__(self) -> None:
        self.reports: list[Report] = []

    def send(self, report: Report) -> None:
        self.reports.append(report)

    def poll(self) -> None:
        """Nothing comes."""


@final
class PipeLink(Link):
    """Frames over file descriptors. The one that leads down is read without waiting."""

    def __init__(self, up: int, down: int, *, lease_until: float | None) -> None:
        self._up = up
        self._down = down
        self._lease_until = lease_until
        self._decoder = frames.Decoder()
        os.set_blocking(down, False)

    def send(self, report: Report) -> None:
        kind, fields, payload = report.frame()
        try:
            frames.send(self._up, kind, payload, **fields)
        except BrokenPipeError:
            raise WorkerGone from None

    def poll(self) -> None:
        self._read()
        if self._lease_until is not None and boottime_s() > self._lease_until:
            raise LeaseOver

    def _read(self) -> None:
        try:
            received = os.read(self._down, 1 << 16)
        except BlockingIOError:
            return
        if not received:
            raise WorkerGone
        for frame in self._decoder.feed(received):
            self._take(frame)

    def _take(self, frame: frames.Frame) -> None:
        if frame.type == "lease":
            self._lease_until = frame.fields["until"]
        elif frame.type == "checkpoint":
            self.checkpoint_wanted = True
        elif frame.type == "stop":
            self.stop_reason = cast(StopReason, frame.fields["reason"])


@final
class Ticker:
    """Says cheaply whether some time has passed: one read of the clock."""

    def __init__(self, every_s: float, *, at_once: bool = False) -> None:
        self._every_s = every_s
        self._next = 0.0 if at_once else time.monotonic() + every_s

    def due(self) -> bool:
        """True at most once in the interval."""
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + self._every_s
        return True
