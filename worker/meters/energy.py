"""The joules of a job: windows of a counter, over all its attempts, and what must be known to read them."""

import time
from dataclasses import asdict, dataclass
from typing import Any, Final

from worker.meters.counters import Counter

SHORTEST_WINDOW_S: Final = 1.0
UPDATES: Final = 50
"""Of the counter in a window: one more or less is then 2 %. NVML moves every 0.1 s, so a window takes 5 s."""


@dataclass(frozen=True)
class Energy:
    """What a window cost. Without a counter, or in too short a window, ``joules`` is None and ``reason`` says why.

    ``scope`` device: the counter covers the whole device or package, whoever used it; ``exclusive`` says whether that
    was this job alone. ``joules`` is gross; ``joules_above_idle`` leaves out what the device takes at rest.
    """

    joules: float | None
    source: str
    reason: str | None = None
    scope: str = "device"
    window_s: float | None = None
    joules_above_idle: float | None = None
    idle_watts: float | None = None
    idle_reason: str | None = None
    exclusive: bool | None = None
    start_celsius: float | None = None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


class EnergyMeter:
    """Joules of this job's training, over all its attempts. Made before the first kernel of the job runs."""

    def __init__(self, counter: Counter | None, reason: str = "") -> None:
        self._counter = counter
        self._reason = reason
        self._spent = 0.0
        self._earlier_s = 0.0
        self._idle_joules_before: float | None = 0.0
        self._alone_before: bool | None = True
        self._at_rest = None
        self._start = 0.0
        if counter is not None:
            counter.settle()
            self._at_rest = counter.at_rest()
            self._start = counter.joules()
        self._started_at = time.monotonic()

    @property
    def available(self) -> bool:
        return self._counter is not None

    @property
    def resolved_s(self) -> float:
        """The shortest window in which this counter says something."""
        return 0.0 if self._counter is None else UPDATES * self._counter.update_s

    def joules(self) -> float | None:
        """Joules so far; None without a counter. Never waits for a device."""
        return None if self._counter is None else self._spent + self._counter.joules() - self._start

    def resolved_joules(self) -> float | None:
        """Joules so far, for a series; None as long as the window is too short to say."""
        return None if self._window_s < self._shortest_s else self.joules()

    def reading(self) -> Energy:
        """What is served at the end."""
        if self._counter is None or self._at_rest is None:
            return Energy(None, "none", self._reason)
        self._counter.settle()
        window, source = self._window_s, self._counter.source
        if window < self._shortest_s:
            return Energy(None, source, "window_too_short", window_s=window)
        joules, idle = self.joules(), self._idle_joules
        return Energy(
            joules,
            source,
            window_s=window,
            joules_above_idle=None if idle is None or joules is None else joules - idle,
            idle_watts=self._at_rest.watts,
            idle_reason=(self._at_rest.reason or "an earlier attempt has no baseline") if idle is None else None,
            exclusive=self._alone,
            start_celsius=self._at_rest.celsius,
        )

    @property
    def _shortest_s(self) -> float:
        return max(SHORTEST_WINDOW_S, self.resolved_s)

    @property
    def _window_s(self) -> float:
        return self._earlier_s + time.monotonic() - self._started_at

    @property
    def _idle_joules(self) -> float | None:
        """What the device would have taken at rest; None if one attempt does not know it."""
        watts = None if self._at_rest is None else self._at_rest.watts
        if watts is None or self._idle_joules_before is None:
            return None
        return self._idle_joules_before + watts * (time.monotonic() - self._started_at)

    @property
    def _alone(self) -> bool | None:
        now = None if self._counter is None else self._counter.alone()
        if False in (now, self._alone_before):
            return False
        return None if None in (now, self._alone_before) else True

    def state_dict(self) -> dict[str, Any]:
        return {
            "joules": self.joules() or 0.0,
            "window_s": self._window_s,
            "idle_joules": self._idle_joules,
            "alone": self._alone,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._spent = state["joules"]
        self._earlier_s = state["window_s"]
        self._idle_joules_before = state.get("idle_joules")
        self._alone_before = state.get("alone")
