"""Whether database and broker answer, said in time whatever they do: a server that stands still never refuses."""

from collections.abc import Callable
from functools import partial

from anyio import CapacityLimiter, move_on_after, to_thread
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from api.broker import broker_answers
from store.database import Database

PATIENCE_S = 3.0
# Threads of these questions alone: one that hangs holds up neither a handler nor the question to the other.
_DATABASE, _BROKER = CapacityLimiter(1), CapacityLimiter(1)


async def answers(database: Database, broker_url: str) -> tuple[bool, bool]:
    """Whether the database and whether the broker answer."""
    database_answers = await _in_time(partial(_database_answers, database), _DATABASE)
    return database_answers, await _in_time(partial(broker_answers, broker_url), _BROKER)


async def _in_time(ask: Callable[[], bool], limiter: CapacityLimiter) -> bool:
    with move_on_after(PATIENCE_S):
        return await to_thread.run_sync(ask, abandon_on_cancel=True, limiter=limiter)
    return False


def _database_answers(database: Database) -> bool:
    try:
        with database.reading() as session:
            session.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
    except SQLAlchemyError:
        return False
    return True
