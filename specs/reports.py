"""What a trainer tells its worker: every frame that goes up the pipe, as a model.

Frames of type ``series`` may be dropped when the worker cannot keep up; the others never are.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from specs.verdicts import Finding


class Report(BaseModel):
    """One frame. ``payload`` travels as raw bytes after the JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def frame(self) -> tuple[str, dict[str, Any], bytes]:
        """The frame's type, its JSON fields and its raw bytes."""
        fields = self.model_dump(mode="json", exclude={"type", "payload"})
        return self.type, fields, getattr(self, "payload", b"")  # type: ignore[attr-defined]


class Started(Report):
    """The trainer stands before its first step; ``step`` steps are already done (> 0 after a resume)."""

    type: Literal["started"] = "started"
    step: int
    device: str
    receipt: dict[str, Any] = Field(description="versions, device, threads, seeds, determinism flags")


class Progress(Report):
    """Where training is: the first step at once, then a few times a second."""

    type: Literal["step"] = "step"
    step: int
    steps: int | None = None
    epoch: int
    epochs: int | None = None
    samples_per_s: float | None = None
    eta_s: float | None = None


class SeriesBlock(BaseModel):
    """``len(quantities)`` series over one step grid, of one scope.

    Its part of the payload is int32 ``steps[count]``, then float32 ``values[quantity, count]``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    layer: str | None = None
    layer_index: int = -1
    parameter: str | None = None
    split: Literal["train", "validation", "test"] | None = None
    quantities: tuple[str, ...]
    units: tuple[str, ...]
    count: int = Field(gt=0)


class Series(Report):
    """Blocks of measured points, in the order of their bytes in ``payload``."""

    type: Literal["series"] = "series"
    blocks: tuple[SeriesBlock, ...]
    payload: bytes = b""


class Event(Report):
    """Something a person watches for: an evaluation, a metric line, a warning."""

    type: Literal["event"] = "event"
    event: Literal["metrics", "evaluation", "warning"]
    detail: dict[str, Any]


class Verdict(Report):
    """A fault was found, or seen again: the newest word on its code and layer."""

    type: Literal["verdict"] = "verdict"
    finding: Finding


class Checkpoint(Report):
    """A checkpoint stands in the attempt's folder. Every series point up to ``step`` was sent before it."""

    type: Literal["checkpoint"] = "checkpoint"
    path: str
    step: int


class Stopped(Report):
    """A graceful end on request: everything is checkpointed at ``step``."""

    type: Literal["stopped"] = "stopped"
    reason: Literal["pause", "preempt", "time_limit"]
    step: int


class Result(Report):
    """Training is complete. ``artifacts`` are paths inside the attempt's folder, by name."""

    type: Literal["result"] = "result"
    step: int
    metrics: dict[str, dict[str, float | None]]
    best: dict[str, Any] | None = None
    cost: dict[str, Any]
    artifacts: dict[str, str]
    weights_sha256: str = Field(description="digest of names, shapes, dtypes and bytes of all trained tensors")
    diagnostics: dict[str, Any] = Field(
        default_factory=dict, description="summary: memory, overhead share, receipt parts"
    )
    receipt: dict[str, Any] = Field(default_factory=dict)


class Failure(Report):
    """Training ended on a finding (NaN, bad data, out of memory): the job fails, the worker goes on."""

    type: Literal["error"] = "error"
    kind: str = Field(description="diverged, data_mismatch, oom, cuda_oom, checkpoint_corrupt, internal ...")
    fault: Literal["user", "system", "resource"]
    message: str
    step: int | None = None
    layer: str | None = None
    detail: dict[str, Any] = Field(default_factory=dict)


ANY_REPORT = {
    model.model_fields["type"].default: model
    for model in (Started, Progress, Series, Event, Verdict, Checkpoint, Stopped, Result, Failure)
}
