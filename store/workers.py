"""The workers that live, and what waits for them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, func, select, update
from sqlalchemy.orm import Session

from store import usage
from store.database import now_s
from store.tables import DEFAULT_PROJECT, Job, Worker


@dataclass(frozen=True)
class Place:
    """Where a queued job stands, and why it waits."""

    position: int
    jobs_ahead: int
    code: str
    message: str


def register(
    session: Session,
    *,
    worker_id: str,
    host: str,
    pid: int,
    classes: Sequence[str],
    slots: int,
    devices: Sequence[dict[str, Any]],
    launcher: dict[str, Any],
    versions: dict[str, Any],
) -> None:
    """A worker says that it is there."""
    now = session.execute(select(now_s())).scalar_one()
    session.merge(
        Worker(
            id=worker_id,
            host=host,
            pid=pid,
            classes=list(classes),
            slots=slots,
            devices=list(devices),
            launcher=launcher,
            versions=versions,
            started_at=now,
            seen_at=now,
            busy=0,
        )
    )


def beat(session: Session, worker_id: str, *, busy: int) -> None:
    """A worker says that it is still there."""
    session.execute(update(Worker).where(Worker.id == worker_id).values(seen_at=now_s(), busy=busy))


def say_goodbye(session: Session, worker_id: str) -> None:
    """A worker stops in order."""
    session.execute(update(Worker).where(Worker.id == worker_id).values(stopped_at=now_s(), busy=0))


def living(session: Session, *, lease_s: float) -> Sequence[Worker]:
    """The workers heard of within a lease."""
    query = select(Worker).where(Worker.stopped_at.is_(None), Worker.seen_at > now_s() - lease_s)
    return session.scalars(query.order_by(Worker.started_at, Worker.id)).all()


def place(session: Session, job: Job, *, lease_s: float, most_of_a_project: int | None = None) -> Place:
    """The position of a queued job among its project's in its class, with the typed reason of its waiting.

    Projects take turns, so how many jobs others have queued says little of when it begins.
    """
    before = (Job.priority > job.priority) | (
        (Job.priority == job.priority)
        & ((Job.created_at < job.created_at) | ((Job.created_at == job.created_at) & (Job.id < job.id)))
    )
    waiting = (
        select(func.count())
        .select_from(Job)
        .where(Job.status == "queued", Job.desired_state == "run", Job.resource_class == job.resource_class)
    )
    ahead = session.execute(waiting.where(before, Job.project == job.project)).scalar_one()
    higher = session.execute(waiting.where(before, Job.priority > job.priority)).scalar_one()
    offered = any(job.resource_class in worker.classes for worker in living(session, lease_s=lease_s))
    full = most_of_a_project is not None and usage.running(session, job.project) >= most_of_a_project
    code, message = _why(job, offered=offered, higher=higher, full=full)
    return Place(position=ahead + 1, jobs_ahead=ahead, code=code, message=message)


def reasons(session: Session, jobs: Sequence[Job], *, lease_s: float) -> dict[str, Place]:
    """The typed reason of each queued job of a list, without its position: two queries however long the list is."""
    queued = [job for job in jobs if job.status == "queued"]
    if not queued:
        return {}
    offered = {name for worker in living(session, lease_s=lease_s) for name in worker.classes}
    rows = session.execute(
        select(Job.resource_class, func.max(Job.priority))
        .where(Job.status == "queued", Job.desired_state == "run")
        .group_by(Job.resource_class)
    )
    first = {resource_class: priority for resource_class, priority in rows}  # noqa: C416  # rows are no pairs to mypy
    found = {}
    for job in queued:
        higher = int(first.get(job.resource_class, job.priority) > job.priority)
        code, message = _why(job, offered=job.resource_class in offered, higher=higher, full=False)
        found[job.id] = Place(position=0, jobs_ahead=0, code=code, message=message)
    return found


def waiting(session: Session, *, limit: int, lease_s: float, project: str = DEFAULT_PROJECT) -> list[tuple[Job, Place]]:
    """The project's next queued jobs in the order of their claims, each with its place among them."""
    order = (Job.priority.desc(), Job.created_at, Job.id)
    position = func.row_number().over(partition_by=Job.resource_class, order_by=order).label("position")
    mine = and_(Job.status == "queued", Job.desired_state == "run", Job.project == project)
    rows = session.execute(select(Job, position).where(mine).order_by(position, Job.resource_class).limit(limit)).all()
    why = reasons(session, [job for job, _ in rows], lease_s=lease_s)
    return [
        (job, Place(position=at, jobs_ahead=at - 1, code=why[job.id].code, message=why[job.id].message))
        for job, at in rows
    ]


def _why(job: Job, *, offered: bool, higher: int, full: bool) -> tuple[str, str]:
    if not offered:
        return "no_worker_of_class", f"No live worker offers a {job.resource_class.upper()}."
    if full:
        return "quota_exceeded", "As many jobs of the project run as may; this one waits for one of them to end."
    if job.charged_attempts and job.reason_code not in (None, "waiting_for_capacity"):
        return "backoff_after_failure", f"Waiting to try again: {job.reason_message}"
    if higher:
        return "behind_higher_priority", "Jobs of higher priority are ahead."
    return "waiting_for_capacity", "Waiting for a free worker."


def queue_counts(session: Session) -> dict[str, dict[str, int]]:
    """Everybody's jobs by class and status, terminal ones left out: how long the queue is, not whose."""
    counts: dict[str, dict[str, int]] = {}
    rows = session.execute(
        select(Job.resource_class, Job.status, func.count())
        .where(Job.phase != "terminal")
        .group_by(Job.resource_class, Job.status)
    )
    for resource_class, status, count in rows:
        counts.setdefault(resource_class, {})[status] = count
    return counts
