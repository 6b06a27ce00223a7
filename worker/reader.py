"""What a trainer sends, read without ever waiting for the database, into a buffer with a bound."""

import os
import select
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pydantic import ValidationError

from specs.reports import ANY_REPORT, Checkpoint, Failure, Progress, Report, Result, Series, Started, Stopped
from worker.frames import Decoder, Frame, ProtocolError

MAX_SERIES_BYTES: Final = 32 << 20
MAX_OTHER_BYTES: Final = 32 << 20
_FRAME_OVERHEAD: Final = 512  # what a small report weighs in memory
_TICK_MS: Final = 200


@dataclass(frozen=True)
class Arrived:
    """A report that the supervisor must know of."""

    report: Report


@dataclass(frozen=True)
class UpClosed:
    """Nothing more will come: the trainer has closed its end, or is not listened to any more."""


@dataclass(frozen=True)
class Broken:
    """The trainer sent something that is no report."""

    message: str


class Buffer:
    """Reports on their way to the recorder, in order. When it is full, series are dropped and counted."""

    def __init__(self) -> None:
        self.dropped = 0
        self._reports: list[Report] = []
        self._series_bytes = 0
        self._other_bytes = 0
        self._lock = threading.Lock()
        self._urgent = threading.Event()

    @property
    def waiting_bytes(self) -> int:
        """Series that the recorder has not taken yet."""
        return self._series_bytes

    def put(self, report: Report, *, size: int, urgent: bool) -> None:
        """Raises ``ProtocolError`` when reports that may not be dropped flood it."""
        with self._lock:
            if isinstance(report, Series):
                if self._series_bytes + size > MAX_SERIES_BYTES:
                    self.dropped += 1
                    return
                self._series_bytes += size
            elif isinstance(report, Progress) and self._reports and isinstance(self._reports[-1], Progress):
                self._reports[-1] = report
                return
            else:
                self._other_bytes += size
                if self._other_bytes > MAX_OTHER_BYTES:
                    raise ProtocolError("a flood of reports")
            self._reports.append(report)
        if urgent:
            self._urgent.set()

    def wait(self, timeout_s: float) -> None:
        """Until something urgent is there, or so long."""
        self._urgent.wait(timeout_s)
        self._urgent.clear()

    def wake(self) -> None:
        self._urgent.set()

    def take(self) -> list[Report]:
        """Everything that is there, in the order it came."""
        with self._lock:
            taken, self._reports = self._reports, []
            self._series_bytes = self._other_bytes = 0
        return taken


class Reader:
    """A thread per attempt: up pipe in, buffer and supervisor's inbox out."""

    def __init__(self, up: int, *, buffer: Buffer, notify: Callable[[Arrived | UpClosed | Broken], None]) -> None:
        self.step = 0
        self.stepped = False
        self.moved_at = time.monotonic()
        self._up = up
        self._buffer = buffer
        self._notify = notify
        self._decoder = Decoder()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="reader", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Stop listening, even if somebody still holds the other end; closes the pipe."""
        self._stopping = True
        if self._thread.ident is not None:
            self._thread.join()
        os.close(self._up)

    def _run(self) -> None:
        try:
            while (received := self._receive()) is not None:
                for frame in self._decoder.feed(received):
                    self._accept(frame)
        except ProtocolError as error:
            self._notify(Broken(str(error)))
        self._notify(UpClosed())

    def _receive(self) -> bytes | None:
        poll = select.poll()
        poll.register(self._up, select.POLLIN)
        while not poll.poll(_TICK_MS):
            if self._stopping:
                return None
        return os.read(self._up, 1 << 16) or None

    def _accept(self, frame: Frame) -> None:
        report = parse(frame)
        first_step = False
        if isinstance(report, Progress | Started) and report.step >= self.step:
            first_step = isinstance(report, Progress) and not self.stepped
            self.stepped |= first_step
            if report.step > self.step or isinstance(report, Started):
                self.step, self.moved_at = report.step, time.monotonic()
        decides = isinstance(report, Started | Stopped | Result | Failure)
        size = len(frame.payload) + _FRAME_OVERHEAD + (0 if isinstance(report, Series) else len(str(frame.fields)))
        self._buffer.put(report, size=size, urgent=decides or first_step or isinstance(report, Checkpoint))
        if decides:
            self._notify(Arrived(report))


def parse(frame: Frame) -> Report:
    """The report that a frame carries. Raises ``ProtocolError``."""
    model = ANY_REPORT.get(frame.type)
    if model is None:
        raise ProtocolError(f"no report is called {frame.type!r}")
    if frame.payload and model is not Series:
        raise ProtocolError(f"a {frame.type} report carries no payload")
    try:
        report: Report = model.model_validate({**frame.fields, **({"payload": frame.payload} if frame.payload else {})})
    except ValidationError as error:
        raise ProtocolError(f"a {frame.type} report does not hold: {error.errors()[0]}") from None
    if isinstance(report, Series):
        _check_lengths(report)
    return report


def _check_lengths(series: Series) -> None:
    said = sum(4 * block.count * (1 + len(block.quantities)) for block in series.blocks)
    if said != len(series.payload):
        raise ProtocolError(f"series of {len(series.payload)} bytes whose blocks say {said}")
    if any(len(block.units) != len(block.quantities) for block in series.blocks):
        raise ProtocolError("a block of series with another number of units than of quantities")
