"""How a job was executed: its attempts, and the receipt by which it can be repeated."""

from typing import Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from api.answers import AttemptAnswer, Cost, Page
from api.dependencies import CallerDep, DoorDep, JobIdDep, known_parameters_only
from api.problems import declared
from api.rows import attempt_answer
from specs.estimate import Estimate
from store import attempts, estimates, jobs

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["jobs"], dependencies=[Depends(known_parameters_only)])


class Receipt(BaseModel):
    """What is needed to run the job again to the same bits, and what came out."""

    job_id: str
    spec_sha256: str = Field(
        description="digest of the resolved spec, without name and labels, as JSON with sorted names"
    )
    resolved_spec: dict[str, Any]
    weights_sha256: str | None = Field(description="digest of the trained tensors, once the job has a result")
    estimate: Estimate | None = Field(
        description="what /v1/estimates said of such a job before it started; null where nobody asked"
    )
    cost: Cost | None = Field(description="what the job then took; `predicted` is what its first steps let expect")
    measured: dict[str, Any] = Field(
        description="what the trainer noted: dataset hash, versions, device, threads, seeds, determinism, loss trace"
    )


@router.get("/attempts", operation_id="list_attempts", response_model=Page[AttemptAnswer], responses=declared())
def list_attempts(door: DoorDep, caller: CallerDep, job_id: JobIdDep) -> Page[AttemptAnswer]:
    """Every execution, oldest first."""
    with door.database.reading() as session:
        jobs.get(session, job_id, project=caller.project)
        rows = attempts.of_job(session, job_id)
    return Page[AttemptAnswer](data=[attempt_answer(row) for row in rows])


@router.get("/receipt", operation_id="get_receipt", response_model=Receipt, responses=declared())
def get_receipt(door: DoorDep, caller: CallerDep, job_id: JobIdDep) -> Receipt:
    """What another run needs to give the same bits, and the digest that it must reach."""
    with door.database.reading() as session:
        job = jobs.get(session, job_id, project=caller.project)
        said = estimates.of_spec(
            session, job.resolved_spec, before=job.started_at or job.created_at, project=caller.project
        )
    cost = (job.result or {}).get("cost")
    return Receipt(
        job_id=job.id,
        spec_sha256=estimates.spec_digest(job.resolved_spec),
        resolved_spec=job.resolved_spec,
        weights_sha256=(job.result or {}).get("weights_sha256"),
        estimate=None if said is None else Estimate.model_validate(said),
        cost=None if cost is None else Cost.model_validate(cost),
        measured=job.receipt or {},
    )
