"""One thread per worker that speaks with the database for all its attempts: what clients want, and heartbeats."""

import threading
import time
from collections.abc import Callable
from typing import Final, Protocol

import structlog
from sqlalchemy.exc import SQLAlchemyError

from store import attempts, workers
from worker.clock import boottime_s
from worker.workshop import Workshop

AttemptKey = tuple[str, int]

SILENCE_BEATS: Final = 2

_log = structlog.get_logger(__name__)


class Watched(Protocol):
    """An attempt as the watcher sees it. Its methods must not wait."""

    @property
    def key(self) -> AttemptKey: ...

    def renew(self, lease_until: float) -> None: ...

    def wish(self, desired_state: str) -> None: ...

    def fence(self) -> None: ...


class Watcher:
    """Reads desired states every ``watch_s``, renews all leases every ``beat_s`` in one transaction."""

    def __init__(self, shop: Workshop) -> None:
        self._shop = shop
        self._watched: dict[AttemptKey, Watched] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._well_since: float | None = None
        self._answered_at = 0.0
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._closed.set()
        self._thread.join()

    def add(self, attempt: Watched) -> None:
        with self._lock:
            self._watched[attempt.key] = attempt

    def remove(self, attempt: Watched) -> None:
        with self._lock:
            self._watched.pop(attempt.key, None)

    def database_well_for_s(self) -> float:
        """How long heartbeats have been answered, each within a beat; 0 during and right after an outage."""
        since, now = self._well_since, time.monotonic()
        is_late = now - self._answered_at > SILENCE_BEATS * self._shop.settings.beat_s
        return 0.0 if since is None or is_late else now - since

    def _run(self) -> None:
        next_beat = 0.0
        while not self._closed.is_set():
            if time.monotonic() >= next_beat:
                next_beat = time.monotonic() + self._shop.settings.beat_s
                self._guarded(self._beat)
            else:
                self._guarded(self._look)
            pause_s = min(self._shop.settings.watch_s, next_beat - time.monotonic())
            self._closed.wait(max(pause_s, 0.0))

    def _beat(self) -> None:
        watched = self._snapshot()
        begun, begun_monotonic = boottime_s(), time.monotonic()
        with self._shop.database.writing.begin() as session:
            desired = attempts.heartbeat(session, list(watched), lease_s=self._shop.settings.lease_s)
            workers.beat(session, self._shop.worker_id, busy=self._shop.places.busy)
        self._note_answer(time.monotonic() - begun_monotonic)
        for key, attempt in watched.items():
            if key in desired:
                attempt.renew(begun + self._shop.lease_span_s)
        self._pass_on(watched, desired)

    def _note_answer(self, took_s: float) -> None:
        now = time.monotonic()
        if took_s > self._shop.settings.beat_s:
            self._well_since = None
        elif self._well_since is None or now - self._answered_at > SILENCE_BEATS * self._shop.settings.beat_s:
            self._well_since = now
        self._answered_at = now

    def _look(self) -> None:
        watched = self._snapshot()
        if watched:
            with self._shop.database.reading() as session:
                self._pass_on(watched, attempts.desired_states(session, list(watched)))

    def _pass_on(self, watched: dict[AttemptKey, Watched], desired: dict[AttemptKey, str]) -> None:
        for key, attempt in watched.items():
            if key not in desired:
                attempt.fence()
            elif desired[key] != "run":
                attempt.wish(desired[key])

    def _snapshot(self) -> dict[AttemptKey, Watched]:
        with self._lock:
            return dict(self._watched)

    def _guarded(self, ask: Callable[[], None]) -> None:
        try:
            ask()
        except SQLAlchemyError as error:  # leases have their own clock; the next beat tries again
            self._well_since = None
            _log.warning("watch_failed", error=str(error.__cause__ or error))
