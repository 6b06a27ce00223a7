"""Probes: asked for, claimed under a lease, measured, recorded once. No function commits."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, exists, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from store import artifacts, leases
from store.attempts import Claim as JobClaim
from store.database import now_s
from store.errors import NotFound
from store.identifiers import new_id
from store.probe_tables import Probe
from store.tables import Artifact, Job

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

    id: str
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
    may_begin = and_(_has_weights(Probe.job_id), _other_has_weights())
    won = leases.take(session, Probe, may_begin=may_begin, worker_id=worker_id, lease_s=lease_s)
    if won is None:
        return None
    ids = [job_id for job_id in (won.job_id, won.other_job_id) if job_id is not None]
    found = tuple(weighed(session, job) for job in (session.get(Job, job_id) for job_id in ids) if job is not None)
    return Claim(won.id, won.attempt, won.spec, found)


def renew(session: Session, claim: Claim, *, lease_s: float) -> bool:
    """Whether the probe is still this attempt's; its lease then runs anew."""
    return leases.renew(session, Probe, claim.id, claim.attempt, lease_s=lease_s)


def finish(session: Session, claim: Claim, *, result: dict[str, Any], step: int, weights: str) -> bool:
    """Stores what was measured. False: fenced, and nothing was written."""
    found = {"status": "done", "result": result, "step": step, "weights": weights}
    return leases.write(session, Probe, claim.id, claim.attempt, **found, **leases.ENDED)


def fail(session: Session, claim: Claim, *, kind: str, message: str) -> bool:
    """Ends a probe that cannot be measured."""
    return leases.fail(session, Probe, claim.id, claim.attempt, kind=kind, message=message)


def give_back(session: Session, claim: Claim) -> bool:
    """Queues a probe again that its worker could not go on with, without a charge."""
    return leases.give_back(session, Probe, claim.id, claim.attempt)


def _has_weights(
    job_id: InstrumentedAttribute[str] | InstrumentedAttribute[str | None],
) -> ColumnElement[bool]:
    """Whether the job has a checkpoint, or will never have one."""
    return exists().where(Job.id == job_id, or_(Job.phase == "terminal", Job.checkpoint_id.is_not(None)))


def _other_has_weights() -> ColumnElement[bool]:
    other = Probe.other_job_id
    return or_(other.is_(None), _has_weights(other), ~exists().where(Job.id == other))


def weighed(session: Session, job: Job) -> Weighed:
    """The job as it is looked at."""
    final = session.get(Artifact, (job.id, WEIGHTS)) if job.status == "succeeded" else None
    checkpoints = tuple(artifacts.checkpoints(session, job.id))
    of_job = JobClaim(job_id=job.id, attempt=job.attempt, resolved_spec=job.resolved_spec, checkpoints=checkpoints)
    return Weighed(of_job, job.step, final)
