"""Repairs: gives back the jobs of workers that are gone, ends what waited too long. Every worker runs one.

Each repair is one conditional UPDATE, so any number of them may run at once.
"""

import time
from typing import Final

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from store import settlement
from store.database import now_s
from worker.clock import boottime_s
from worker.rounds import Rounds
from worker.watcher import Watcher
from worker.workshop import Workshop

GRACE_BEATS: Final = 2

_log = structlog.get_logger(__name__)


class Reconciler:
    """A thread that looks every beat.

    After an outage, and after the database's clock was set, it waits until heartbeats were answered for two beats:
    those who hold leases speak first.
    """

    def __init__(self, shop: Workshop, watcher: Watcher) -> None:
        self._shop = shop
        self._watcher = watcher
        self._ahead_s: float | None = None
        self._clock_set_at = float("-inf")
        self._rounds = Rounds("reconciler", self._look, every_s=shop.settings.beat_s)

    def start(self) -> None:
        self._rounds.start()

    def close(self) -> None:
        self._rounds.close()

    def _look(self) -> None:
        if self._may_judge():
            self._repair()

    def _may_judge(self) -> bool:
        return self._watcher.database_well_for_s() >= GRACE_BEATS * self._shop.settings.beat_s

    def _clock_was_set(self, session: Session) -> bool:
        """Whether the clock by which leases end jumped lately, measured with one that nobody can set."""
        now, beat_s = boottime_s(), self._shop.settings.beat_s
        ahead_s = session.execute(select(now_s())).scalar_one() - now
        if self._ahead_s is not None and abs(ahead_s - self._ahead_s) > beat_s:
            self._clock_set_at = now
            _log.warning("clock_was_set", by_s=round(ahead_s - self._ahead_s, 1))
        self._ahead_s = ahead_s
        return now - self._clock_set_at < GRACE_BEATS * beat_s

    def _repair(self) -> None:
        begun = time.monotonic()
        with self._shop.database.writing.begin() as session:
            if self._clock_was_set(session):
                return
            settled = settlement.expire_leases(session)
            if time.monotonic() - begun > self._shop.settings.beat_s or not self._may_judge():
                session.rollback()  # the statement itself waited out an outage
                return
            settlement.expire_pending(session)
        for job in settled:
            _log.warning("lease_expired", job_id=job.job_id, attempt=job.attempt, status=job.status)
        if any(job.status == "queued" for job in settled):
            self._shop.look.set()
            for resource_class in self._shop.places.classes:
                self._shop.bell.ring(resource_class)
