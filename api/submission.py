"""A new job: written under its Idempotency-Key in one transaction, then the bell."""

from collections.abc import Callable, Sequence
from typing import Any

from fastapi import Response
from sqlalchemy.orm import Session

from api.answers import JobAnswer
from api.conditional import etag_of
from api.dependencies import Door
from api.rows import dataset_name, job_answer, resource_class
from specs.job import JobSpec
from store import idempotency, jobs, workers
from store.tables import Job


def submit(
    door: Door,
    spec: JobSpec,
    *,
    posted: Any,
    key: str | None,
    request_sha256: str,
    forked_from: str | None = None,
    patch: Sequence[dict[str, Any]] | None = None,
    also: Callable[[Session, Job], None] | None = None,
) -> Response:
    """202 with the new job; 200 with the job of an earlier request with the same key and body.

    ``also`` writes what else belongs to the new job, in its transaction.
    """
    with door.database.writing.begin() as session:
        earlier = idempotency.begin(session, key, request_sha256=request_sha256) if key else None
        if earlier is not None:
            return _answer(queued_answer(session, jobs.get(session, earlier), door), replayed=True)
        resolved = with_device(session, spec.resolved(), door)
        job = jobs.create(
            session,
            spec=posted,
            resolved_spec=resolved,
            resource_class=resource_class(resolved),
            dataset=dataset_name(resolved),
            forked_from=forked_from,
            spec_patch=None if patch is None else list(patch),
        )
        if also is not None:
            also(session, job)
        if key:
            idempotency.finish(session, key, job_id=job.id)
        session.refresh(job)
        answer = queued_answer(session, job, door)
    door.bell.ring(job.resource_class)
    return _answer(answer, replayed=False)


def with_device(session: Session, resolved: dict[str, Any], door: Door) -> dict[str, Any]:
    """``auto`` written out: it decides the numbers, so a later attempt must not choose again."""
    if resolved["resources"]["device"] == "auto":
        classes = {name for worker in workers.living(session, lease_s=door.settings.lease_s) for name in worker.classes}
        resolved["resources"]["device"] = "cuda" if "gpu" in classes else "cpu"
    return resolved


def queued_answer(session: Session, job: Job, door: Door) -> JobAnswer:
    """The job, with its place where it waits."""
    if job.status != "queued":
        return job_answer(job)
    return job_answer(job, workers.place(session, job, lease_s=door.settings.lease_s))


def _answer(answer: JobAnswer, *, replayed: bool) -> Response:
    body = answer.model_dump_json().encode()
    headers = {"Location": f"/v1/jobs/{answer.id}", "ETag": etag_of(body)}
    if replayed:
        headers["Idempotent-Replayed"] = "true"
    return Response(body, status_code=200 if replayed else 202, media_type="application/json", headers=headers)
