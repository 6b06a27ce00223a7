"""The table of probes: measurements of a job's newest weights that somebody asked for."""

from typing import Any

from sqlalchemy import JSON, CheckConstraint, ForeignKey, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from store.leases import LeasedTable


class Probe(LeasedTable):
    """A measurement, and what became of it."""

    __tablename__ = "probes"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    other_job_id: Mapped[str | None] = mapped_column(String(40))
    kind: Mapped[str] = mapped_column(String(40))
    spec: Mapped[dict[str, Any]]
    step: Mapped[int | None]
    weights: Mapped[str | None] = mapped_column(String(16))
    result: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    error: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))

    __table_args__ = (
        CheckConstraint("status IN ('queued', 'running', 'done', 'failed')", name="status"),
        CheckConstraint("(status = 'done') = (result IS NOT NULL)", name="result_means_done"),
        Index("ix_probes_job", "job_id", "id"),
        Index(
            "ix_probes_open",
            "created_at",
            sqlite_where=text("finished_at IS NULL"),
            postgresql_where=text("finished_at IS NULL"),
        ),
    )
