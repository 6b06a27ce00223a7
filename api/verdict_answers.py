"""Verdicts as answers: root causes first, and what became of the forks that tried a remedy."""

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from api.answers import Page, Time
from api.rows import rfc3339
from specs.verdict_kinds import KIND_OF, root_causes_first
from specs.verdicts import Evidence, Remedy
from store import verdicts
from store.tables import Job
from store.verdict_tables import Application, Verdict

_JUDGED_SPLITS = ("validation", "train")


class AppliedAnswer(BaseModel):
    """A fork with a remedy, and whether the remedy helped."""

    job_id: str
    remedy: int = Field(description="place in `remedies`")
    created_at: Time
    status: str | None = Field(description="of the fork; null: it was deleted")
    helped: bool | None = Field(
        description="the fork succeeded without this verdict, and its loss is not higher; null: cannot be told"
    )
    reason: str | None = Field(
        description="why that cannot be told: fork_deleted, fork_not_ended, fork_cancelled, fork_expired"
    )
    verdict_gone: bool | None = Field(description="whether the fork has no verdict of this code")
    split: str | None = Field(description="split of the losses")
    loss_before: float | None = Field(description="of this job; null: it has none that is finite")
    loss_after: float | None = Field(description="of the fork")


class VerdictAnswer(BaseModel):
    """A fault that was found: what, where, since when, on what evidence, and what to change."""

    id: str
    code: str
    summary: str = Field(description="what the code means")
    source: str = Field(description="where its limit is from")
    severity: str = Field(description="info, warning or error")
    layer: str | None = Field(description="null: the whole network")
    first_step: int
    last_step: int = Field(description="where it was last seen; moves on while the job runs")
    evidence: Evidence
    remedies: list[Remedy] = Field(description="the most promising first")
    caused_by: str | None = Field(description="code of the verdict that explains this one; null: a root cause")
    rule_version: int
    attempt: int = Field(description="the last one that saw it")
    created_at: Time
    applied: list[AppliedAnswer] = Field(description="forks that tried a remedy, oldest first")


class VerdictPage(Page[VerdictAnswer]):
    """All verdicts of a job, root causes first."""

    not_judged: dict[str, str] | None = Field(
        description="codes that do not apply to this job, with the reason; null until the job has a result"
    )


def of_job(session: Session, job: Job) -> VerdictPage:
    """The verdicts of a job, as they stand."""
    rows = verdicts.of_job(session, job.id)
    return VerdictPage(data=_answers(session, job, rows), not_judged=(job.diagnostics or {}).get("not_judged"))


def one_of_job(session: Session, job: Job, verdict_id: str) -> VerdictAnswer:
    """One verdict of the job, or NotFound."""
    verdicts.get(session, job.id, verdict_id)
    found = _answers(session, job, verdicts.of_job(session, job.id))
    return next(answer for answer in found if answer.id == verdict_id)


def _answers(session: Session, job: Job, rows: Sequence[Verdict]) -> list[VerdictAnswer]:
    tried = verdicts.applications(session, [row.id for row in rows])
    codes = verdicts.codes_of(session, {fork.id for forks in tried.values() for _, fork in forks if fork is not None})
    answers = []
    for row, cause in root_causes_first(rows):
        applied = [
            _applied(application, job, fork, gone=fork is not None and row.code not in codes[fork.id])
            for application, fork in tried[row.id]
        ]
        answers.append(_answer(row, cause, applied))
    return answers


def _answer(row: Verdict, cause: str | None, applied: list[AppliedAnswer]) -> VerdictAnswer:
    kind = KIND_OF.get(row.code)
    return VerdictAnswer(
        id=row.id,
        code=row.code,
        summary="" if kind is None else kind.summary,
        source="" if kind is None else kind.source,
        severity=row.severity,
        layer=row.layer or None,
        first_step=row.first_step,
        last_step=row.last_step,
        evidence=Evidence.model_validate(row.evidence),
        remedies=[Remedy.model_validate(remedy) for remedy in row.remedies],
        caused_by=cause,
        rule_version=row.rule_version,
        attempt=row.attempt,
        created_at=rfc3339(row.created_at),
        applied=applied,
    )


def _applied(application: Application, job: Job, fork: Job | None, *, gone: bool) -> AppliedAnswer:
    split, before, after = _losses(job, fork)
    ended = fork is not None and fork.status == "succeeded"
    helped: bool | None = None
    if ended:
        helped = gone and after is not None and (before is None or after <= before)
    elif fork is not None and fork.status == "failed":
        helped = False
    return AppliedAnswer(
        job_id=application.job_id,
        remedy=application.remedy,
        created_at=rfc3339(application.created_at),
        status=None if fork is None else fork.status,
        helped=helped,
        reason=None if helped is not None else _untold(fork),
        verdict_gone=gone if ended else None,
        split=split,
        loss_before=before,
        loss_after=after,
    )


def _untold(fork: Job | None) -> str:
    if fork is None:
        return "fork_deleted"
    return "fork_not_ended" if fork.phase != "terminal" else f"fork_{fork.status}"


def _losses(job: Job, fork: Job | None) -> tuple[str | None, float | None, float | None]:
    """The split that tells most of what the fork has, and both losses on it."""
    after = _metrics(fork)
    for split in _JUDGED_SPLITS:
        if "loss" in after.get(split, {}):
            return split, _metrics(job).get(split, {}).get("loss"), after[split]["loss"]
    return None, None, None


def _metrics(job: Job | None) -> dict[str, dict[str, Any]]:
    return {} if job is None or job.result is None else job.result.get("metrics", {})
