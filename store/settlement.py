"""Giving a job back without a result: by its worker, or by a reconciler when the worker is gone.

No function commits. One statement serves both, so that a job is settled the same way whoever finds it.
"""

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, case, literal, select, update
from sqlalchemy.orm import Session

from store.attempts import close_attempt, held
from store.database import now_s
from store.jobs import announce, reason
from store.tables import Job

_AT_ONCE: Final = 500


@dataclass(frozen=True)
class Settled:
    """Where a job went when an attempt ended without a result."""

    job_id: str
    attempt: int
    status: str


def settle(
    session: Session,
    job_id: str,
    attempt: int,
    *,
    charge: bool,
    code: str,
    message: str,
    cost: dict[str, Any] | None = None,
) -> Settled | None:
    """Gives a job back without a result: cancelled, paused, queued again, or failed after its last attempt.

    ``charge`` counts the attempt against ``max_attempts`` (a crash, a lost lease, a stall). None: fenced.
    """
    settled = _settle(session, held(job_id, attempt), charge=charge, code=code, message=message, cost=cost)
    return settled[0] if settled else None


def expire_leases(session: Session) -> list[Settled]:
    """Gives back every active job whose worker was not heard of in time."""
    lost = and_(Job.phase == "active", Job.lease_expires_at < now_s())
    return _settle(
        session,
        _taken(session, lost),
        charge=True,
        code="worker_lost",
        message="The worker was not heard of before its lease ran out.",
    )


def give_back_all(session: Session, *, code: str, message: str) -> list[Settled]:
    """Gives back every active job without a charge: after a restore none of their workers is there."""
    return _settle(session, Job.phase == "active", charge=False, code=code, message=message)


def expire_pending(session: Session) -> list[str]:
    """Ends every job that waited longer than its own ``max_pending_s``."""
    late = and_(Job.status == "queued", Job.max_pending_s.is_not(None), Job.queued_at + Job.max_pending_s < now_s())
    expired = list(
        session.execute(
            update(Job)
            .where(_taken(session, late))
            .values(
                status="expired", finished_at=now_s(), **reason("expired", "No worker took it within max_pending_s.")
            )
            .returning(Job.id)
        )
        .scalars()
        .all()
    )
    for job_id in expired:
        announce(session, job_id, "expired")
    return expired


def _taken(session: Session, where: ColumnElement[bool]) -> ColumnElement[bool]:
    """The rows that nobody else writes at this moment, locked: two who repair the same rows never wait in a circle."""
    pick = select(Job.id).where(where).order_by(Job.id).limit(_AT_ONCE).with_for_update(skip_locked=True)
    return and_(Job.id.in_(session.scalars(pick).all()), where)


def _settle(
    session: Session,
    where: ColumnElement[bool],
    *,
    charge: bool,
    code: str,
    message: str,
    cost: dict[str, Any] | None = None,
) -> list[Settled]:
    gives_up = literal(charge) & (Job.charged_attempts + 1 >= Job.max_attempts)
    status = case(
        (Job.status == "cancelling", "cancelled"),
        (Job.status == "pausing", "paused"),
        (gives_up, "failed"),
        else_="queued",
    )
    terminal = (Job.status == "cancelling") | (gives_up & (Job.status != "pausing"))
    error = {"kind": code, "fault": "system", "message": message, "step": None}
    kept_reason = Job.status.in_(("cancelling", "pausing"))
    rows = session.execute(
        update(Job)
        .where(where)
        .values(
            status=status,
            # A pause that came too late for an attempt that was finishing must not keep the job from the next one.
            desired_state=case((status == "queued", "run"), else_=Job.desired_state),
            charged_attempts=Job.charged_attempts + int(charge),
            error=case(((status == "failed"), literal(error, Job.error.type)), else_=Job.error),
            reason_code=case((kept_reason, Job.reason_code), else_=code),
            reason_message=case((kept_reason, Job.reason_message), else_=message),
            reason_since=now_s(),
            worker_id=None,
            lease_expires_at=None,
            queued_at=now_s(),
            finished_at=case((terminal, now_s()), else_=None),
            version=Job.version + 1,
        )
        .returning(Job.id, Job.attempt, Job.status)
    ).all()
    for row in rows:
        close_attempt(session, row.id, row.attempt, exit_cause=code, cost=cost)
        announce(session, row.id, row.status, attempt=row.attempt, reason=code)
    return [Settled(job_id=row.id, attempt=row.attempt, status=row.status) for row in rows]
