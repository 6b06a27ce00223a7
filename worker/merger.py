"""Merges the series of jobs that are over. Every worker has one; whoever is first with a block merges it.

What a worker leaves when it dies, another one's merger finds: it looks for blocks, not for jobs of its own.
"""

import threading
from typing import Final

import structlog
from sqlalchemy.exc import SQLAlchemyError

from store import merging
from store.database import Database
from worker.workshop import Workshop

BLOCKS_AT_ONCE: Final = 64
POINTS_AT_ONCE: Final = 500_000
"""Of one transaction, so that nobody waits long for the database."""

_log = structlog.get_logger(__name__)


class Merger:
    """A thread that looks as often as the poller does, and goes on until nothing is left."""

    def __init__(self, shop: Workshop) -> None:
        self._shop = shop
        self._thread = threading.Thread(target=self._run, name="merger", daemon=True)
        self._closed = threading.Event()

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._closed.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closed.wait(self._shop.settings.poll_s):
            try:
                while not self._closed.is_set() and merge_some(self._shop.database):
                    pass
            except SQLAlchemyError as error:
                _log.warning("merge_failed", error=str(error.__cause__ or error))


def merge_some(database: Database) -> int:
    """Merges some blocks of jobs that are over, in a transaction; how many it found."""
    with database.reading() as session:
        found: list[merging.Merged] = []
        for block in merging.waiting(session, limit=BLOCKS_AT_ONCE):
            found.append(merging.merged(session, block))
            if sum(block.points for block in found) >= POINTS_AT_ONCE:
                break
    if found:
        with database.writing.begin() as session:
            for merged in found:
                merging.write(session, merged)
    return len(found)
