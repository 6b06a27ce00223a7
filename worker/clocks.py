"""The clocks of one attempt: given what happened when, what is due now. Knows no process and no database."""

from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal

from store.settings import Settings
from worker.endings import GivenBack

StopReason = Literal["pause", "preempt", "time_limit"]

FORK_WITHIN_S: Final = 10.0
REPORT_DEATH_WITHIN_S: Final = 2.0
KILL_AGAIN_S: Final = 1.0


class Demand(Enum):
    """What the supervisor must do to its trainer."""

    ASK_TO_STOP = "a stop frame"
    TERMINATE = "SIGTERM to its group"
    KILL = "SIGKILL to its group"
    REPLACE_LAUNCHER = "the launcher does not answer"


@dataclass(frozen=True)
class Sight:
    """What is seen of the trainer at one moment."""

    now: float
    boottime: float
    lease_until: float
    moved_at: float  # its last step, or its start
    stepped: bool
    dead: bool  # although its end was not reported


class Clocks:
    """Deadlines of one trainer. ``cause`` is why it was killed, where that is not what a client asked for."""

    def __init__(self, settings: Settings, *, max_runtime_s: float, now: float) -> None:
        self.cause: GivenBack | None = None
        self.stop_reason: StopReason | None = None
        self._settings = settings
        self._max_runtime_s = max_runtime_s
        self._launched_at = now
        self._forked = False
        self.is_cancelled = False
        self.killed = False
        self._terminated_at: float | None = None
        self._asked_at: float | None = None
        self._dead_since: float | None = None
        self._killed_at = float("-inf")
        self._replaced = False

    def forked(self) -> None:
        self._forked = True

    def cancel(self) -> None:
        self.is_cancelled = True

    def stop(self, reason: StopReason) -> None:
        """Ask it to checkpoint and end; the first reason stands."""
        self.stop_reason = self.stop_reason or reason

    def due(self, sight: Sight) -> list[Demand]:
        """What must be done now, in this order."""
        if sight.now - self._launched_at > self._max_runtime_s:
            self.stop("time_limit")
        demands = self._of_clients(sight.now) if self._forked else []
        if self._must_die(sight) and Demand.KILL not in demands:
            demands.append(Demand.KILL)
        if Demand.KILL in demands:
            if sight.now - self._killed_at < KILL_AGAIN_S:
                demands.remove(Demand.KILL)
            else:
                self.killed, self._killed_at = True, sight.now
        if not self._replaced and self._launcher_is_frozen(sight):
            self._replaced = True
            demands.append(Demand.REPLACE_LAUNCHER)
        return demands

    def _of_clients(self, now: float) -> list[Demand]:
        demands = []
        if self.is_cancelled:
            if self._terminated_at is None:
                self._terminated_at = now
                demands.append(Demand.TERMINATE)
            elif now - self._terminated_at > self._settings.cancel_grace_s:
                demands.append(Demand.KILL)
        elif self.stop_reason is not None:
            if self._asked_at is None:
                self._asked_at = now
                demands.append(Demand.ASK_TO_STOP)
            elif now - self._asked_at > self._settings.stop_grace_s:
                demands.append(Demand.KILL)
        return demands

    def _must_die(self, sight: Sight) -> bool:
        if self.cause is None:
            self.cause = self._lost_lease(sight) or self._stalled(sight)
        return self.cause is not None

    def _lost_lease(self, sight: Sight) -> GivenBack | None:
        if sight.boottime <= sight.lease_until:
            return None
        return GivenBack(False, "lease_lost", "The lease could not be renewed in time.")

    def _stalled(self, sight: Sight) -> GivenBack | None:
        allowed = self._settings.stall_s if sight.stepped else self._settings.first_step_s
        if sight.now - max(sight.moved_at, self._launched_at) <= allowed:
            return None
        what = "No step" if sight.stepped else "No first step"
        return GivenBack(True, "stalled", f"{what} for {allowed:g} s.")

    def _launcher_is_frozen(self, sight: Sight) -> bool:
        if not self._forked:
            return sight.now - self._launched_at > FORK_WITHIN_S
        if not sight.dead:
            self._dead_since = None
            return False
        self._dead_since = self._dead_since or sight.now
        return sight.now - self._dead_since > REPORT_DEATH_WITHIN_S
