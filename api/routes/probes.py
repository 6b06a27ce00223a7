"""Measurements on demand of a job's newest weights: Hessian, ranks, histograms, likeness, what a layer is worth."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Response
from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from api.answers import Page, Time
from api.bodies import JsonBody, Posted
from api.conditional import tagged
from api.creation import create_once
from api.dependencies import CallerDep, DoorDep, IdempotencyKeyDep, JobIdDep, id_in_path, known_parameters_only
from api.errors import Refused
from api.openapi import body
from api.problems import ProblemItem, declared
from api.rows import rfc3339
from specs.probes import CkaSpec, ProbeRequest, ProbeSpec
from store import jobs, probes
from store.errors import NotFound
from store.probe_tables import Probe
from store.tables import Job

router = APIRouter(prefix="/v1/jobs/{job_id}/probes", tags=["results"], dependencies=[Depends(known_parameters_only)])


class ProbeError(BaseModel):
    """Why there is no result."""

    kind: str
    message: str


class ProbeAnswer(BaseModel):
    """A measurement, and what became of it."""

    id: str
    job_id: str
    kind: str
    spec: dict[str, Any]
    status: str = Field(description="`queued`, `running`, `done` or `failed`; it waits until the job has weights")
    attempt: int = Field(description="how often a worker began it")
    step: int | None = Field(description="of the weights that were measured")
    weights: str | None = Field(description="`final`, or `checkpoint` where the job has no result yet")
    result: dict[str, Any] | None = Field(
        description="what the kind measures; what is not defined is null with a `reason`, and what was not finite is "
        "null and named in `nonfinite`"
    )
    error: ProbeError | None
    created_at: Time
    started_at: Time | None
    finished_at: Time | None


@dataclass
class _Made:
    """A new probe, as the bell knows it: any worker measures it on a CPU."""

    id: str
    resource_class: str = "cpu"


ProbeIdDep = Annotated[str, Depends(id_in_path("probe_id", "prb", "probe"))]


@router.post(
    "",
    operation_id="create_probe",
    status_code=202,
    response_model=ProbeAnswer,
    responses={200: {"model": ProbeAnswer, "description": "Replayed"}, **declared(409, 415)},
    openapi_extra=body("ProbeRequest"),
)
def create_probe(
    door: DoorDep,
    caller: CallerDep,
    job_id: JobIdDep,
    key: IdempotencyKeyDep,
    posted: Annotated[Posted[ProbeRequest], Depends(JsonBody(ProbeRequest))],
) -> Any:
    """Asks for a measurement of the job's final weights, or of its newest checkpoint while it has no result.

    A worker takes it beside its jobs, on the CPU, within two minutes.
    """
    spec = posted.value.root

    def make(session: Session) -> _Made:
        job = jobs.get(session, job_id, project=caller.project)
        _check_other(session, job, spec)
        return _Made(probes.create(session, job_id, spec=spec.model_dump(mode="json")).id)

    return create_once(
        door,
        project=caller.project,
        at=f"/v1/jobs/{job_id}/probes",
        key=key,
        request_sha256=posted.sha256,
        make=make,
        read=lambda session, probe_id: _answer(probes.get(session, job_id, probe_id)),
    )


@router.get("", operation_id="list_probes", response_model=Page[ProbeAnswer], responses=declared())
def list_probes(
    door: DoorDep, caller: CallerDep, job_id: JobIdDep, limit: Annotated[int, Query(ge=1, le=200)] = 50
) -> Response:
    """The newest probes of the job, newest first."""
    with door.database.reading() as session:
        jobs.get(session, job_id, project=caller.project)
        found = [_answer(row) for row in probes.of_job(session, job_id, limit=limit)]
    return Response(Page[ProbeAnswer](data=found).model_dump_json(), media_type="application/json")


@router.get("/{probe_id}", operation_id="get_probe", response_model=ProbeAnswer, responses={**declared(), 304: {}})
def get_probe(
    door: DoorDep,
    caller: CallerDep,
    job_id: JobIdDep,
    probe_id: ProbeIdDep,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """One probe, with a strong ETag."""
    with door.database.reading() as session:
        jobs.get(session, job_id, project=caller.project)
        answer = _answer(probes.get(session, job_id, probe_id))
    return tagged(answer, if_none_match)


def _check_other(session: Session, job: Job, spec: ProbeSpec) -> None:
    """The job that a comparison of layers names must stand, and have seen the same rows."""
    if not isinstance(spec, CkaSpec):
        return
    try:
        other = jobs.get(session, spec.job_id, project=job.project)
    except NotFound:
        raise _refused("no_such_job", f"there is no job {spec.job_id!r}", "the id of a job") from None
    if other.resolved_spec["dataset"] != job.resolved_spec["dataset"]:
        detail = "the other job has another data set, or splits it otherwise: rows cannot be compared"
        raise _refused("other_dataset", detail, "a job with the same dataset section")


def _refused(code: str, detail: str, allowed: str) -> Refused:
    return Refused(
        "invalid_request",
        detail,
        errors=[ProblemItem(pointer="/job_id", code=code, detail=detail, allowed=[allowed])],
    )


def _answer(row: Probe) -> ProbeAnswer:
    return ProbeAnswer(
        id=row.id,
        job_id=row.job_id,
        kind=row.kind,
        spec=row.spec,
        status=row.status,
        attempt=row.attempt,
        step=row.step,
        weights=row.weights,
        result=row.result,
        error=None if row.error is None else ProbeError.model_validate(row.error),
        created_at=rfc3339(row.created_at),
        started_at=rfc3339(row.started_at),
        finished_at=rfc3339(row.finished_at),
    )
