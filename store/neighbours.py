"""Where jobs ran, and which of them ran side by side."""

from collections.abc import Iterable

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.orm import Session

from store.database import now_s
from store.tables import Attempt

HANDOVER_S = 0.25
"""The next job may be claimed while the last one is being written down: so long they do not count as side by side."""


def hosts(session: Session, job_ids: Iterable[str]) -> dict[str, str]:
    """Where each job's last attempt ran."""
    asked = select(Attempt.job_id, Attempt.host).where(Attempt.job_id.in_(list(job_ids))).order_by(Attempt.number)
    return {job_id: host for job_id, host in session.execute(asked)}  # noqa: C416  # rows are no pairs to mypy


def beside_others(session: Session, job_ids: Iterable[str]) -> set[str]:
    """Those of the jobs that any other job ran beside, on the same machine: their seconds are not theirs alone."""
    wanted = set(job_ids)
    own = session.execute(_times().where(Attempt.job_id.in_(wanted))).all()
    if not own:
        return set()
    first, last = min(row.started_at for row in own), max(row.ended_at for row in own)
    near = session.execute(_times().where(Attempt.started_at < last, _ended() > first)).all()
    return {
        one.job_id
        for one in own
        for other in near
        if other.job_id != one.job_id
        and other.host == one.host
        and min(one.ended_at, other.ended_at) - max(one.started_at, other.started_at) > HANDOVER_S
    }


def _times() -> Select[str, str, float, float]:
    return select(Attempt.job_id, Attempt.host, Attempt.started_at, _ended().label("ended_at"))


def _ended() -> ColumnElement[float]:
    return func.coalesce(Attempt.ended_at, now_s())
