"""Idempotency keys, as Stripe does it: stored before the work starts, kept for 24 hours."""

from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from store.database import now_s
from store.errors import IdempotencyKeyInFlight, IdempotencyKeyReused
from store.tables import DEFAULT_PROJECT, IdempotencyKey

KEPT_S = 24 * 3600.0


def begin(session: Session, key: str, *, request_sha256: str, project: str = DEFAULT_PROJECT) -> str | None:
    """Stores the key in the caller's transaction; returns the job of an earlier request with the same body.

    IdempotencyKeyReused for another body; IdempotencyKeyInFlight while the earlier one is still being answered.
    """
    session.execute(delete(IdempotencyKey).where(IdempotencyKey.created_at < now_s() - KEPT_S))
    known = _find(session, key, project)
    if known is None:
        try:
            with session.begin_nested():
                session.execute(
                    insert(IdempotencyKey).values(
                        project=project, key=key, request_sha256=request_sha256, created_at=now_s()
                    )
                )
        except IntegrityError:
            raise IdempotencyKeyInFlight from None
        return None
    if known.request_sha256 != request_sha256:
        raise IdempotencyKeyReused
    if known.job_id is None:
        raise IdempotencyKeyInFlight
    return known.job_id


def finish(session: Session, key: str, *, job_id: str, project: str = DEFAULT_PROJECT) -> None:
    """Ties the key to the job that it made."""
    session.execute(
        update(IdempotencyKey).where(IdempotencyKey.project == project, IdempotencyKey.key == key).values(job_id=job_id)
    )


def _find(session: Session, key: str, project: str) -> IdempotencyKey | None:
    return session.execute(
        select(IdempotencyKey).where(IdempotencyKey.project == project, IdempotencyKey.key == key)
    ).scalar_one_or_none()
