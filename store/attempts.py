"""The life of a job as workers change it: claim, heartbeat, record, succeed, fail. ``settlement`` gives
jobs back.

No function commits. No statement names ``status`` without a condition on the old one: an unconditional "running"
would overwrite the API's "cancelling". Every write carries the attempt, which is the fence: no row touched means
that the attempt is no longer the job's, and nothing may be written in its name.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, case, insert, select, update
from sqlalchemy.orm import Session

from store import turns
from store.database import now_s
from store.jobs import announce, move, reason
from store.tables import Attempt, Checkpoint, Job

CHOICES: Final = 16
"""How often a claim chooses among the projects; after that the worker's next look goes on."""

_ENDED: dict[str, Any] = {"lease_expires_at": None, "worker_id": None, "finished_at": now_s()}


@dataclass(frozen=True)
class Claim:
    """A job won by a worker, with its checkpoints, newest first."""

    job_id: str
    attempt: int
    resolved_spec: dict[str, Any]
    checkpoints: tuple[Checkpoint, ...]


def claim(
    session: Session,
    *,
    worker_id: str,
    host: str,
    worker_pid: int,
    resource_class: str,
    lease_s: float,
    most_of_a_project: int | None = None,
) -> Claim | None:
    """Takes the queued job of the class whose turn it is for this worker, with a new attempt, or None.

    ``most_of_a_project``: a project of which so many jobs run waits.
    """
    job_id = _picked(session, resource_class, most=most_of_a_project)
    if job_id is None:
        return None
    won = session.execute(
        update(Job)
        .where(Job.id == job_id, Job.status == "queued", Job.desired_state == "run")
        .values(
            status="starting",
            attempt=Job.attempt + 1,
            worker_id=worker_id,
            lease_expires_at=now_s() + lease_s,
            started_at=case((Job.started_at.is_(None), now_s()), else_=Job.started_at),
            **reason("starting", "A worker prepares the data and starts the training process."),
        )
        .returning(Job.attempt, Job.resolved_spec)
    ).one_or_none()
    if won is None:
        return None
    session.execute(
        insert(Attempt).values(
            job_id=job_id, number=won.attempt, worker_id=worker_id, host=host, worker_pid=worker_pid, started_at=now_s()
        )
    )
    announce(session, job_id, "starting", attempt=won.attempt)
    checkpoints = session.scalars(
        select(Checkpoint).where(Checkpoint.job_id == job_id).order_by(Checkpoint.step.desc(), Checkpoint.id.desc())
    ).all()
    return Claim(job_id=job_id, attempt=won.attempt, resolved_spec=won.resolved_spec, checkpoints=tuple(checkpoints))


def _picked(session: Session, resource_class: str, *, most: int | None) -> str | None:
    """A queued job, locked. Workers that choose the same project at once try again, each with what is left then."""
    for _ in range(CHOICES):
        project = turns.next_project(session, resource_class, most=most)
        if project is None:
            return None
        with session.begin_nested() as choice:
            job_id = turns.take(session, project, resource_class, most=most)
            if job_id is not None:
                return job_id
            choice.rollback()  # the project's row is let go of: two of them are never held
    return None


def heartbeat(session: Session, attempts: Sequence[tuple[str, int]], *, lease_s: float) -> dict[tuple[str, int], str]:
    """Renews the leases of these (job, attempt); returns the desired state of each that still holds one.

    An attempt that is missing from the answer is fenced: its trainer must be killed.
    """
    renewed: dict[tuple[str, int], str] = {}
    for job_id, attempt in sorted(attempts):
        desired = session.execute(
            update(Job)
            .where(held(job_id, attempt))
            .values(lease_expires_at=now_s() + lease_s)
            .returning(Job.desired_state)
        ).scalar()
        if desired is not None:
            renewed[job_id, attempt] = desired
    return renewed


def desired_states(session: Session, attempts: Sequence[tuple[str, int]]) -> dict[tuple[str, int], str]:
    """What the clients want of these (job, attempt); fenced ones are missing."""
    ids = [job_id for job_id, _ in attempts]
    rows = session.execute(select(Job.id, Job.attempt, Job.desired_state).where(Job.id.in_(ids), Job.phase == "active"))
    wanted = set(attempts)
    return {(row.id, row.attempt): row.desired_state for row in rows if (row.id, row.attempt) in wanted}


def record(
    session: Session,
    job_id: str,
    attempt: int,
    *,
    step: int,
    progress: dict[str, Any] | None = None,
    diagnostics: dict[str, Any] | None = None,
) -> bool:
    """The first statement of every recorder transaction: its row lock covers what follows. False: fenced."""
    values: dict[str, Any] = {"step": case((Job.step < step, step), else_=Job.step), "version": Job.version + 1}
    if progress is not None:
        values["progress"] = progress
    if diagnostics is not None:
        values["diagnostics"] = diagnostics
    touched = session.execute(update(Job).where(held(job_id, attempt)).values(**values).returning(Job.id)).scalar()
    return touched is not None


def mark_started(
    session: Session,
    job_id: str,
    attempt: int,
    *,
    step: int,
    device: str,
    trainer_pid: int | None,
    receipt: dict[str, Any],
) -> None:
    """The trainer stands before step ``step + 1``: starting → running, unless a client already wants otherwise."""
    session.execute(
        update(Attempt)
        .where(Attempt.job_id == job_id, Attempt.number == attempt)
        .values(resumed_from_step=step, device=device, trainer_pid=trainer_pid)
    )
    session.execute(update(Job).where(held(job_id, attempt)).values(receipt=receipt))
    of_attempt = (Job.attempt == attempt) & (Job.status == "starting")
    move(session, job_id, of_attempt, attempt=attempt, status="running", **reason(None, None))


def mark_finalizing(session: Session, job_id: str, attempt: int) -> bool:
    """The trainer has a result; False when a cancellation came first."""
    of_attempt = (Job.attempt == attempt) & Job.status.in_(("starting", "running", "pausing"))
    return move(session, job_id, of_attempt, attempt=attempt, status="finalizing", version=Job.version + 1)


def succeed(
    session: Session,
    job_id: str,
    attempt: int,
    *,
    result: dict[str, Any],
    receipt: dict[str, Any],
    diagnostics: dict[str, Any],
) -> bool:
    """Stores the result. False: cancelled in between, or fenced; the result is discarded."""
    of_attempt = (Job.attempt == attempt) & (Job.status == "finalizing")
    found = {"status": "succeeded", "result": result, "receipt": receipt, "diagnostics": diagnostics}
    moved = move(session, job_id, of_attempt, attempt=attempt, **found, **_ENDED, **reason(None, None))
    if moved:
        close_attempt(session, job_id, attempt, exit_cause="succeeded", cost=result.get("cost"))
    return moved


def fail(
    session: Session, job_id: str, attempt: int, *, error: dict[str, Any], cost: dict[str, Any] | None = None
) -> bool:
    """Ends the job on a finding of its trainer. False: cancelled in between (settle it), or fenced."""
    of_attempt = held(job_id, attempt) & (Job.status != "cancelling")
    found = {"status": "failed", "error": error, **reason(error["kind"], error["message"])}
    moved = move(session, job_id, of_attempt, attempt=attempt, **found, **_ENDED)
    if moved:
        close_attempt(session, job_id, attempt, exit_cause=error["kind"], cost=cost)
    return moved


def held(job_id: str, attempt: int) -> ColumnElement[bool]:
    """The fence: this attempt is still the job's, and the job is still active."""
    return and_(Job.id == job_id, Job.attempt == attempt, Job.phase == "active")


def close_attempt(session: Session, job_id: str, attempt: int, *, exit_cause: str, cost: dict[str, Any] | None) -> None:
    """Writes how an attempt ended."""
    session.execute(
        update(Attempt)
        .where(Attempt.job_id == job_id, Attempt.number == attempt)
        .values(ended_at=now_s(), exit_cause=exit_cause, cost=cost)
    )


def of_job(session: Session, job_id: str) -> Sequence[Attempt]:
    """Every execution of a job, oldest first."""
    return session.scalars(select(Attempt).where(Attempt.job_id == job_id).order_by(Attempt.number)).all()
