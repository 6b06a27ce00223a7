"""A process beside the jobs: started as a trainer is, for one order, by whoever waits for what it says."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from typing import final

from worker.launcher import Forked, Launcher, LaunchEvent, LaunchOrder
from worker.work_order import AttemptFolder, Pipes


@final
class Errand:
    """The process, from its start until it has ended or is no longer waited for. Its frames come by ``up_read``."""

    def __init__(self, launcher: Launcher, token: int, events: "SimpleQueue[LaunchEvent]", up_read: int) -> None:
        self.up_read = up_read
        self._launcher = launcher
        self._token = token
        self._events = events
        self._ended = False

    def has_ended(self, *, within_s: float) -> bool:
        """Whether the process is gone, after waiting for that so long at most."""
        deadline = time.monotonic() + within_s
        while not self._ended and (left := deadline - time.monotonic()) > 0:
            with suppress(Empty):
                self._ended = not isinstance(self._events.get(timeout=left), Forked)
        return self._ended

    def kill(self) -> None:
        """Does nothing to one that has ended."""
        if not self._ended:
            self._launcher.signal(self._token, signal.SIGKILL)


@contextmanager
def errand(
    launcher: Launcher, folder: AttemptFolder, order: bytes, *, threads: int, filtered: bool
) -> Iterator[Errand]:
    """Starts the process, whose log is the folder's; it is killed on the way out if it still runs.

    Raises ``NotReady`` or ``OrderTooLarge``.
    """
    pipes = Pipes.open(folder, order)
    events: SimpleQueue[LaunchEvent] = SimpleQueue()
    launch = LaunchOrder(folder.path, pipes.up_write, pipes.down_read, pipes.log, threads=threads, filtered=filtered)
    try:
        try:
            token = launcher.launch(launch, notify=events.put)
        finally:
            pipes.close_trainers_ends()
        sent = Errand(launcher, token, events, pipes.up_read)
        try:
            yield sent
        finally:
            sent.kill()
    finally:
        pipes.close_ours()
