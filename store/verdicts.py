"""Verdicts: faults that were found in jobs, their remedies, and the forks that tried them. No function commits."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from store import events
from store.database import now_s
from store.errors import NotFound
from store.identifiers import new_id
from store.tables import Job
from store.verdict_tables import Application, Verdict


def record(session: Session, job_id: str, attempt: int, finding: Mapping[str, Any]) -> None:
    """The newest word on a code and layer; the first one is an event. The fence of the recorder stands before it.

    Steps only widen, since a later attempt may go over them again. Remedies stay those of the first finding: a client
    may have read them.
    """
    layer = finding["layer"] or ""
    row = session.scalars(
        select(Verdict).where(Verdict.job_id == job_id, Verdict.code == finding["code"], Verdict.layer == layer)
    ).one_or_none()
    if row is None:
        row = _added(session, job_id, attempt, {**finding, "layer": layer})
    else:
        row.first_step = min(row.first_step, finding["first_step"])
        row.last_step = max(row.last_step, finding["last_step"])
    for name in ("severity", "evidence", "rule_version"):
        setattr(row, name, finding[name])
    row.attempt = attempt
    session.flush()


def _added(session: Session, job_id: str, attempt: int, finding: Mapping[str, Any]) -> Verdict:
    row = Verdict(id=new_id("vrd"), job_id=job_id, attempt=attempt, **finding)
    row.created_at = session.execute(select(now_s())).scalar_one()
    session.add(row)
    detail = {name: finding[name] for name in ("code", "severity", "first_step")}
    detail |= {"layer": finding["layer"] or None, "verdict_id": row.id}
    if finding["remedies"]:
        detail["remedy"] = finding["remedies"][0]["title"]
    events.append(session, job_id, type="verdict", detail=detail, attempt=attempt)
    return row


def of_job(session: Session, job_id: str) -> Sequence[Verdict]:
    """All verdicts of a job, in the order in which they were found."""
    return session.scalars(select(Verdict).where(Verdict.job_id == job_id).order_by(Verdict.id)).all()


def get(session: Session, job_id: str, verdict_id: str) -> Verdict:
    """The verdict of this job, or NotFound."""
    row = session.get(Verdict, verdict_id, populate_existing=True)
    if row is None or row.job_id != job_id:
        raise NotFound(f"Job {job_id!r} has no verdict {verdict_id!r}.")
    return row


def applied(session: Session, verdict_id: str, *, job_id: str, remedy: int) -> None:
    """Notes that ``job_id`` is a fork with this remedy."""
    now = session.execute(select(now_s())).scalar_one()
    session.add(Application(verdict_id=verdict_id, job_id=job_id, remedy=remedy, created_at=now))


def standing_fork(session: Session, verdict_id: str, *, remedy: int) -> str | None:
    """The newest fork with this remedy that can still tell, or has told, whether it helps: not deleted, not cancelled.

    The verdict's row is locked, so of two requests at once the second one sees the fork of the first.
    """
    session.execute(select(Verdict.id).where(Verdict.id == verdict_id).with_for_update())
    query = (
        select(Job.id)
        .join(Application, Application.job_id == Job.id)
        .where(Application.verdict_id == verdict_id, Application.remedy == remedy)
        .where(Job.status.not_in(["cancelling", "cancelled", "expired"]))
        .order_by(Application.created_at.desc(), Application.job_id.desc())
    )
    return session.scalars(query.limit(1)).one_or_none()


def applications(session: Session, verdict_ids: Collection[str]) -> dict[str, list[tuple[Application, Job | None]]]:
    """The forks of each verdict, oldest first, with their jobs where these still stand."""
    found: dict[str, list[tuple[Application, Job | None]]] = {verdict_id: [] for verdict_id in verdict_ids}
    query = (
        select(Application, Job)
        .outerjoin(Job, Job.id == Application.job_id)
        .where(Application.verdict_id.in_(list(verdict_ids)))
        .order_by(Application.created_at, Application.job_id)
    )
    for application, job in session.execute(query):
        found[application.verdict_id].append((application, job))
    return found


def codes_of(session: Session, job_ids: Collection[str]) -> dict[str, set[str]]:
    """The codes that were found in each of these jobs."""
    found: dict[str, set[str]] = {job_id: set() for job_id in job_ids}
    for job_id, code in session.execute(select(Verdict.job_id, Verdict.code).where(Verdict.job_id.in_(list(job_ids)))):
        found[job_id].add(code)
    return found
