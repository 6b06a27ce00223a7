"""What the jobs of comparisons come to: how many stand where, and their receipts."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from store.comparison_tables import ComparisonRun
from store.tables import Job


def counts(session: Session, comparison_ids: Sequence[str]) -> dict[str, dict[str, int]]:
    """Runs of each comparison by the status of their jobs; planned before there is one, deleted after."""
    found: dict[str, dict[str, int]] = {}
    without = case((ComparisonRun.queued.is_(True), "deleted"), else_="planned")
    standing = func.coalesce(Job.status, without)
    asked = (
        select(ComparisonRun.comparison_id, standing, func.count())
        .outerjoin(Job, Job.id == ComparisonRun.job_id)
        .where(ComparisonRun.comparison_id.in_(comparison_ids))
        .group_by(ComparisonRun.comparison_id, standing)
    )
    for comparison_id, status, count in session.execute(asked):
        found.setdefault(comparison_id, {})[status] = count
    return found


def receipts(session: Session, comparison_id: str) -> dict[str, dict[str, Any] | None]:
    """The receipt of each job."""
    asked = (
        select(Job.id, Job.receipt)
        .join(ComparisonRun, ComparisonRun.job_id == Job.id)
        .where(ComparisonRun.comparison_id == comparison_id)
    )
    return {job_id: receipt for job_id, receipt in session.execute(asked)}  # noqa: C416  # rows are no pairs to mypy
