"""The tables of comparisons: what was asked, and which jobs it runs."""

from typing import Any

from sqlalchemy import JSON, BigInteger, CheckConstraint, Computed, ForeignKey, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from store.tables import DEFAULT_PROJECT, Table

_PHASE = "CASE WHEN status IN ('tuning','running','cancelling') THEN 'active' ELSE 'terminal' END"


class Comparison(Table):
    """Several learners on one network and data set: what was asked, what it runs, where it stands, what came out."""

    __tablename__ = "comparisons"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    project: Mapped[str] = mapped_column(String(64), default=DEFAULT_PROJECT, server_default=DEFAULT_PROJECT)
    name: Mapped[str | None]
    labels: Mapped[dict[str, Any]]
    spec: Mapped[dict[str, Any]]
    resolved_spec: Mapped[dict[str, Any]]
    plan: Mapped[dict[str, Any]]
    network: Mapped[str] = mapped_column(String(40))
    dataset: Mapped[str] = mapped_column(String(80))
    resource_class: Mapped[str] = mapped_column(String(8))
    status: Mapped[str] = mapped_column(String(16))
    phase: Mapped[str] = mapped_column(String(8), Computed(_PHASE, persisted=True))
    chosen: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    result: Mapped[dict[str, Any] | None]
    error: Mapped[dict[str, Any] | None]
    sentence: Mapped[str | None]
    """The answer in one sentence; the list shows it without reading the whole result."""
    created_at: Mapped[float]
    finished_at: Mapped[float | None]
    version: Mapped[int] = mapped_column(default=1)

    __table_args__ = (
        CheckConstraint("status IN ('tuning','running','cancelling','succeeded','failed','cancelled')", name="status"),
        CheckConstraint("(status = 'succeeded') = (result IS NOT NULL)", name="result_means_succeeded"),
        Index("ix_comparisons_created", "project", "created_at", "id"),
        Index(
            "ix_comparisons_active",
            "created_at",
            sqlite_where=text("phase = 'active'"),
            postgresql_where=text("phase = 'active'"),
        ),
    )


class ComparisonRun(Table):
    """A job that belongs to a comparison. The key is what it is for, so that no step of a comparison happens twice."""

    __tablename__ = "comparison_runs"

    comparison_id: Mapped[str] = mapped_column(ForeignKey("comparisons.id", ondelete="CASCADE"), primary_key=True)
    stage: Mapped[str] = mapped_column(String(8), primary_key=True)
    arm: Mapped[str] = mapped_column(String(60), primary_key=True)
    trial: Mapped[int] = mapped_column(primary_key=True)
    seed: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    position: Mapped[int]
    queued: Mapped[bool] = mapped_column(default=False)
    """Whether its job was made; without a job id it was then deleted."""
    job_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id", ondelete="SET NULL"), index=True)
