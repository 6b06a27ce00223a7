"""The tables. Times are seconds since 1970 by the database's clock; see migrations/ for how they came to be."""

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Computed,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

PENDING = ("queued", "paused")
ACTIVE = ("starting", "running", "pausing", "cancelling", "finalizing")
TERMINAL = ("succeeded", "failed", "cancelled", "expired")
DEFAULT_PROJECT = "default"
"""Whose everything is where no keys are asked for."""

_PHASE = (
    "CASE WHEN status IN ('queued','paused') THEN 'pending' "
    "WHEN status IN ('starting','running','pausing','cancelling','finalizing') THEN 'active' ELSE 'terminal' END"
)
_BIG = BigInteger().with_variant(Integer, "sqlite")


class Table(DeclarativeBase):
    """The base of all tables, with names for every constraint so that migrations can speak of them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {dict[str, Any]: JSON(none_as_null=True), float: Double(), str: Text()}


class Job(Table):
    """A job: what was asked, where it stands, what came out. ``attempt`` is the fence of every worker write."""

    __tablename__ = "jobs"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    project: Mapped[str] = mapped_column(String(64), default=DEFAULT_PROJECT, server_default=DEFAULT_PROJECT)
    name: Mapped[str | None]
    labels: Mapped[dict[str, Any]]
    priority: Mapped[int] = mapped_column(default=0)
    spec: Mapped[dict[str, Any]]
    resolved_spec: Mapped[dict[str, Any]]
    forked_from: Mapped[str | None] = mapped_column(String(40))
    spec_patch: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    learner: Mapped[str] = mapped_column(String(40))
    network: Mapped[str] = mapped_column(String(40))
    dataset: Mapped[str] = mapped_column(String(80))
    resource_class: Mapped[str] = mapped_column(String(8))

    status: Mapped[str] = mapped_column(String(16), default="queued")
    phase: Mapped[str] = mapped_column(String(8), Computed(_PHASE, persisted=True))
    desired_state: Mapped[str] = mapped_column(String(8), default="run")
    reason_code: Mapped[str | None] = mapped_column(String(40))
    reason_message: Mapped[str | None]
    reason_since: Mapped[float | None]

    attempt: Mapped[int] = mapped_column(default=0)
    charged_attempts: Mapped[int] = mapped_column(default=0)
    max_attempts: Mapped[int] = mapped_column(default=3)
    worker_id: Mapped[str | None] = mapped_column(String(40))
    lease_expires_at: Mapped[float | None]

    step: Mapped[int] = mapped_column(default=0)
    progress: Mapped[dict[str, Any] | None]
    result: Mapped[dict[str, Any] | None]
    error: Mapped[dict[str, Any] | None]
    diagnostics: Mapped[dict[str, Any] | None]
    receipt: Mapped[dict[str, Any] | None]
    checkpoint_id: Mapped[str | None] = mapped_column(String(40))

    max_pending_s: Mapped[float | None]
    created_at: Mapped[float]
    queued_at: Mapped[float]
    started_at: Mapped[float | None]
    finished_at: Mapped[float | None]
    version: Mapped[int] = mapped_column(default=1)
    event_sequence: Mapped[int] = mapped_column(default=0)

    __table_args__ = (
        CheckConstraint("desired_state IN ('run', 'pause', 'cancel')", name="desired_state"),
        CheckConstraint(
            "status IN ('queued','paused','starting','running','pausing','cancelling','finalizing',"
            "'succeeded','failed','cancelled','expired')",
            name="status",
        ),
        CheckConstraint("(status = 'succeeded') = (result IS NOT NULL)", name="result_means_succeeded"),
        Index(
            "ix_jobs_queue",
            "resource_class",
            "project",
            text("priority DESC"),
            "created_at",
            "id",
            sqlite_where=text("status = 'queued'"),
            postgresql_where=text("status = 'queued'"),
        ),
        Index(
            "ix_jobs_leases",
            "lease_expires_at",
            sqlite_where=text("phase = 'active'"),
            postgresql_where=text("phase = 'active'"),
        ),
        Index(
            "ix_jobs_running",
            "project",
            sqlite_where=text("phase = 'active'"),
            postgresql_where=text("phase = 'active'"),
        ),
        Index("ix_jobs_created", "project", "created_at", "id"),
        Index("ix_jobs_status", "project", "status", "created_at", "id"),
    )


class Attempt(Table):
    """One execution of a job, inserted with the claim."""

    __tablename__ = "attempts"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    worker_id: Mapped[str] = mapped_column(String(40))
    host: Mapped[str]
    worker_pid: Mapped[int]
    trainer_pid: Mapped[int | None]
    device: Mapped[str | None]
    started_at: Mapped[float]
    ended_at: Mapped[float | None]
    exit_cause: Mapped[str | None] = mapped_column(String(40))
    resumed_from_step: Mapped[int | None]
    cost: Mapped[dict[str, Any] | None]


class Event(Table):
    """Something that happened to a job; ``sequence`` counts from 1 within the job."""

    __tablename__ = "events"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    sequence: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(String(40))
    type: Mapped[str] = mapped_column(String(16))
    attempt: Mapped[int]
    created_at: Mapped[float]
    detail: Mapped[dict[str, Any]]


class LogLine(Table):
    """A piece of what a trainer printed."""

    __tablename__ = "log_lines"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    sequence: Mapped[int] = mapped_column(primary_key=True)
    attempt: Mapped[int]
    created_at: Mapped[float]
    message: Mapped[str]


class SeriesBlock(Table):
    """Series that share a step grid and a scope; names and units are stored once.

    ``summary`` is there once the job is over and its points are merged (see ``summaries``).
    """

    __tablename__ = "series_blocks"

    id: Mapped[int] = mapped_column(_BIG, primary_key=True, autoincrement=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    key: Mapped[str] = mapped_column(String(64))
    layer: Mapped[str | None]
    layer_index: Mapped[int]
    parameter: Mapped[str | None]
    split: Mapped[str | None] = mapped_column(String(12))
    quantities: Mapped[list[str]] = mapped_column(JSON)
    units: Mapped[list[str]] = mapped_column(JSON)
    summary: Mapped[bytes | None] = mapped_column(LargeBinary)

    __table_args__ = (
        UniqueConstraint("job_id", "key"),
        Index(
            "ix_series_blocks_unmerged",
            "job_id",
            sqlite_where=text("summary IS NULL"),
            postgresql_where=text("summary IS NULL"),
        ),
    )


class SeriesSegment(Table):
    """``count`` points of a block by one attempt: steps, then float32 values [quantity, count] (see ``segments``)."""

    __tablename__ = "series_segments"

    block_id: Mapped[int] = mapped_column(
        _BIG, ForeignKey("series_blocks.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    attempt: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    step_from: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    step_to: Mapped[int]
    count: Mapped[int]
    points: Mapped[bytes] = mapped_column(LargeBinary)


class SeriesRollup(Table):
    """Cells of ``level`` points each, over ``count`` points of a merged block (see ``rollups``)."""

    __tablename__ = "series_rollups"

    block_id: Mapped[int] = mapped_column(
        _BIG, ForeignKey("series_blocks.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    level: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    step_from: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    step_to: Mapped[int]
    count: Mapped[int]
    lost: Mapped[int]
    cells: Mapped[bytes] = mapped_column(LargeBinary)


class Checkpoint(Table):
    """A checkpoint file, registered after it stands."""

    __tablename__ = "checkpoints"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), index=True)
    attempt: Mapped[int]
    step: Mapped[int]
    path: Mapped[str]
    sha256: Mapped[str] = mapped_column(String(64))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[float]


class Artifact(Table):
    """A file that a job leaves: weights, predictions, logs."""

    __tablename__ = "artifacts"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(String(200), primary_key=True)
    attempt: Mapped[int]
    path: Mapped[str]
    sha256: Mapped[str] = mapped_column(String(64))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    media_type: Mapped[str]
    created_at: Mapped[float]


class Worker(Table):
    """A worker process that lives, or lived, by its last heartbeat."""

    __tablename__ = "workers"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    host: Mapped[str]
    pid: Mapped[int]
    classes: Mapped[list[str]] = mapped_column(JSON)
    slots: Mapped[int]
    busy: Mapped[int] = mapped_column(default=0)
    devices: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    launcher: Mapped[dict[str, Any]]
    versions: Mapped[dict[str, Any]]
    started_at: Mapped[float]
    seen_at: Mapped[float]
    stopped_at: Mapped[float | None]


class IdempotencyKey(Table):
    """A key that a client sent with a POST, stored before the work starts."""

    __tablename__ = "idempotency_keys"

    project: Mapped[str] = mapped_column(String(64), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    request_sha256: Mapped[str] = mapped_column(String(64))
    job_id: Mapped[str | None] = mapped_column(String(40))
    created_at: Mapped[float]
