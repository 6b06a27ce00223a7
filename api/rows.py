"""Rows of the store as answers of the service."""

from datetime import UTC, datetime
from typing import Any, Literal, cast, overload

from api.answers import AttemptAnswer, JobAnswer, StatusReason
from store.key_tables import ApiKey
from store.tables import Attempt, Job
from store.workers import Place


@overload
def rfc3339(seconds: float) -> str: ...
@overload
def rfc3339(seconds: None) -> None: ...
def rfc3339(seconds: float | None) -> str | None:
    """Seconds since 1970 as RFC 3339 in UTC."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def job_answer(job: Job, place: Place | None = None) -> JobAnswer:
    """The job; ``place`` is where a queued one stands."""
    patch: Any = job.spec_patch["patch"] if job.spec_patch else None
    return JobAnswer.model_validate(
        {
            "id": job.id,
            "name": job.name,
            "labels": job.labels,
            "priority": job.priority,
            "spec": job.spec,
            "resolved_spec": job.resolved_spec,
            "forked_from": job.forked_from,
            "spec_patch": patch,
            "status": job.status,
            "phase": job.phase,
            "desired_state": job.desired_state,
            "status_reason": _reason(job, place),
            "attempt": job.attempt,
            "progress": job.progress,
            "result": job.result,
            "error": job.error,
            "created_at": rfc3339(job.created_at),
            "started_at": rfc3339(job.started_at),
            "finished_at": rfc3339(job.finished_at),
            "version": job.version,
        }
    )


def _reason(job: Job, place: Place | None) -> StatusReason | None:
    if job.reason_code is None:
        return None
    since = rfc3339(cast(float, job.reason_since))
    if place is None:
        return StatusReason(code=job.reason_code, message=job.reason_message or "", since=since)
    message = place.message
    if place.position:
        message = f"{message} Position {place.position} of its project's queue, {place.jobs_ahead} ahead."
    return StatusReason(code=place.code, message=message, since=since)


def attempt_answer(row: Attempt) -> AttemptAnswer:
    """One execution."""
    return AttemptAnswer.model_validate(
        {
            "number": row.number,
            "worker_id": row.worker_id,
            "host": row.host,
            "worker_pid": row.worker_pid,
            "trainer_pid": row.trainer_pid,
            "device": row.device,
            "started_at": rfc3339(row.started_at),
            "ended_at": rfc3339(row.ended_at),
            "exit_cause": row.exit_cause,
            "resumed_from_step": row.resumed_from_step,
            "cost": row.cost,
        }
    )


def key_fields(row: ApiKey) -> dict[str, Any]:
    """A key without its text, which nobody has."""
    times = {name: rfc3339(getattr(row, name)) for name in ("created_at", "expires_at", "revoked_at", "last_used_at")}
    return {"id": row.id, "project": row.project, "name": row.name, "scopes": row.scopes, **times}


ResourceClass = Literal["cpu", "gpu"]


def resource_class(resolved_spec: dict[str, Any]) -> ResourceClass:
    """The queue of a job."""
    return "gpu" if resolved_spec["resources"]["device"] == "cuda" else "cpu"


def dataset_name(resolved_spec: dict[str, Any]) -> str:
    """The name by which jobs are filtered: the data set's own, the file's, or the upload's id."""
    dataset = resolved_spec["dataset"]
    return str(dataset.get("name") or dataset.get("path") or dataset.get("id") or dataset["kind"])[:80]
