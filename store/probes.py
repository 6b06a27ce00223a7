"""Probes: asked for, claimed under a lease, measured, recorded once. No function commits.

As with jobs, every write of a worker carries the attempt: no row touched means that the probe is no longer its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, exists, or_, select, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from store import artifacts
from store.attempts import Claim as JobClaim
from store.database import now_s
from store.errors import NotFound
from store.identifiers import new_id
from store.probe_tables import Probe
from store.tables import Artifact, Job

MAX_ATTEMPTS: Final = 3
WEIGHTS: Final = "weights.safetensors"


@dataclass(frozen=True)
class Weighed:
    """A job whose weights are looked at: its spec and checkpoints, and its final weights where it has a result."""

    job: JobClaim
    step: int
    final: Artifact | None


@dataclass(frozen=True)
class Claim:
    """A probe won by a worker. ``jobs`` holds the job, then the other one that the spec names."""

    probe_id: str
    attempt: int
    spec: dict[str, Any]
    jobs: tuple[Weighed, ...]


def create(session: Session, job_id: str, *, spec: dict[str, Any]) -> Probe:
    """A queued probe. It waits until there are weights: a checkpoint, or the job's end."""
    row = Probe(id=new_id("prb"), job_id=job_id, other_job_id=spec.get("job_id"), kind=spec["kind"], spec=spec)
    row.created_at = session.execute(select(now_s())).scalar_one()
    session.add(row)
    session.flush()
    return row


def get(session: Session, job_id: str, probe_id: str) -> Probe:
    """The probe of this job, or NotFound."""
    row = session.get(Probe, probe_id, populate_existing=True)
    if row is None or row.job_id != job_id:
        raise NotFound(f"Job {job_id!r} has no probe {probe_id!r}.")
    return row


def of_job(session: Session, job_id: str, *, limit: int) -> Sequence[Probe]:
    """The newest probes of a job, newest first."""
    return session.scalars(select(Probe).where(Probe.job_id == job_id).order_by(Probe.id.desc()).limit(limit)).all()


def claim(session: Session, *, worker_id: str, lease_s: float) -> Claim | None:
    """Takes the oldest probe that can be measured, or that a worker left behind, for this worker; or None."""
    free = or_(
        and_(Probe.status == "queued", _has_weights(Probe.job_id), _other_has_weights()),
        and_(Probe.status == "running", Probe.lease_expires_at < now_s()),
    )
    pick = select(Probe.id).where(Probe.finished_at.is_(None), free).order_by(Probe.created_at, Probe.id).limit(1)
    probe_id = session.execute(pick.with_for_update(skip_locked=True)).scalar()
    if probe_id is None:
        return None
    taken = {
        "status": "running",
        "attempt": Probe.attempt + 1,
        "worker_id": worker_id,
        "lease_expires_at": now_s() + lease_s,
        "started_at": now_s(),
    }
    won = session.execute(
        update(Probe)
        .where(Probe.id == probe_id, free)
        .values(**taken)
        .returning(Probe.attempt, Probe.spec, Probe.job_id, Probe.other_job_id)
    ).one_or_none()
    if won is None:
        return None
    ids = [job_id for job_id in (won.job_id, won.other_job_id) if job_id is not None]
    found = tuple(_weighed(session, job) for job in (session.get(Job, job_id) for job_id in ids) if job is not None)
    return Claim(probe_id, won.attempt, won.spec, found)


def renew(session: Session, claim: Claim, *, lease_s: float) -> bool:
    """Whether the probe is still this attempt's; its lease then runs anew."""
    return _write(session, claim, lease_expires_at=now_s() + lease_s)


def finish(session: Session, claim: Claim, *, result: dict[str, Any], step: int, weights: str) -> bool:
    """Stores what was measured. False: fenced, and nothing was written."""
    found = {"status": "done", "result": result, "step": step, "weights": weights}
    return _write(session, claim, **found, **_ENDED)


def fail(session: Session, claim: Claim, *, kind: str, message: str) -> bool:
    """Ends a probe that cannot be measured."""
    return _write(session, claim, status="failed", error={"kind": kind, "message": message[:2000]}, **_ENDED)


def give_back(session: Session, claim: Claim) -> bool:
    """Queues a probe again that its worker could not go on with, without a charge."""
    return _write(session, claim, status="queued", attempt=Probe.attempt - 1, worker_id=None, lease_expires_at=None)


_ENDED: dict[str, Any] = {"lease_expires_at": None, "finished_at": now_s()}


def _write(session: Session, claim: Claim, **columns: Any) -> bool:
    held = and_(Probe.id == claim.probe_id, Probe.attempt == claim.attempt, Probe.status == "running")
    return session.execute(update(Probe).where(held).values(**columns).returning(Probe.id)).scalar() is not None


def _has_weights(
    job_id: InstrumentedAttribute[str] | InstrumentedAttribute[str | None],
) -> ColumnElement[bool]:
    """Whether the job has a checkpoint, or will never have one."""
    return exists().where(Job.id == job_id, or_(Job.phase == "terminal", Job.checkpoint_id.is_not(None)))


def _other_has_weights() -> ColumnElement[bool]:
    other = Probe.other_job_id
    return or_(other.is_(None), _has_weights(other), ~exists().where(Job.id == other))


def _weighed(session: Session, job: Job) -> Weighed:
    final = session.get(Artifact, (job.id, WEIGHTS)) if job.status == "succeeded" else None
    checkpoints = tuple(artifacts.checkpoints(session, job.id))
    of_job = JobClaim(job_id=job.id, attempt=job.attempt, resolved_spec=job.resolved_spec, checkpoints=checkpoints)
    return Weighed(of_job, job.step, final)
