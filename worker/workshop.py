"""What all attempts of one worker share."""

import os
import socket
import threading
from dataclasses import dataclass, field
from functools import cached_property

from store.database import Database
from store.queue import Bell
from store.settings import Settings
from worker.launcher import Launcher
from worker.places import Places


@dataclass(frozen=True)
class Workshop:
    """One worker process: its identity, its places, its launcher, its way to the database."""

    worker_id: str
    settings: Settings
    database: Database
    launcher: Launcher
    places: Places
    bell: Bell
    stopping: threading.Event = field(default_factory=threading.Event)
    look: threading.Event = field(default_factory=threading.Event)

    @cached_property
    def host(self) -> str:
        return socket.gethostname()

    @cached_property
    def pid(self) -> int:
        return os.getpid()

    @property
    def lease_span_s(self) -> float:
        """How long after a heartbeat was *begun* its lease may be trusted: one beat less than the lease."""
        return self.settings.lease_s - self.settings.beat_s
