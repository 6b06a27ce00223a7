"""Transactions that are tried until the database answers."""

import time
from collections.abc import Callable
from typing import Final, TypeVar

import structlog
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from store.database import Database

FIRST_PAUSE_S: Final = 0.05
LONGEST_PAUSE_S: Final = 1.0

Outcome = TypeVar("Outcome")
_log = structlog.get_logger(__name__)


class GaveUp(Exception):
    """The database did not answer for as long as it was worth waiting."""


def is_outage(error: Exception) -> bool:
    """Whether the database is away, locked or restarting; everything else is a mistake of ours."""
    if isinstance(error, OperationalError | InterfaceError | PoolTimeout):
        return True
    return isinstance(error, DBAPIError) and error.connection_invalidated


def commit(
    database: Database, write: Callable[[Session], Outcome], *, give_up: Callable[[], bool] = lambda: False
) -> Outcome:
    """Runs ``write`` in a transaction of its own and commits, again and again through an outage.

    Raises ``GaveUp`` when ``give_up`` says so between two tries.
    """
    pause_s = FIRST_PAUSE_S
    while True:
        try:
            with database.writing.begin() as session:
                return write(session)
        except (DBAPIError, PoolTimeout) as error:
            if not is_outage(error):
                raise
            if give_up():
                raise GaveUp from error
            if pause_s == FIRST_PAUSE_S:
                _log.warning("database_away", error=str(error.__cause__ or error))
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
