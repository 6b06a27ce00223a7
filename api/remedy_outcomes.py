"""What became of a fork that tried a remedy: whether it helped, or why it did not."""

import math
from typing import Any

from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from api.answers import Time
from api.rows import rfc3339
from store import series
from store.tables import Job
from store.verdict_tables import Application

_JUDGED_SPLITS = ("validation", "train")
_FIRST_STEPS = 100
"""Where the first loss is looked for; the first step is measured in any job that is measured."""


class AppliedAnswer(BaseModel):
    """A fork with a remedy, and whether the remedy helped."""

    job_id: str
    remedy: int = Field(description="place in `remedies`")
    created_at: Time
    status: str | None = Field(description="of the fork; null: it was deleted")
    helped: bool | None = Field(
        description="the fork succeeded without this verdict, and its loss is neither higher than this job's nor than "
        "where its own training began; null: cannot be told"
    )
    reason: str | None = Field(
        description="why it did not help: fork_failed, verdict_again, no_finite_loss, loss_higher, loss_above_first; "
        "or why that cannot be told: fork_deleted, fork_not_ended, fork_cancelled, fork_expired, no_loss_before"
    )
    verdict_gone: bool | None = Field(description="whether the fork has no verdict of this code")
    split: str | None = Field(description="split of the losses")
    loss_before: float | None = Field(description="of this job; null: it has none that is finite")
    loss_after: float | None = Field(description="of the fork")
    loss_first: float | None = Field(description="of the fork's first batches; null: none was measured")


def applied_answer(
    session: Session, application: Application, job: Job, fork: Job | None, *, gone: bool
) -> AppliedAnswer:
    """The fork as it stands. ``gone``: it has no verdict of the code that was to be mended."""
    split, before, after = _losses(job, fork)
    ended = fork is not None and fork.status == "succeeded"
    first = _first_loss(session, fork.id) if fork is not None and ended else None
    reason = _shortcoming(gone=gone, before=before, after=after, first=first) if ended else _unended(fork)
    return AppliedAnswer(
        job_id=application.job_id,
        remedy=application.remedy,
        created_at=rfc3339(application.created_at),
        status=None if fork is None else fork.status,
        helped=_helped(reason, ended=ended),
        reason=reason,
        verdict_gone=gone if ended else None,
        split=split,
        loss_before=before,
        loss_after=after,
        loss_first=first,
    )


def _helped(reason: str | None, *, ended: bool) -> bool | None:
    if reason is None:
        return True
    told = reason == "fork_failed" or (ended and reason != "no_loss_before")
    return False if told else None


def _shortcoming(*, gone: bool, before: float | None, after: float | None, first: float | None) -> str | None:
    """Why a fork that succeeded did not help. A loss that is finite is not yet healed: it may be far above chance."""
    if not gone:
        return "verdict_again"
    if after is None:
        return "no_finite_loss"
    if before is not None and after > before:
        return "loss_higher"
    if first is not None and after > first:
        return "loss_above_first"
    return "no_loss_before" if before is None and first is None else None


def _unended(fork: Job | None) -> str:
    if fork is None:
        return "fork_deleted"
    return "fork_not_ended" if fork.phase != "terminal" else f"fork_{fork.status}"


def _first_loss(session: Session, job_id: str) -> float | None:
    """The first training loss that is finite."""
    found = series.read(session, job_id, names=["loss"], splits=["train"], step_to=_FIRST_STEPS)
    values = [float(value) for points in found if points.layer is None for value in points.values]
    return next(filter(math.isfinite, values), None)


def _losses(job: Job, fork: Job | None) -> tuple[str | None, float | None, float | None]:
    """The split that tells most of what the fork has, and both losses on it."""
    after = _metrics(fork)
    for split in _JUDGED_SPLITS:
        if "loss" in after.get(split, {}):
            return split, _metrics(job).get(split, {}).get("loss"), after[split]["loss"]
    return None, None, None


def _metrics(job: Job | None) -> dict[str, dict[str, Any]]:
    return {} if job is None or job.result is None else job.result.get("metrics", {})
