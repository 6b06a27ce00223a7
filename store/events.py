"""A job's history, numbered by the database: what a client that reconnects continues from."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import and_, insert, or_, select, update
from sqlalchemy.orm import Session

from store.database import now_s
from store.identifiers import new_id
from store.tables import Event, Job


def append(session: Session, job_id: str, *, type: str, detail: dict[str, Any], attempt: int = 0) -> int:
    """Writes one event and returns its sequence number. The job's row lock orders writers."""
    return append_all(session, job_id, [(type, detail)], attempt=attempt)


def append_all(session: Session, job_id: str, events: Sequence[tuple[str, dict[str, Any]]], *, attempt: int = 0) -> int:
    """Writes events of one job in their order; returns the last sequence number."""
    if not events:
        return 0
    last = session.execute(
        update(Job)
        .where(Job.id == job_id)
        .values(event_sequence=Job.event_sequence + len(events))
        .returning(Job.event_sequence)
    ).scalar_one()
    session.execute(
        insert(Event).values(created_at=now_s()),
        [
            {
                "job_id": job_id,
                "sequence": last - len(events) + number,
                "id": new_id("evt"),
                "type": type_,
                "attempt": attempt,
                "detail": detail,
            }
            for number, (type_, detail) in enumerate(events, start=1)
        ],
    )
    return int(last)


def page(session: Session, job_id: str, *, after: int = 0, limit: int = 200, types: Iterable[str] = ()) -> list[Event]:
    """Events of a job with a higher sequence number than ``after``, oldest first."""
    query = select(Event).where(Event.job_id == job_id, Event.sequence > after)
    if types:
        query = query.where(Event.type.in_(list(types)))
    return list(session.scalars(query.order_by(Event.sequence).limit(limit)))


def newer(session: Session, watched: dict[str, int], *, limit: int = 5000) -> list[Event]:
    """Events of all watched jobs (job id → last sequence seen) in one query."""
    if not watched:
        return []
    wanted = or_(*(and_(Event.job_id == job_id, Event.sequence > after) for job_id, after in watched.items()))
    return list(session.scalars(select(Event).where(wanted).order_by(Event.job_id, Event.sequence).limit(limit)))
