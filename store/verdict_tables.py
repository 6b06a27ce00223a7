"""The tables of verdicts: the faults that were found in jobs, and the forks that try their remedies."""

from typing import Any

from sqlalchemy import JSON, ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from store.tables import Table


class Verdict(Table):
    """The newest word on one code and layer of a job. ``layer`` is empty for the whole network."""

    __tablename__ = "verdicts"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    code: Mapped[str] = mapped_column(String(40))
    layer: Mapped[str]
    severity: Mapped[str] = mapped_column(String(8))
    first_step: Mapped[int]
    last_step: Mapped[int]
    evidence: Mapped[dict[str, Any]]
    remedies: Mapped[list[dict[str, Any]]] = mapped_column(JSON(none_as_null=True))
    rule_version: Mapped[int]
    attempt: Mapped[int]
    created_at: Mapped[float]

    __table_args__ = (UniqueConstraint("job_id", "code", "layer"),)


class Application(Table):
    """A fork of the job with a verdict's remedy. The fork may be deleted; that it was tried stays."""

    __tablename__ = "verdict_applications"

    verdict_id: Mapped[str] = mapped_column(ForeignKey("verdicts.id", ondelete="CASCADE"), primary_key=True)
    job_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    remedy: Mapped[int]
    created_at: Mapped[float]
