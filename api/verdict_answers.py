"""Verdicts as answers: root causes first, and what became of the forks that tried a remedy."""

from collections.abc import Sequence

from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from api.answers import Page, Time
from api.remedy_outcomes import AppliedAnswer, applied_answer
from api.rows import rfc3339
from specs.verdict_kinds import KIND_OF, root_causes_first
from specs.verdicts import Evidence, Remedy
from store import verdicts
from store.tables import Job
from store.verdict_tables import Verdict


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
            applied_answer(session, application, job, fork, gone=fork is not None and row.code not in codes[fork.id])
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
