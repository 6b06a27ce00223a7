"""What may be asked of a job: cancel, pause, resume, retry."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response
from sqlalchemy.orm import Session

from api.answers import JobAnswer
from api.bodies import OptionalJsonBody, Posted
from api.callers import Caller
from api.dependencies import CallerDep, Door, DoorDep, IdempotencyKeyDep, JobIdDep, known_parameters_only
from api.forking import forked
from api.noting import note
from api.openapi import body
from api.problems import declared
from api.submission import queued_answer
from specs.json_patch import Patch
from store import jobs
from store.tables import Job

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["jobs"], dependencies=[Depends(known_parameters_only)])

PATCH_TYPES = ("application/json", "application/json-patch+json")
REPEATED: dict[int | str, dict[str, Any]] = {200: {"model": JobAnswer, "description": "Asked for before"}}


@router.post(
    "/cancel", operation_id="cancel_job", status_code=202, response_model=JobAnswer, responses=REPEATED | declared(409)
)
def cancel_job(door: DoorDep, caller: CallerDep, job_id: JobIdDep) -> Response:
    """Ends a job: a waiting one at once, a running one within seconds. `cancelled` comes after its process is gone."""
    return _asked(door, caller, job_id, jobs.cancel)


@router.post(
    "/pause", operation_id="pause_job", status_code=202, response_model=JobAnswer, responses=REPEATED | declared(409)
)
def pause_job(door: DoorDep, caller: CallerDep, job_id: JobIdDep) -> Response:
    """Lets a running job write a checkpoint and give up its place."""
    return _asked(door, caller, job_id, jobs.pause)


@router.post(
    "/resume", operation_id="resume_job", status_code=202, response_model=JobAnswer, responses=REPEATED | declared(409)
)
def resume_job(door: DoorDep, caller: CallerDep, job_id: JobIdDep) -> Response:
    """Queues a paused job again; it goes on from its last checkpoint."""
    return _asked(door, caller, job_id, jobs.resume, wake=True)


@router.post(
    "/retry",
    operation_id="retry_job",
    status_code=202,
    response_model=JobAnswer,
    responses={200: {"model": JobAnswer, "description": "Replayed"}, **declared(409, 415)},
    openapi_extra=body("Patch", media_types=PATCH_TYPES, required=False),
)
def retry_job(
    door: DoorDep,
    caller: CallerDep,
    job_id: JobIdDep,
    key: IdempotencyKeyDep,
    posted: Annotated[Posted[Patch], Depends(OptionalJsonBody(Patch, without=Patch([]), media_types=PATCH_TYPES))],
) -> Any:
    """A new job with the same resolved spec, changed by a JSON Patch (RFC 6902) if there is one. The old one stays."""
    operations = posted.fields or []
    return forked(door, caller, job_id, posted.value, operations=operations, key=key, request_sha256=posted.sha256)


def _asked(
    door: Door, caller: Caller, job_id: str, ask: Callable[[Session, str], tuple[Job, bool]], *, wake: bool = False
) -> Response:
    with door.database.writing.begin() as session:
        jobs.get(session, job_id, project=caller.project)
        job, changed = ask(session, job_id)
        if changed:
            note(session, caller, f"job.{ask.__name__}", job_id)
        answer = queued_answer(session, job, door)
    if wake and changed:
        door.bell.ring(job.resource_class)
    return Response(answer.model_dump_json(), status_code=202 if changed else 200, media_type="application/json")
