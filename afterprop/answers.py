"""The shapes of the service's answers. Fields may be added; a client must not break on an unknown one."""

from typing import Any, Generic, NamedTuple, TypedDict, TypeVar

Item = TypeVar("Item")

TERMINAL = "terminal"


class ProblemItem(TypedDict, total=False):
    """One thing wrong in a request: where, what, and what would be right."""

    pointer: str
    code: str
    detail: str
    allowed: list[Any]


class Problem(TypedDict, total=False):
    """An RFC 9457 problem."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    request_id: str
    errors: list[ProblemItem]


class StatusReason(TypedDict):
    """Why a job is where it is."""

    code: str
    message: str
    since: str


class Progress(TypedDict, total=False):
    """How far training is."""

    epoch: int
    epochs: int | None
    step: int
    steps: int | None
    samples_per_s: float | None
    eta_s: float | None


class Energy(TypedDict, total=False):
    """Measured joules, or null with the reason."""

    joules: float | None
    source: str | None
    reason: str | None


class Cost(TypedDict, total=False):
    """The bill of a job."""

    wall_s: float
    cpu_s: float
    flops: float | None
    peak_bytes: int | None
    energy: Energy


class Best(TypedDict):
    """The best value of the watched metric, and when."""

    metric: str
    split: str
    value: float
    step: int


class Result(TypedDict, total=False):
    """What a job that succeeded gives."""

    metrics: dict[str, dict[str, float | None]]
    best: Best | None
    cost: Cost
    weights_sha256: str


class JobError(TypedDict, total=False):
    """Why a job failed, and whose fault it is."""

    kind: str
    fault: str
    message: str
    step: int | None


class Job(TypedDict, total=False):
    """A job as the service knows it. ``status`` may get new values; ``phase`` never does."""

    id: str
    name: str | None
    labels: dict[str, str]
    priority: int
    spec: dict[str, Any]
    resolved_spec: dict[str, Any]
    forked_from: str | None
    status: str
    phase: str
    desired_state: str
    status_reason: StatusReason | None
    attempt: int
    progress: Progress | None
    result: Result | None
    error: JobError | None
    created_at: str
    started_at: str | None
    finished_at: str | None
    version: int


class Verdict(TypedDict, total=False):
    """A fault that was found in a job, and what would mend it."""

    id: str
    code: str
    summary: str
    severity: str
    layer: str | None
    first_step: int
    last_step: int
    evidence: dict[str, Any]
    remedies: list[dict[str, Any]]
    caused_by: str | None
    applied: list[dict[str, Any]]


class Event(NamedTuple):
    """One thing that happened to a job. ``sequence`` counts from 1 within the job."""

    sequence: int
    type: str
    content: dict[str, Any]


class Page(TypedDict, Generic[Item]):
    """One page of a list."""

    data: list[Item]
    has_more: bool
    next_cursor: str | None


class SeriesPoints(TypedDict, total=False):
    """One measured quantity of one layer or of the whole network."""

    name: str
    layer: str | None
    parameter: str | None
    split: str | None
    unit: str
    x: list[float]
    y: list[float | None]
    sampled: bool
    raw_count: int
    nonfinite: list[dict[str, Any]]


class Artifact(TypedDict, total=False):
    """A file that a job left: weights, checkpoints."""

    name: str
    bytes: int
    sha256: str
