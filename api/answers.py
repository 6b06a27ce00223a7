"""The shapes of the answers about a job. Objects that workers fill may carry more than is named here."""

from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

Item = TypeVar("Item")
Number = float | None
Time = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]
"""RFC 3339, UTC."""


class Filled(BaseModel):
    """An object that a worker fills; further fields pass through."""

    model_config = ConfigDict(extra="allow")


class StatusReason(BaseModel):
    """Why a job stands where it stands."""

    code: str
    message: str
    since: Time | None = None


class Progress(Filled):
    """How far training is."""

    epoch: int | None = None
    epochs: int | None = None
    step: int | None = None
    steps: int | None = None
    samples_per_s: Number = None
    eta_s: Number = None


class Energy(Filled):
    """Measured joules, or null with the reason."""

    joules: Number = Field(default=None, description="gross: all that the counter rose by")
    source: str | None = None
    reason: str | None = None
    scope: str | None = Field(default=None, description="device: the counter is the whole device's, whoever used it")
    window_s: Number = Field(default=None, description="seconds that the counter was read over")
    joules_above_idle: Number = Field(default=None, description="without what the device takes at rest")
    idle_watts: Number = Field(default=None, description="at rest, measured before the job's first kernel")
    idle_reason: str | None = Field(default=None, description="why there is no baseline")
    exclusive: bool | None = Field(
        default=None, description="whether nobody else used the device in the window; null where that cannot be told"
    )
    start_celsius: Number = Field(default=None, description="the device's temperature at the start of the attempt")
    joules_per_sample: Number = Field(default=None, description="gross joules over the rows trained on")


class Cost(Filled):
    """The bill."""

    wall_s: Number = None
    cpu_s: Number = None
    flops: Number = None
    peak_bytes: Number = None
    parameters: Number = Field(default=None, description="numbers that the rule trains")
    parameters_frozen: Number = Field(
        default=None,
        description="numbers that the job holds and no step changes: a frozen trunk, fixed feedback matrices, a "
        "read-out that the rule has its own instead of, running statistics; trained + frozen is all that it holds",
    )
    parameters_deployed: Number = Field(default=None, description="numbers that a prediction reads, trained or frozen")
    parameters_training_only: Number = Field(
        default=None,
        description="all others that the job holds: heads, feedback matrices, networks that only train; deployed + "
        "training-only = trained + frozen",
    )
    energy: Energy | None = None
    predicted: dict[str, Any] | None = Field(
        default=None, description="training_s, flops and peak_bytes as the first steps let expect them, to compare"
    )


class Best(Filled):
    """The best evaluation of the watched metric."""

    metric: str | None = None
    split: str | None = None
    value: Number = None
    step: int | None = None


class Result(Filled):
    """What a job that succeeded gives."""

    metrics: dict[str, dict[str, Number]] = Field(default_factory=dict, description="by split, then by metric")
    best: Best | None = None
    cost: Cost | None = None
    weights_sha256: str | None = None


class JobError(Filled):
    """Why a job failed, and whose fault it is."""

    kind: str
    fault: str = Field(description="user, system or resource")
    message: str
    step: int | None = None


class JobAnswer(BaseModel):
    """A job. ``status`` may get new values; ``phase`` never does."""

    id: str
    name: str | None
    labels: dict[str, str]
    priority: int
    spec: dict[str, Any] = Field(description="as it was posted")
    resolved_spec: dict[str, Any] = Field(description="with every default written out")
    forked_from: str | None = Field(description="the job that this one is a retry of")
    spec_patch: list[dict[str, Any]] | None = Field(description="JSON Patch from that job's resolved spec to this one")
    status: str = Field(
        description="queued, starting, running, pausing, paused, cancelling, finalizing, succeeded, failed, cancelled, "
        "expired; an open set"
    )
    phase: Literal["pending", "active", "terminal"]
    desired_state: Literal["run", "pause", "cancel"]
    status_reason: StatusReason | None
    attempt: int
    progress: Progress | None
    result: Result | None
    error: JobError | None
    created_at: Time
    started_at: Time | None
    finished_at: Time | None
    version: int


class AttemptAnswer(BaseModel):
    """One execution of a job."""

    number: int
    worker_id: str
    host: str
    worker_pid: int
    trainer_pid: int | None
    device: str | None
    started_at: Time
    ended_at: Time | None
    exit_cause: str | None
    resumed_from_step: int | None
    cost: Cost | None


class Page(BaseModel, Generic[Item]):
    """A list, or one page of it."""

    data: list[Item]
    has_more: bool = False
    next_cursor: str | None = None
