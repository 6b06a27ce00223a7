"""Delivers webhooks. Every worker has one; beside each other they send nothing twice, save what a death left open."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import structlog
from sqlalchemy.exc import SQLAlchemyError

from store import deliveries
from store.deliveries import Claim
from store.destinations import Forbidden, destination
from worker import sending
from worker.rounds import Rounds
from worker.workshop import Workshop

AT_ONCE: Final = 8
"""Sent at a time by one worker, so that a receiver that takes its ten seconds holds up nobody else."""

_log = structlog.get_logger(__name__)


class Deliverer:
    """A thread that claims what is due, and a few that send it."""

    def __init__(self, shop: Workshop) -> None:
        self._shop = shop
        self._rounds = Rounds("deliverer", self._claim_one, every_s=shop.settings.poll_s)
        self._senders = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="sender")
        self._free = threading.Semaphore(AT_ONCE)

    def start(self) -> None:
        self._rounds.start()

    def close(self) -> None:
        """Ends after the tries under way. The workshop must be stopping."""
        self._rounds.close()
        self._senders.shutdown()

    def _claim_one(self) -> bool:
        """Hand one delivery to a sender; whether there was one."""
        if self._shop.stopping.is_set() or not self._free.acquire(blocking=False):
            return False
        claim = None
        try:
            if self._is_wanted():
                with self._shop.database.writing.begin() as session:
                    claim = deliveries.claim(session)
        finally:
            if claim is None:
                self._free.release()
        if claim is None:
            return False
        self._senders.submit(self._deliver, claim)
        return True

    def _is_wanted(self) -> bool:
        """Whether anything is due: most looks find nothing, and take no lock for it."""
        with self._shop.database.reading() as session:
            return deliveries.any_due(session)

    def _deliver(self, claim: Claim) -> None:
        try:
            told = self._send(claim)
            with self._shop.database.writing.begin() as session:
                status = deliveries.record(session, claim, told=told)
            _log.info("webhook_tried", delivery_id=claim.delivery_id, attempt=claim.attempt, status=status, **told)
        except SQLAlchemyError as error:  # its lease runs out, and it is sent again with the same event id
            _log.warning("webhook_not_recorded", delivery_id=claim.delivery_id, error=str(error.__cause__ or error))
        except Exception:  # the outer door: a mistake of ours must not end without a word
            _log.exception("deliverer_failed", delivery_id=claim.delivery_id)
        finally:
            self._free.release()
            self._rounds.wake()

    def _send(self, claim: Claim) -> dict[str, Any]:
        """The address is judged again: the settings and the name may have changed since the webhook was made."""
        try:
            to = destination(self._shop.settings, claim.url)
        except Forbidden as error:
            return {"status_code": None, "error": error.code, "duration_s": 0.0}
        return sending.send(claim, to)
