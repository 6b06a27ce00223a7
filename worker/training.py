"""The trainer of one attempt as its supervisor holds it: process, pipes, reader, recorder, clocks."""

import os
import queue
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from specs.reports import Failure, Report, Result, Started, Stopped
from store.attempts import Claim
from worker import endings, frames
from worker.clock import boottime_s
from worker.clocks import Clocks, Demand, Sight
from worker.endings import Completed, Ending, GivenBack, Lost
from worker.launcher import Exited, Forked, LauncherDied, LaunchEvent, LaunchOrder
from worker.reader import Arrived, Broken, Buffer, Reader, UpClosed
from worker.recorder import FencedOff, Recorder
from worker.work_order import AttemptFolder, Pipes
from worker.workshop import Workshop

EOF_WITHIN_S: Final = 2.0

Mail = LaunchEvent | Arrived | UpClosed | Broken | FencedOff
Inbox = queue.SimpleQueue[Mail | None]  # None: look at the flags


class Training:
    """From launch to the last frame. Everything but ``send`` is called by the supervisor's thread."""

    def __init__(
        self,
        shop: Workshop,
        claim: Claim,
        folder: AttemptFolder,
        pipes: Pipes,
        inbox: Inbox,
        *,
        give_up: Callable[[], bool],
    ) -> None:
        self.clocks = Clocks(
            shop.settings, max_runtime_s=claim.resolved_spec["limits"]["max_runtime_s"], now=time.monotonic()
        )
        self.exited: Exited | None = None
        self._launcher = shop.launcher
        self._threads: int = claim.resolved_spec["resources"]["threads"]
        self._folder = folder
        self._pipes = pipes
        self._inbox = inbox
        buffer = Buffer()
        self._reader = Reader(pipes.up_read, buffer=buffer, notify=inbox.put)
        self._recorder = Recorder(shop, claim, folder, buffer, notify=inbox.put, give_up=give_up)
        self._down_lock = threading.Lock()
        self._down_open = True
        self._token: int | None = None
        self._over_at: float | None = None
        self._up_closed = False
        self._launcher_died = False
        self._fenced = False
        self._broken: str | None = None
        self._receipt: dict[str, Any] = {}
        self._last_word: Report | None = None

    def launch(self, *, filtered: bool) -> None:
        """Start the process. Raises ``NotReady``."""
        pipes = self._pipes
        order = LaunchOrder(
            folder=self._folder.path,
            up=pipes.up_write,
            down=pipes.down_read,
            log=pipes.log,
            threads=self._threads,
            filtered=filtered,
        )
        try:
            self._token = self._launcher.launch(order, notify=self._on_launcher)
        finally:
            pipes.close_trainers_ends()
        self._reader.start()
        self._recorder.start()

    def send(self, type: str, **fields: Any) -> None:
        """A small frame down, from any thread; one that does not fit is dropped, since clocks go on anyway."""
        with self._down_lock, suppress(BlockingIOError, BrokenPipeError):
            if self._down_open:
                frames.send(self._pipes.down_write, type, **fields)

    def hear(self, mail: Mail | None) -> None:
        """Take one piece of news."""
        if isinstance(mail, Forked):
            self.clocks.forked()
        elif isinstance(mail, Exited):
            self.exited, self._over_at = mail, time.monotonic()
        elif isinstance(mail, LauncherDied):
            self.exited, self._over_at, self._launcher_died = mail.exited, time.monotonic(), True
        elif isinstance(mail, Arrived):
            if isinstance(mail.report, Started):
                self._receipt = mail.report.receipt
            else:
                self._last_word = mail.report
        elif isinstance(mail, UpClosed):
            self._up_closed = True
        elif isinstance(mail, Broken):
            self._broken = self._broken or mail.message
        elif isinstance(mail, FencedOff):
            self._fenced = True

    def act(self, *, lease_until: float) -> None:
        """Do what is due."""
        if self._over_at is not None or self._token is None:
            return
        if self._fenced or self._broken is not None:
            self._launcher.signal(self._token, signal.SIGKILL)
        sight = Sight(
            now=time.monotonic(),
            boottime=boottime_s(),
            lease_until=lease_until,
            moved_at=self._reader.moved_at,
            stepped=self._reader.stepped,
            dead=self._launcher.is_dead(self._token),
        )
        for demand in self.clocks.due(sight):
            self._do(demand, self._token)

    def is_over(self) -> bool:
        """Whether the process has ended, and everything it sent was read."""
        return self._over_at is not None and (self._up_closed or time.monotonic() - self._over_at > EOF_WITHIN_S)

    def close(self) -> None:
        """Read no more, write what is left, close the pipes; a trainer that is not over is killed."""
        if self._token is not None and self._over_at is None:
            self._launcher.signal(self._token, signal.SIGKILL)
        with self._down_lock:
            self._down_open = False
            os.close(self._pipes.down_write)
        self._reader.close()
        self._recorder.finish()

    def ending(self) -> Ending:
        """How it ended, once it is over and closed."""
        if self._fenced or self._recorder.state in ("fenced", "gave_up"):
            return Lost()
        if self._broken is not None or self._recorder.state == "failed":
            return GivenBack(True, "protocol_error", self._broken or "A report could not be stored.")
        if isinstance(self._last_word, Result):
            return Completed(self._last_word, self._receipt)
        if isinstance(self._last_word, Failure):
            return endings.finding(self._last_word)
        if self.clocks.cause is not None:
            return self.clocks.cause
        if self.clocks.is_cancelled:
            return endings.CANCELLED
        if self.clocks.stop_reason is not None and (isinstance(self._last_word, Stopped) or self.clocks.killed):
            return self._stopped()
        if self._launcher_died:
            return GivenBack(self.exited is not None, "worker_lost", "The process that forks trainers has died.")
        assert self.exited is not None
        return endings.crashed(self.exited.code)

    def _stopped(self) -> Ending:
        if self.clocks.stop_reason == "time_limit":
            message = "The job ran longer than limits.max_runtime_s."
            return endings.found("time_limit", fault="user", message=message, step=self._reader.step)
        return endings.PAUSED if self.clocks.stop_reason == "pause" else endings.PREEMPTED

    def _do(self, demand: Demand, token: int) -> None:
        if demand is Demand.ASK_TO_STOP:
            self.send("stop", reason=self.clocks.stop_reason)
        elif demand is Demand.TERMINATE:
            self._launcher.signal(token, signal.SIGTERM)
        elif demand is Demand.KILL:
            self._launcher.signal(token, signal.SIGKILL)
        elif demand is Demand.REPLACE_LAUNCHER:
            self._launcher.replace()

    def _on_launcher(self, event: LaunchEvent) -> None:
        if isinstance(event, Forked):  # at once: the recorder may meet ``started`` before the supervisor wakes
            self._recorder.name_trainer(event.pid)
        self._inbox.put(event)
