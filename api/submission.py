"""A new job: made once for each Idempotency-Key, on a device that is chosen here."""

from collections.abc import Callable, Sequence
from typing import Any

from fastapi import Response
from sqlalchemy.orm import Session

from api.answers import JobAnswer
from api.callers import Caller
from api.creation import create_once
from api.dependencies import Door
from api.errors import Refused
from api.problems import ProblemItem
from api.quotas import check_new_job
from api.rows import dataset_name, job_answer, resource_class
from specs.job import JobSpec
from store import datasets, jobs, workers
from store.errors import NotFound
from store.tables import Job


def submit(
    door: Door,
    caller: Caller,
    spec: JobSpec,
    *,
    posted: Any,
    key: str | None,
    request_sha256: str,
    forked_from: str | None = None,
    patch: Sequence[dict[str, Any]] | None = None,
    priority: int = 0,
    also: Callable[[Session, Job], None] | None = None,
    known: Callable[[Session], str | None] | None = None,
) -> Response:
    """202 with the new job; 200 with the job of an earlier request with the same key and body, or with the ``known``.

    ``also`` writes what else belongs to the new job, in its transaction.
    """

    check_new_job(door, caller)

    def make(session: Session) -> Job:
        resolved = with_device(session, spec.resolved(), door)
        require_dataset(session, resolved, caller.project)
        job = jobs.create(
            session,
            spec=posted,
            resolved_spec=resolved,
            resource_class=resource_class(resolved),
            dataset=dataset_name(resolved),
            forked_from=forked_from,
            spec_patch=None if patch is None else list(patch),
            priority=priority,
            project=caller.project,
        )
        if also is not None:
            also(session, job)
        return job

    return create_once(
        door,
        project=caller.project,
        at="/v1/jobs",
        key=key,
        request_sha256=request_sha256,
        make=make,
        read=lambda session, job_id: queued_answer(session, jobs.get(session, job_id, project=caller.project), door),
        known=known,
    )


def with_device(session: Session, resolved: dict[str, Any], door: Door) -> dict[str, Any]:
    """``auto`` written out: it decides the numbers, so a later attempt must not choose again."""
    if resolved["resources"]["device"] == "auto":
        classes = {name for worker in workers.living(session, lease_s=door.settings.lease_s) for name in worker.classes}
        resolved["resources"]["device"] = "cuda" if "gpu" in classes else "cpu"
    return resolved


def require_dataset(session: Session, resolved: dict[str, Any], project: str) -> None:
    """Refused with 422 where the spec names an upload that this project does not have."""
    dataset = resolved["dataset"]
    if dataset["kind"] != "uploaded":
        return
    try:
        datasets.get(session, dataset["id"], project=project)
    except NotFound as error:
        item = ProblemItem(
            pointer="/dataset/id", code="no_such_dataset", detail=str(error), allowed=["GET /v1/datasets"]
        )
        raise Refused("invalid_request", str(error), errors=[item]) from None


def queued_answer(session: Session, job: Job, door: Door) -> JobAnswer:
    """The job, with its place where it waits."""
    if job.status != "queued":
        return job_answer(job)
    most = door.settings.quotas.running_jobs
    return job_answer(job, workers.place(session, job, lease_s=door.settings.lease_s, most_of_a_project=most))
