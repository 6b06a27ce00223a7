"""Repairs: gives back the jobs of workers that are gone, ends what waited too long. Every worker runs one.

Each repair is one conditional UPDATE, so any number of them may run at once.
"""

import threading
import time
from typing import Final

import structlog
from sqlalchemy.exc import SQLAlchemyError

from store import settlement
from worker.watcher import Watcher
from worker.workshop import Workshop

GRACE_BEATS: Final = 2

_log = structlog.get_logger(__name__)


class Reconciler:
    """A thread that looks every beat.

    After an outage it waits until heartbeats were answered for two beats: those who hold leases speak first.
    """

    def __init__(self, shop: Workshop, watcher: Watcher) -> None:
        self._shop = shop
        self._watcher = watcher
        self._thread = threading.Thread(target=self._run, name="reconciler", daemon=True)
        self._closed = threading.Event()

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._closed.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closed.wait(self._shop.settings.beat_s):
            if not self._may_judge():
                continue
            try:
                self._repair()
            except SQLAlchemyError as error:
                _log.warning("repair_failed", error=str(error.__cause__ or error))

    def _may_judge(self) -> bool:
        return self._watcher.database_well_for_s() >= GRACE_BEATS * self._shop.settings.beat_s

    def _repair(self) -> None:
        begun = time.monotonic()
        with self._shop.database.writing.begin() as session:
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
