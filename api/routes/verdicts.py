"""What is wrong with a job, what would mend it, and the fork that tries."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from api import verdict_answers
from api.answers import JobAnswer
from api.bodies import OptionalJsonBody, Posted
from api.dependencies import CallerDep, DoorDep, IdempotencyKeyDep, JobIdDep, id_in_path, known_parameters_only
from api.errors import Refused
from api.forking import forked
from api.openapi import body
from api.problems import ProblemItem, declared
from api.verdict_answers import VerdictAnswer, VerdictPage
from specs.json_patch import Patch
from store import jobs, verdicts
from store.tables import Job

router = APIRouter(prefix="/v1/jobs/{job_id}/verdicts", tags=["results"], dependencies=[Depends(known_parameters_only)])


class ApplyRequest(BaseModel):
    """Which remedy to try."""

    model_config = ConfigDict(extra="forbid", strict=True)

    remedy: int = Field(default=0, ge=0, le=99, description="place in the verdict's `remedies`; 0 is the first")


VerdictIdDep = Annotated[str, Depends(id_in_path("verdict_id", "vrd", "verdict"))]


@router.get("", operation_id="list_verdicts", response_model=VerdictPage, responses=declared())
def list_verdicts(door: DoorDep, caller: CallerDep, job_id: JobIdDep) -> VerdictPage:
    """Every fault that was found so far, root causes first; a symptom names its cause."""
    with door.database.reading() as session:
        return verdict_answers.of_job(session, jobs.get(session, job_id, project=caller.project))


@router.get("/{verdict_id}", operation_id="get_verdict", response_model=VerdictAnswer, responses=declared())
def get_verdict(door: DoorDep, caller: CallerDep, job_id: JobIdDep, verdict_id: VerdictIdDep) -> VerdictAnswer:
    """One verdict, with what became of the forks that tried its remedies."""
    with door.database.reading() as session:
        return verdict_answers.one_of_job(session, jobs.get(session, job_id, project=caller.project), verdict_id)


@router.post(
    "/{verdict_id}/apply",
    operation_id="apply_verdict",
    status_code=202,
    response_model=JobAnswer,
    responses={200: {"model": JobAnswer, "description": "Replayed"}, **declared(409, 415)},
    openapi_extra=body("ApplyRequest", required=False),
)
def apply_verdict(
    door: DoorDep,
    caller: CallerDep,
    job_id: JobIdDep,
    verdict_id: VerdictIdDep,
    key: IdempotencyKeyDep,
    posted: Annotated[Posted[ApplyRequest], Depends(OptionalJsonBody(ApplyRequest, without=ApplyRequest()))],
) -> Any:
    """A new job with the remedy applied, as `retry` makes one; the verdict then says whether the remedy helped.

    While a fork with this remedy stands, another one would be the same job: a repeat is answered with that fork, 200.
    """
    wanted = posted.value
    with door.database.reading() as session:
        jobs.get(session, job_id, project=caller.project)
        remedies = verdicts.get(session, job_id, verdict_id).remedies
    if wanted.remedy >= len(remedies):
        raise _no_such_remedy(wanted.remedy, len(remedies))
    operations = remedies[wanted.remedy]["patch"]

    def note(session: Session, fork: Job) -> None:
        verdicts.get(session, job_id, verdict_id)  # its job may have been deleted since
        verdicts.applied(session, verdict_id, job_id=fork.id, remedy=wanted.remedy)

    return forked(
        door,
        caller,
        job_id,
        Patch.model_validate(operations),
        operations=operations,
        key=key,
        request_sha256=posted.sha256,
        also=note,
        known=lambda session: verdicts.standing_fork(session, verdict_id, remedy=wanted.remedy),
    )


def _no_such_remedy(wanted: int, count: int) -> Refused:
    detail = f"the verdict has {count} remedies, counted from 0; there is no remedy {wanted}"
    item = ProblemItem(pointer="/remedy", code="no_such_remedy", detail=detail, allowed=list(range(count)))
    return Refused("invalid_request", detail, errors=[item])
