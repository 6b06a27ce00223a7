"""Rows that one worker at a time works on: taken under a lease, written under the fence of their attempt.

No function commits. As with jobs, no row touched means that the row is no longer the worker's own.
"""

from typing import Any, Final, TypeVar

from sqlalchemy import ColumnElement, String, and_, or_, select, true, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from store.database import now_s
from store.tables import Table

MAX_ATTEMPTS: Final = 3
ENDED: Final[dict[str, Any]] = {"lease_expires_at": None, "finished_at": now_s()}


class Leased:
    """The columns of such a row: where it stands and who is at it. ``attempt`` is the fence of every worker write."""

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    status: Mapped[str] = mapped_column(String(8), default="queued")
    attempt: Mapped[int] = mapped_column(default=0)
    worker_id: Mapped[str | None] = mapped_column(String(40))
    lease_expires_at: Mapped[float | None]
    created_at: Mapped[float]
    started_at: Mapped[float | None]
    finished_at: Mapped[float | None]


class LeasedTable(Leased, Table):
    """The base of tables of such rows."""

    __abstract__ = True


Row = TypeVar("Row", bound=LeasedTable)


def take(
    session: Session,
    table: type[Row],
    *,
    worker_id: str,
    lease_s: float,
    may_begin: ColumnElement[bool] | None = None,
    among: ColumnElement[bool] | None = None,
) -> Row | None:
    """The oldest row that may begin, or that a worker left behind, for this worker alone; or None.

    ``among``: rows of any kind that this worker serves.
    """
    free = or_(
        and_(table.status == "queued", true() if may_begin is None else may_begin),
        and_(table.status == "running", table.lease_expires_at < now_s()),
    )
    free = and_(free, true() if among is None else among)
    pick = select(table.id).where(table.finished_at.is_(None), free).order_by(table.created_at, table.id).limit(1)
    row_id = session.execute(pick.with_for_update(skip_locked=True)).scalar()
    if row_id is None:
        return None
    taken = {
        "status": "running",
        "attempt": table.attempt + 1,
        "worker_id": worker_id,
        "lease_expires_at": now_s() + lease_s,
        "started_at": now_s(),
    }
    won = session.execute(update(table).where(table.id == row_id, free).values(**taken).returning(table.id)).scalar()
    return None if won is None else session.get(table, won, populate_existing=True)


def renew(session: Session, table: type[LeasedTable], row_id: str, attempt: int, *, lease_s: float) -> bool:
    """Whether the row is still this attempt's; its lease then runs anew."""
    return write(session, table, row_id, attempt, lease_expires_at=now_s() + lease_s)


def fail(session: Session, table: type[LeasedTable], row_id: str, attempt: int, *, kind: str, message: str) -> bool:
    """Ends a row that has no answer."""
    error = {"kind": kind, "message": message[:2000]}
    return write(session, table, row_id, attempt, status="failed", error=error, **ENDED)


def give_back(session: Session, table: type[LeasedTable], row_id: str, attempt: int) -> bool:
    """Queues a row again that its worker could not go on with, without a charge."""
    free = {"status": "queued", "attempt": table.attempt - 1, "worker_id": None, "lease_expires_at": None}
    return write(session, table, row_id, attempt, **free)


def write(session: Session, table: type[LeasedTable], row_id: str, attempt: int, /, **columns: Any) -> bool:
    """Writes to a row that is still this attempt's. False: fenced, and nothing was written."""
    held = and_(table.id == row_id, table.attempt == attempt, table.status == "running")
    return session.execute(update(table).where(held).values(**columns).returning(table.id)).scalar() is not None


def any_open(session: Session, table: type[LeasedTable]) -> bool:
    """Whether a row waits or is worked on: a look that locks nothing."""
    return session.execute(select(table.id).where(table.finished_at.is_(None)).limit(1)).first() is not None
