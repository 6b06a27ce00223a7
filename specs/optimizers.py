"""The optimizers on the menu: PyTorch's own, with their fields and names, and the schedule of the learning rate."""

from abc import ABC
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from specs.kinds import Spec

LR = "learning rate before the schedule"
WEIGHT_DECAY = "L2 penalty added to the gradient"
DECOUPLED = "decoupled weight decay, multiplied by the learning rate"
EPS = "added to the denominator for numerical stability"
FUSED = "one fused kernel per step; otherwise foreach (equal up to rounding, so the choice decides bits)"
BETAS = "decay of the running averages of the gradient and its square"

Rate = Annotated[float, Field(ge=0, lt=1)]
Betas = Annotated[tuple[Rate, Rate], Field(strict=False)]


class Schedule(Spec, ABC):
    """A factor on the learning rate: a pure function of the number of steps done. Warm-up rises linearly."""

    needs_length: ClassVar[bool] = False

    warmup_steps: int = Field(default=0, ge=0, le=10**9, description="steps over which the rate rises linearly from 0")


class ConstantSchedule(Schedule):
    """The rate stays as given."""

    kind: Literal["constant"] = "constant"


class CosineSchedule(Schedule):
    """Half a cosine from 1 down to ``final_factor``."""

    needs_length: ClassVar[bool] = True

    kind: Literal["cosine"] = "cosine"
    steps: int | None = Field(default=None, ge=1, le=10**9, description="length; null is the job's planned steps")
    final_factor: float = Field(default=0.0, ge=0, le=1, description="factor reached at the end and kept")


class LinearSchedule(Schedule):
    """A straight line from 1 down to ``final_factor``."""

    needs_length: ClassVar[bool] = True

    kind: Literal["linear"] = "linear"
    steps: int | None = Field(default=None, ge=1, le=10**9, description="length; null is the job's planned steps")
    final_factor: float = Field(default=0.0, ge=0, le=1, description="factor reached at the end and kept")


class StepSchedule(Schedule):
    """Multiplied by ``factor`` after every ``every_steps`` steps."""

    kind: Literal["step"] = "step"
    every_steps: int = Field(ge=1, le=10**9, description="steps between two drops")
    factor: float = Field(default=0.1, gt=0, le=1, description="multiplier of each drop")


class ExponentialSchedule(Schedule):
    """Multiplied by ``factor`` over every ``every_steps`` steps, smoothly."""

    kind: Literal["exponential"] = "exponential"
    factor: float = Field(gt=0, le=1, description="multiplier over every_steps steps")
    every_steps: int = Field(default=1, ge=1, le=10**9, description="steps over which one factor is reached")


ScheduleSpec = Annotated[
    ConstantSchedule | CosineSchedule | LinearSchedule | StepSchedule | ExponentialSchedule,
    Field(discriminator="kind"),
]


class Update(Spec, ABC):
    """What every optimizer has. Clipping acts on what the learner wrote: by value first, then by norm."""

    torch_name: ClassVar[str]

    schedule: ScheduleSpec = Field(default=ConstantSchedule(), description="factor on lr over the steps")
    clip_grad_norm: float | None = Field(
        default=None,
        gt=0,
        description="largest L2 norm of the gradient of the parameters that step together; with a learner that commits "
        "block by block the norm is per block",
    )
    clip_grad_value: float | None = Field(default=None, gt=0, description="largest absolute entry of the gradient")

    def numbers_per_weight(self) -> int:
        """Numbers that the optimizer keeps for each weight."""
        return 2


class SgdSpec(Update):
    """Stochastic gradient descent, with momentum."""

    torch_name: ClassVar[str] = "SGD"

    kind: Literal["sgd"] = "sgd"
    lr: float = Field(default=0.01, gt=0, le=1e6, description=LR)
    momentum: float = Field(default=0.0, ge=0, lt=1, description="share of the last direction that is kept")
    dampening: float = Field(default=0.0, ge=0, le=1, description="dampening of momentum")
    nesterov: bool = Field(default=False, description="look-ahead momentum; needs momentum > 0 and dampening 0")
    weight_decay: float = Field(default=0.0, ge=0, le=1e3, description=WEIGHT_DECAY)
    fused: bool = Field(default=True, description=FUSED)

    def numbers_per_weight(self) -> int:
        return 1 if self.momentum > 0 else 0


class AdamSpec(Update):
    """Adam (Kingma and Ba, 2014)."""

    torch_name: ClassVar[str] = "Adam"

    kind: Literal["adam"] = "adam"
    lr: float = Field(default=1e-3, gt=0, le=1e3, description=LR)
    betas: Betas = Field(default=(0.9, 0.999), description=BETAS)
    eps: float = Field(default=1e-8, gt=0, le=1, description=EPS)
    weight_decay: float = Field(default=0.0, ge=0, le=1e3, description=WEIGHT_DECAY)
    amsgrad: bool = Field(default=False, description="use the largest running average of squares so far")
    fused: bool = Field(default=True, description=FUSED)

    def numbers_per_weight(self) -> int:
        return 3 if self.amsgrad else 2


class AdamWSpec(Update):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2017)."""

    torch_name: ClassVar[str] = "AdamW"

    kind: Literal["adamw"] = "adamw"
    lr: float = Field(default=1e-3, gt=0, le=1e3, description=LR)
    betas: Betas = Field(default=(0.9, 0.999), description=BETAS)
    eps: float = Field(default=1e-8, gt=0, le=1, description=EPS)
    weight_decay: float = Field(default=0.01, ge=0, le=1e3, description=DECOUPLED)
    amsgrad: bool = Field(default=False, description="use the largest running average of squares so far")
    fused: bool = Field(default=True, description=FUSED)

    def numbers_per_weight(self) -> int:
        return 3 if self.amsgrad else 2


class RmspropSpec(Update):
    """RMSprop (Hinton, 2012)."""

    torch_name: ClassVar[str] = "RMSprop"

    kind: Literal["rmsprop"] = "rmsprop"
    lr: float = Field(default=1e-3, gt=0, le=1e3, description=LR)
    alpha: float = Field(default=0.99, ge=0, lt=1, description="decay of the running average of squares")
    eps: float = Field(default=1e-8, gt=0, le=1, description=EPS)
    momentum: float = Field(default=0.0, ge=0, lt=1, description="share of the last direction that is kept")
    centered: bool = Field(default=False, description="divide by the variance instead of the mean square")
    weight_decay: float = Field(default=0.0, ge=0, le=1e3, description=WEIGHT_DECAY)

    def numbers_per_weight(self) -> int:
        return 1 + (self.momentum > 0) + self.centered


class AdagradSpec(Update):
    """Adagrad (Duchi, Hazan and Singer, 2011)."""

    torch_name: ClassVar[str] = "Adagrad"

    kind: Literal["adagrad"] = "adagrad"
    lr: float = Field(default=0.01, gt=0, le=1e3, description=LR)
    lr_decay: float = Field(default=0.0, ge=0, le=1, description="decay of the rate over steps")
    eps: float = Field(default=1e-10, gt=0, le=1, description=EPS)
    initial_accumulator_value: float = Field(default=0.0, ge=0, le=1e6, description="start of the sum of squares")
    weight_decay: float = Field(default=0.0, ge=0, le=1e3, description=WEIGHT_DECAY)

    def numbers_per_weight(self) -> int:
        return 1


class AdadeltaSpec(Update):
    """Adadelta (Zeiler, 2012)."""

    torch_name: ClassVar[str] = "Adadelta"

    kind: Literal["adadelta"] = "adadelta"
    lr: float = Field(default=1.0, gt=0, le=1e3, description=LR)
    rho: float = Field(default=0.9, ge=0, lt=1, description="decay of the running average of squares")
    eps: float = Field(default=1e-6, gt=0, le=1, description=EPS)
    weight_decay: float = Field(default=0.0, ge=0, le=1e3, description=WEIGHT_DECAY)


class AdamaxSpec(Update):
    """Adam with the infinity norm (Kingma and Ba, 2014)."""

    torch_name: ClassVar[str] = "Adamax"

    kind: Literal["adamax"] = "adamax"
    lr: float = Field(default=2e-3, gt=0, le=1e3, description=LR)
    betas: Betas = Field(default=(0.9, 0.999), description=BETAS)
    eps: float = Field(default=1e-8, gt=0, le=1, description=EPS)
    weight_decay: float = Field(default=0.0, ge=0, le=1e3, description=WEIGHT_DECAY)


class NadamSpec(Update):
    """Adam with Nesterov momentum (Dozat, 2016)."""

    torch_name: ClassVar[str] = "NAdam"

    kind: Literal["nadam"] = "nadam"
    lr: float = Field(default=2e-3, gt=0, le=1e3, description=LR)
    betas: Betas = Field(default=(0.9, 0.999), description=BETAS)
    eps: float = Field(default=1e-8, gt=0, le=1, description=EPS)
    weight_decay: float = Field(default=0.0, ge=0, le=1e3, description=WEIGHT_DECAY)
    momentum_decay: float = Field(default=4e-3, ge=0, le=1, description="decay of the momentum")
    decoupled_weight_decay: bool = Field(default=False, description="decay as in AdamW")


class RadamSpec(Update):
    """Rectified Adam (Liu et al., 2019)."""

    torch_name: ClassVar[str] = "RAdam"

    kind: Literal["radam"] = "radam"
    lr: float = Field(default=1e-3, gt=0, le=1e3, description=LR)
    betas: Betas = Field(default=(0.9, 0.999), description=BETAS)
    eps: float = Field(default=1e-8, gt=0, le=1, description=EPS)
    weight_decay: float = Field(default=0.0, ge=0, le=1e3, description=WEIGHT_DECAY)
    decoupled_weight_decay: bool = Field(default=False, description="decay as in AdamW")


OptimizerSpec = Annotated[
    SgdSpec | AdamSpec | AdamWSpec | RmspropSpec | AdagradSpec | AdadeltaSpec | AdamaxSpec | NadamSpec | RadamSpec,
    Field(discriminator="kind"),
]
