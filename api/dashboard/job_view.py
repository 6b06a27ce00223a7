"""What a job's page says, as far as the server knows it; the browser keeps it up to date through the API."""

import json
import time
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from api import verdict_answers
from api.answers import JobAnswer
from api.callers import Caller
from api.dashboard import tables
from api.dashboard.formats import duration, figure, words
from api.dashboard.job_lines import metric_text, took
from api.dashboard.static_files import PLOTLY
from api.dashboard.verdict_lines import verdict_lines
from api.dependencies import Door
from api.routes.diagnostics import summarized
from api.routes.events import EventAnswer
from api.rows import attempt_answer, dataset_name, rfc3339
from api.submission import queued_answer
from store import artifacts, jobs, probes, summaries
from store.tables import Attempt, Event

SHOWN_EVENTS = 50
SHOWN_PROBES = 20
QUIET = ("progress", "metrics")
"""Types of events that the progress bar and the charts show."""


def job_view(session: Session, job_id: str, door: Door, caller: Caller) -> dict[str, Any]:
    """The content of ``job.html``, or NotFound."""
    row = jobs.get(session, job_id, project=caller.project)
    job = queued_answer(session, row, door)
    diagnostics = summarized(summaries.read(session, job_id), row.result, row.diagnostics, row.receipt)
    attempts = [attempt_answer(found) for found in _attempts(session, job_id)]
    cost = job.result.cost if job.result else (attempts[-1].cost if attempts else None)
    resolved = job.resolved_spec
    return {
        "job": job,
        "plotly": PLOTLY,
        "last_sequence": row.event_sequence,
        "done": _done(job),
        "progress_text": _progress_text(job),
        "reason": job.status_reason.message if job.status_reason and not job.error else "",
        "error_text": _error_text(job),
        "network": _network(resolved["network"]),
        "dataset": dataset_name(resolved),
        "optimizer": _optimizer(resolved["optimizer"]),
        "device": (attempts[-1].device if attempts else None) or resolved["resources"]["device"],
        "took": took(job, now=time.time()),
        "best_text": _best_text(job),
        "verdicts": verdict_lines(verdict_answers.of_job(session, row).data),
        "result_table": tables.result_table(job, diagnostics),
        "bill_table": tables.bill_table(cost, diagnostics),
        "layer_table": tables.layer_table(diagnostics),
        "file_table": tables.file_table(
            job_id, artifacts.of_job(session, job_id), artifacts.checkpoints(session, job_id)
        ),
        "probe_table": tables.probe_table(job_id, probes.of_job(session, job_id, limit=SHOWN_PROBES)),
        "attempt_table": tables.attempt_table(attempts),
        "event_table": tables.event_table(_events(session, job_id, row.event_sequence)),
        "resolved_spec": json.dumps(resolved, indent=2, ensure_ascii=False),
        "spec_patch": json.dumps(job.spec_patch, indent=2, ensure_ascii=False) if job.spec_patch else None,
    }


def _attempts(session: Session, job_id: str) -> list[Attempt]:
    return list(session.scalars(select(Attempt).where(Attempt.job_id == job_id).order_by(Attempt.number)))


def _events(session: Session, job_id: str, last: int) -> list[EventAnswer]:
    wanted = select(Event).where(Event.job_id == job_id, Event.sequence <= last, Event.type.not_in(QUIET))
    found = session.scalars(wanted.order_by(Event.sequence.desc()).limit(SHOWN_EVENTS))
    return [
        EventAnswer(
            sequence=event.sequence,
            event_id=event.id,
            type=event.type,
            attempt=event.attempt,
            created_at=rfc3339(event.created_at),
            data=event.detail,
        )
        for event in reversed(list(found))
    ]


def _done(job: JobAnswer) -> float:
    progress = job.progress
    if job.status == "succeeded":
        return 1.0
    if progress is None or progress.step is None or not progress.steps:
        return 0.0
    return min(1.0, progress.step / progress.steps)


def _progress_text(job: JobAnswer) -> str:
    progress = job.progress
    if progress is None:
        return ""
    parts = []
    if progress.epoch is not None:
        parts.append(f"epoch {progress.epoch}" + (f" of {progress.epochs}" if progress.epochs else ""))
    if progress.step is not None:
        parts.append(f"step {figure(progress.step)}" + (f" of {figure(progress.steps)}" if progress.steps else ""))
    if progress.samples_per_s is not None:
        parts.append(f"{figure(round(progress.samples_per_s))} samples/s")
    if progress.eta_s is not None:
        parts.append(f"{duration(progress.eta_s)} left")
    return " · ".join(parts)


def _error_text(job: JobAnswer) -> str:
    error = job.error
    if error is None:
        return ""
    told = error.step is None or f"step {error.step}" in error.message
    step = "" if told else f" Step {error.step}."
    return f"{words(error.kind)} (fault: {error.fault}): {error.message}{step}"


def _network(spec: dict[str, Any]) -> str:
    hidden = spec.get("hidden")
    return f"{spec['kind']} {' – '.join(map(str, hidden))}" if hidden else str(spec["kind"])


def _optimizer(spec: dict[str, Any]) -> str:
    return f"{words(spec['kind'])}, rate {spec['lr']:g}" if "lr" in spec else words(spec["kind"])


def _best_text(job: JobAnswer) -> str:
    best = job.result.best if job.result else None
    if best is None or best.value is None or best.metric is None:
        return ""
    text = f"Best {words(best.metric)} on {best.split}: {metric_text(best.metric, best.value)} at step {best.step}."
    restored = (best.model_extra or {}).get("restored")
    return f"{text} The saved weights are those of that step." if restored else text
