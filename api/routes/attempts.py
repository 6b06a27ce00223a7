"""How a job was executed: its attempts, and the receipt by which it can be repeated."""

import hashlib
import json
from typing import Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from api.answers import AttemptAnswer, Page
from api.dependencies import DoorDep, JobIdDep, known_parameters_only
from api.problems import declared
from api.rows import attempt_answer
from store import attempts, jobs

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["jobs"], dependencies=[Depends(known_parameters_only)])


class Receipt(BaseModel):
    """What is needed to run the job again to the same bits, and what came out."""

    job_id: str
    spec_sha256: str = Field(
        description="digest of the resolved spec, without name and labels, as JSON with sorted names"
    )
    resolved_spec: dict[str, Any]
    weights_sha256: str | None = Field(description="digest of the trained tensors, once the job has a result")
    measured: dict[str, Any] = Field(
        description="what the trainer noted: dataset hash, versions, device, threads, seeds, determinism, loss trace"
    )


@router.get("/attempts", operation_id="list_attempts", response_model=Page[AttemptAnswer], responses=declared())
def list_attempts(door: DoorDep, job_id: JobIdDep) -> Page[AttemptAnswer]:
    """Every execution, oldest first."""
    with door.database.reading() as session:
        jobs.get(session, job_id)
        rows = attempts.of_job(session, job_id)
    return Page[AttemptAnswer](data=[attempt_answer(row) for row in rows])


@router.get("/receipt", operation_id="get_receipt", response_model=Receipt, responses=declared())
def get_receipt(door: DoorDep, job_id: JobIdDep) -> Receipt:
    """What another run needs to give the same bits, and the digest that it must reach."""
    with door.database.reading() as session:
        job = jobs.get(session, job_id)
    return Receipt(
        job_id=job.id,
        spec_sha256=spec_sha256(job.resolved_spec),
        resolved_spec=job.resolved_spec,
        weights_sha256=(job.result or {}).get("weights_sha256"),
        measured=job.receipt or {},
    )


def spec_sha256(resolved_spec: dict[str, Any]) -> str:
    """The digest by which two specs are told apart. Name and labels are no part of what is trained."""
    trained = {name: value for name, value in resolved_spec.items() if name not in ("name", "labels")}
    return hashlib.sha256(json.dumps(trained, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
