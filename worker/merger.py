"""Merges the series of jobs that are over. Every worker has one; whoever is first with a block merges it.

What a worker leaves when it dies, another one's merger finds: it looks for blocks, not for jobs of its own.
"""

from typing import Final

from store import merging
from store.database import Database
from worker.rounds import Rounds
from worker.workshop import Workshop

BLOCKS_AT_ONCE: Final = 64
POINTS_AT_ONCE: Final = 500_000
"""Of one transaction, so that nobody waits long for the database."""


def merging_rounds(shop: Workshop) -> Rounds:
    """The thread that merges; it looks as often as the poller does, and goes on until nothing is left."""
    return Rounds("merger", lambda: merge_some(shop.database) > 0, every_s=shop.settings.poll_s)


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
