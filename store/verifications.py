"""Verifications: replays of succeeded jobs, claimed under a lease, recorded once. No function commits."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from store import artifacts, leases, probes, series
from store.database import now_s
from store.errors import NotFound
from store.identifiers import new_id
from store.probes import Weighed
from store.series import Points
from store.tables import Job
from store.verification_tables import Verification


@dataclass(frozen=True)
class Claim:
    """A verification won by a worker, with all that the job left to be compared."""

    id: str
    attempt: int
    resource_class: str
    from_step: int
    tolerance: float
    weighed: Weighed
    result: dict[str, Any]
    receipt: dict[str, Any]
    losses: Points | None


def create(session: Session, job: Job, *, from_step: int, tolerance: float) -> Verification:
    """A queued verification of a job that has succeeded."""
    row = Verification(
        id=new_id("vrf"), job_id=job.id, resource_class=job.resource_class, from_step=from_step, tolerance=tolerance
    )
    row.created_at = session.execute(select(now_s())).scalar_one()
    session.add(row)
    session.flush()
    return row


def get(session: Session, job_id: str, verification_id: str) -> Verification:
    """The verification of this job, or NotFound."""
    row = session.get(Verification, verification_id, populate_existing=True)
    if row is None or row.job_id != job_id:
        raise NotFound(f"Job {job_id!r} has no verification {verification_id!r}.")
    return row


def of_job(session: Session, job_id: str, *, limit: int) -> Sequence[Verification]:
    """The newest verifications of a job, newest first."""
    newest = select(Verification).where(Verification.job_id == job_id).order_by(Verification.id.desc())
    return session.scalars(newest.limit(limit)).all()


def starts(session: Session, job_id: str) -> list[int]:
    """The steps from which the job can be replayed: of the kept checkpoints, oldest first."""
    return sorted({checkpoint.step for checkpoint in artifacts.checkpoints(session, job_id)})


def claim(session: Session, *, worker_id: str, classes: Sequence[str], lease_s: float) -> Claim | None:
    """Takes the oldest verification of these classes that waits, or that a worker left behind; or None."""
    served = Verification.resource_class.in_(classes)
    row = leases.take(session, Verification, among=served, worker_id=worker_id, lease_s=lease_s)
    if row is None:
        return None
    job = session.get_one(Job, row.job_id)
    found = series.read(session, job.id, names=["loss"], splits=["train"], step_from=row.from_step + 1)
    return Claim(
        id=row.id,
        attempt=row.attempt,
        resource_class=row.resource_class,
        from_step=row.from_step,
        tolerance=row.tolerance,
        weighed=probes.weighed(session, job),
        result=job.result or {},
        receipt=job.receipt or {},
        losses=next((points for points in found if points.layer is None), None),
    )


def renew(session: Session, claim: Claim, *, lease_s: float) -> bool:
    """Whether the verification is still this attempt's; its lease then runs anew."""
    return leases.renew(session, Verification, claim.id, claim.attempt, lease_s=lease_s)


def finish(session: Session, claim: Claim, *, verdict: str, result: dict[str, Any]) -> bool:
    """Stores what the replay came to. False: fenced, and nothing was written."""
    found = {"status": "done", "verdict": verdict, "result": result}
    return leases.write(session, Verification, claim.id, claim.attempt, **found, **leases.ENDED)


def fail(session: Session, claim: Claim, *, kind: str, message: str) -> bool:
    """Ends a verification that cannot be done."""
    return leases.fail(session, Verification, claim.id, claim.attempt, kind=kind, message=message)


def give_back(session: Session, claim: Claim) -> bool:
    """Queues a verification again that its worker could not go on with, without a charge."""
    return leases.give_back(session, Verification, claim.id, claim.attempt)
