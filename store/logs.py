"""What trainers printed, line by line."""

from collections.abc import Sequence

from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from store.database import now_s
from store.tables import LogLine


def append(session: Session, job_id: str, attempt: int, lines: Sequence[str]) -> None:
    """Writes lines in their order. PostgreSQL's text holds no NUL, so it is shown as U+2400."""
    if not lines:
        return
    last = session.execute(
        select(func.coalesce(func.max(LogLine.sequence), 0)).where(LogLine.job_id == job_id)
    ).scalar_one()
    session.execute(
        insert(LogLine).values(created_at=now_s()),
        [
            {"job_id": job_id, "sequence": last + number, "attempt": attempt, "message": line.replace("\0", "\u2400")}
            for number, line in enumerate(lines, start=1)
        ],
    )


def page(session: Session, job_id: str, *, after: int = 0, limit: int = 200) -> list[LogLine]:
    """Lines with a higher sequence number than ``after``, oldest first."""
    query = select(LogLine).where(LogLine.job_id == job_id, LogLine.sequence > after)
    return list(session.scalars(query.order_by(LogLine.sequence).limit(limit)))
