"""Starting, signalling and burying trainers: one interface, whatever starts them."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DEFAULT_TRAINER = "worker.trainer"


@dataclass(frozen=True)
class LaunchOrder:
    """What one trainer is started with. The three descriptors stay the caller's, who closes them afterwards."""

    folder: Path
    up: int
    down: int
    log: int
    threads: int
    filtered: bool  # under the seccomp filter, where there is one


@dataclass(frozen=True)
class Forked:
    """The trainer exists."""

    pid: int


@dataclass(frozen=True)
class Exited:
    """The trainer's process group is gone. A negative code is the signal that ended it."""

    code: int
    cpu_s: float
    max_rss_kb: int


@dataclass(frozen=True)
class LauncherDied:
    """What started the trainer has died, and the trainer with it; ``exited`` is known if it had started."""

    exited: Exited | None


LaunchEvent = Forked | Exited | LauncherDied


class NotReady(Exception):
    """Nothing can be started now: the launcher warms up, or has just died."""


class Launcher(ABC):
    """One per worker, used by all its attempts at the same time.

    ``launch`` returns a token; ``notify`` is then called from the launcher's own thread, with ``Forked``, then with
    ``Exited`` or ``LauncherDied``, which is the last call.
    """

    @abstractmethod
    def start(self) -> None:
        """Begin to get ready. Returns at once."""

    @abstractmethod
    def wait_ready(self, timeout_s: float) -> bool:
        """Whether trainers can be started, waiting for it at most so long."""

    @abstractmethod
    def launch(self, order: LaunchOrder, *, notify: Callable[[LaunchEvent], None]) -> int:
        """Start a trainer. Raises ``NotReady``."""

    @abstractmethod
    def signal(self, token: int, signum: int) -> None:
        """Signal the trainer's whole process group; nothing happens when it is gone."""

    @abstractmethod
    def is_dead(self, token: int) -> bool:
        """Whether the trainer is dead although its end was not reported yet."""

    @abstractmethod
    def replace(self) -> None:
        """Kill what starts trainers, because it does not answer; it is started again."""

    @abstractmethod
    def close(self) -> None:
        """Kill every trainer that is left, and end."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Kind, hardening and reasons, for ``/v1/workers`` and ``/version``."""
