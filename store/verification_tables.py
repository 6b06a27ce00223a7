"""The table of verifications: replays of jobs that have ended, compared with what they left."""

from typing import Any

from sqlalchemy import JSON, CheckConstraint, ForeignKey, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from store.leases import LeasedTable


class Verification(LeasedTable):
    """A replay from a kept checkpoint or from the start (``from_step`` 0), and what it came to."""

    __tablename__ = "verifications"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    resource_class: Mapped[str] = mapped_column(String(8))
    from_step: Mapped[int]
    tolerance: Mapped[float]
    verdict: Mapped[str | None] = mapped_column(String(16))
    result: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    error: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))

    __table_args__ = (
        CheckConstraint("status IN ('queued', 'running', 'done', 'failed')", name="status"),
        CheckConstraint("(status = 'done') = (result IS NOT NULL)", name="result_means_done"),
        CheckConstraint("verdict IN ('bitwise', 'tolerance', 'different')", name="verdict"),
        Index("ix_verifications_job", "job_id", "id"),
        Index(
            "ix_verifications_open",
            "created_at",
            sqlite_where=text("finished_at IS NULL"),
            postgresql_where=text("finished_at IS NULL"),
        ),
    )
