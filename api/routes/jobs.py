"""Jobs: post, list, read, change, delete."""

import shutil
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from api.admission import require
from api.answers import JobAnswer, Page
from api.bodies import JsonBody, Posted
from api.conditional import require_match, tagged
from api.dependencies import CallerDep, DoorDep, IdempotencyKeyDep, JobIdDep, known_parameters_only
from api.filters import Filters, filters
from api.noting import note
from api.openapi import body, label_parameter
from api.problems import declared
from api.rows import job_answer
from api.submission import queued_answer, submit
from specs.job import JobName, JobSpec, LabelKey, LabelValue
from specs.limits import FORM
from store import jobs, listing, workers

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], dependencies=[Depends(known_parameters_only)])


class JobChanges(BaseModel):
    """What may be changed of a job; absent fields stay. ``labels`` replaces all labels."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: JobName | None = None
    labels: dict[LabelKey, LabelValue] = Field(default_factory=dict, max_length=FORM.labels)
    priority: int = Field(default=0, ge=-1000, le=1000, description="higher ones are claimed first; 0 by default")


@router.post(
    "",
    operation_id="create_job",
    status_code=202,
    response_model=JobAnswer,
    responses={200: {"model": JobAnswer, "description": "Replayed"}, **declared(409, 415)},
    openapi_extra=body("JobRequest"),
)
def create_job(
    door: DoorDep,
    caller: CallerDep,
    key: IdempotencyKeyDep,
    posted: Annotated[Posted[JobSpec], Depends(JsonBody(JobSpec))],
) -> Any:
    """Queues a job. Only `dataset`, `network` and `learner` are required, or a `recipe`."""
    return submit(door, caller, posted.value, posted=posted.fields, key=key, request_sha256=posted.sha256)


@router.get(
    "",
    operation_id="list_jobs",
    response_model=Page[JobAnswer],
    responses=declared(),
    openapi_extra={"parameters": [label_parameter()]},
)
def list_jobs(
    door: DoorDep,
    caller: CallerDep,
    wanted: Annotated[Filters, Depends(filters)],
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    after: Annotated[
        str | None,
        Query(
            description="`next_cursor` of the page before",
            json_schema_extra={"pattern": f"^{listing.CURSOR}$"},
            max_length=48,
        ),
    ] = None,
) -> Any:
    """Jobs, newest first."""
    with door.database.reading() as session:
        found, cursor = listing.page(session, project=caller.project, limit=limit, after=after, **wanted)
        places = workers.reasons(session, found, lease_s=door.settings.lease_s)
        page = Page[JobAnswer](
            data=[job_answer(job, places.get(job.id)) for job in found],
            has_more=cursor is not None,
            next_cursor=cursor,
        )
    return Response(page.model_dump_json(), media_type="application/json")


@router.get("/{job_id}", operation_id="get_job", response_model=JobAnswer, responses={**declared(), 304: {}})
def get_job(
    door: DoorDep, caller: CallerDep, job_id: JobIdDep, if_none_match: Annotated[str | None, Header()] = None
) -> Any:
    """The job, with a strong ETag."""
    with door.database.reading() as session:
        answer = queued_answer(session, jobs.get(session, job_id, project=caller.project), door)
    return tagged(answer, if_none_match)


@router.patch(
    "/{job_id}",
    operation_id="update_job",
    response_model=JobAnswer,
    responses=declared(412, 415),
    openapi_extra=body("JobChanges"),
)
def update_job(
    door: DoorDep,
    caller: CallerDep,
    job_id: JobIdDep,
    posted: Annotated[Posted[JobChanges], Depends(JsonBody(JobChanges))],
    if_match: Annotated[str | None, Header()] = None,
) -> Any:
    """Changes name, labels or priority (scope admin). `If-Match` guards against a change in between."""
    changes = posted.value.model_dump(exclude_unset=True)
    if "priority" in changes:
        require(caller, "admin")
    with door.database.writing.begin() as session:
        job = jobs.get(session, job_id, project=caller.project)
        require_match(queued_answer(session, job, door), if_match)
        job = jobs.change(session, job_id, **changes)
        if "priority" in changes:
            note(session, caller, "job.priority", job_id, {"priority": job.priority})
        answer = queued_answer(session, job, door)
    return tagged(answer, None)


@router.delete("/{job_id}", operation_id="delete_job", status_code=204, responses=declared(409, 412))
def delete_job(
    door: DoorDep, caller: CallerDep, job_id: JobIdDep, if_match: Annotated[str | None, Header()] = None
) -> Response:
    """Deletes a job that has ended, with all that it left. Jobs of comparisons are kept."""
    with door.database.writing.begin() as session:
        job = jobs.get(session, job_id, project=caller.project)
        require_match(job_answer(job), if_match)
        listing.remove(session, job)
        note(session, caller, "job.delete", job_id, {"status": job.status})
    for folder in (door.settings.artifacts_dir, door.settings.attempts_dir):
        shutil.rmtree(folder / job_id, ignore_errors=True)
    return Response(status_code=204)
