"""Claims: by the bell (``tasks``) and by an own look every second, both out of the same places."""

import threading
from typing import Final

import structlog
from sqlalchemy.exc import SQLAlchemyError

from store import attempts
from store.attempts import Claim
from worker.clock import boottime_s
from worker.places import Place
from worker.supervisor import Supervisor
from worker.watcher import Watcher
from worker.workshop import Workshop

_PLACE_TICK_S: Final = 0.5

_log = structlog.get_logger(__name__)


class Poller:
    """A thread that looks for queued jobs; each one that it wins gets a thread of its own."""

    def __init__(self, shop: Workshop, watcher: Watcher) -> None:
        self._shop = shop
        self._watcher = watcher
        self._attempts: set[threading.Thread] = set()
        self._thread = threading.Thread(target=self._run, name="poller", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Wait for the end of every attempt that was started here. The workshop must be stopping."""
        self._shop.look.set()
        self._thread.join()
        for attempt in list(self._attempts):
            attempt.join()

    def answer_bell(self, resource_class: str) -> bool:
        """Wait for a place, claim the first job of the class and run it here; whether there was one."""
        place = None
        while place is None:
            if self._shop.stopping.is_set() or not self._shop.launcher.wait_ready(0):
                return False  # the poller finds it later
            place = self._shop.places.take(resource_class, timeout_s=_PLACE_TICK_S)
        try:
            supervisor = self._claim(place)
            if supervisor is not None:
                supervisor.supervise()
            return supervisor is not None
        finally:
            self._give_back(place)

    def _run(self) -> None:
        while not self._shop.stopping.is_set():
            self._shop.look.wait(self._shop.settings.poll_s)
            self._shop.look.clear()
            for resource_class in self._shop.places.classes:
                while self._start_one(resource_class):
                    pass

    def _start_one(self, resource_class: str) -> bool:
        if self._shop.stopping.is_set() or not self._shop.launcher.wait_ready(0):
            return False
        place = self._shop.places.take(resource_class)
        if place is None:
            return False
        supervisor = self._claim(place)
        if supervisor is None:
            self._shop.places.give_back(place)
            return False
        thread = threading.Thread(target=self._supervise, args=(supervisor, place), name="attempt", daemon=True)
        self._attempts.add(thread)
        thread.start()
        return True

    def _supervise(self, supervisor: Supervisor, place: Place) -> None:
        try:
            supervisor.supervise()
        finally:
            self._give_back(place)
            self._attempts.discard(threading.current_thread())

    def _give_back(self, place: Place) -> None:
        self._shop.places.give_back(place)
        self._shop.look.set()

    def _claim(self, place: Place) -> Supervisor | None:
        try:
            begun, claim = self._ask(place.resource_class)
        except SQLAlchemyError as error:  # the next look tries again; a claim that was half made runs into its lease
            _log.warning("claim_failed", error=str(error.__cause__ or error))
            return None
        if claim is None:
            return None
        _log.info("claimed", job_id=claim.job_id, attempt=claim.attempt, device=place.device)
        return Supervisor(self._shop, self._watcher, claim, place, lease_until=begun + self._shop.lease_span_s)

    def _ask(self, resource_class: str) -> tuple[float, Claim | None]:
        begun = boottime_s()
        with self._shop.database.writing.begin() as session:
            return begun, attempts.claim(
                session,
                worker_id=self._shop.worker_id,
                host=self._shop.host,
                worker_pid=self._shop.pid,
                resource_class=resource_class,
                lease_s=self._shop.settings.lease_s,
                most_of_a_project=self._shop.settings.quotas.running_jobs,
            )
