"""What a job is expected to need, before it is trained."""

from typing import Literal

from pydantic import Field

from specs.kinds import Spec

MemoryBasis = Literal["rehearsed", "counted", "arithmetic"]
SecondsBasis = Literal["rehearsed", "counted", "budget"]


class MemoryForecast(Spec):
    """Bytes by component, and the most at once. What a component cannot be told from is null."""

    weights: int = Field(description="of the network, running statistics included")
    gradients: int | None = Field(default=None, description="of what is trained; 0: the rule stores none")
    optimizer: int | None = Field(default=None, description="the optimizer's state")
    own_tensors: int | None = Field(default=None, description="the learner's own: heads, feedback matrices ...")
    activations: int | None = Field(default=None, description="stored at once for backward passes")
    working: int | None = Field(default=None, description="temporaries, evaluation and a copy of the weights")
    process: int | None = Field(default=None, description="what a process grows by beside tensors; 0 on a GPU")
    data: int = Field(
        description="rows: all on a GPU; on a CPU, where prepared files are mapped and shared, those of a batch"
    )
    peak_bytes: int | None = Field(default=None, description="expected as `cost.peak_bytes` of the job")
    basis: MemoryBasis = Field(
        description="rehearsed: some steps of the job's own size were taken; counted: steps on fewer rows, extended "
        "along a line; arithmetic: the weights alone are too much"
    )


class Obstacle(Spec):
    """Why a job does not fit."""

    code: Literal["memory", "time_limit"]
    message: str


class Estimate(Spec):
    """Parameters, memory, FLOPs and seconds of a job, without training it."""

    device: str
    parameters: int | None = Field(description="numbers that the rule trains")
    memory: MemoryForecast
    steps: int | None = Field(description="null: a clock or a meter ends training, and nobody knows when")
    flops_per_step: float | None = Field(default=None, description="matrix and convolution work of a full batch")
    flops: float | None = Field(default=None, description="of all steps; evaluation is not counted")
    seconds_per_step: float | None = None
    training_s: float | None = Field(default=None, description="of all steps, without evaluation and diagnostics")
    wall_s: float | None = Field(default=None, description="training and evaluation, expected as `cost.wall_s`")
    seconds_basis: SecondsBasis | None = Field(
        default=None, description="rehearsed: measured at the job's own batch; counted: on fewer rows, extended"
    )
    available_bytes: int | None = Field(default=None, description="free on the device now")
    fits: bool | None = Field(description="null: nobody says how much memory is free")
    why_not: tuple[Obstacle, ...] = Field(default=(), strict=False)
    notes: tuple[str, ...] = Field(default=(), strict=False, description="what the figures leave out")
