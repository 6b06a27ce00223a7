"""The spiking network on the menu."""

import math
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from specs.architecture import DROPOUT, Architecture, Layout, Provision, chained_weights
from specs.papers import JobBody, Paper
from specs.signature import DataSignature

Surrogate = Literal["fast_sigmoid", "atan", "sigmoid", "triangular"]
Reset = Literal["subtract", "zero", "none"]


class SpikingSpec(Architecture):
    """Leaky integrate-and-fire units. Rows without time are presented num_steps times; sequences run as they are."""

    title: ClassVar[str] = "Spiking network"
    summary: ClassVar[str] = "Leaky integrate-and-fire units with a surrogate slope in place of the spike's."
    paper: ClassVar[Paper | None] = Paper(
        title="Surrogate Gradient Learning in Spiking Neural Networks",
        authors="Neftci, Mostafa, Zenke",
        year=2019,
        url="https://arxiv.org/abs/1901.09948",
    )
    layouts: ClassVar[frozenset[Layout]] = frozenset({"vector", "image", "sequence"})
    claims_that_do_not_hold: ClassVar[tuple[str, ...]] = (
        "Saves energy by itself: against an equally quantised network over 5 steps only below a spike rate of 5.7 % "
        "(arXiv 2409.08290), and on neuromorphic hardware; training keeps the activities of all steps.",
    )
    small: ClassVar[dict[str, JobBody]] = {
        "spiking": {"hidden": [5, 4], "num_steps": 3, "threshold": 0.6, "dropout": 0.25, "readout": "membrane"},
        "spiking recurrent": {
            "hidden": [5],
            "num_steps": 3,
            "recurrent": True,
            "reset": "zero",
            "surrogate": "atan",
        },
    }

    kind: Literal["spiking"] = "spiking"
    hidden: Annotated[tuple[Annotated[int, Field(ge=1, le=65_536)], ...], Field(strict=False)] = Field(
        default=(256,), min_length=1, max_length=64, description="units of each spiking block, in order"
    )
    beta: float = Field(
        default=0.9, ge=0, lt=1, description="share of its membrane potential that a unit keeps from step to step"
    )
    threshold: float = Field(default=1.0, gt=0, le=1e3, description="membrane potential above which a unit spikes")
    reset: Reset = Field(
        default="subtract",
        description="what a spike does to the potential: subtract (the threshold is taken off at the next step), zero "
        "(nothing of it is kept), none; no gradient passes through the reset",
    )
    surrogate: Surrogate = Field(
        default="fast_sigmoid",
        description="slope that stands for the spike's, at u = v - threshold, with k = surrogate_slope: fast_sigmoid "
        "1 / (1 + k |u|)^2; atan 1 / (1 + (pi k u / 2)^2) k / 2; sigmoid k s(k u) (1 - s(k u)); triangular "
        "0.3 k max(0, 1 - k |u|)",
    )
    surrogate_slope: float = Field(default=5.0, gt=0, le=1e3, description="k: how narrow the surrogate is")
    recurrent: bool = Field(default=False, description="whether a block's spikes come back to it at the next step")
    num_steps: int = Field(
        default=15,
        ge=1,
        le=1000,
        description="how often a row without time is presented; sequences are as long as they are",
    )
    readout: Literal["spike_count", "membrane"] = Field(
        default="spike_count",
        description="what the linear read-out sees of the last block: its mean spikes per step, or at the last step "
        "the potentials of leaky units without a threshold (beta as their leak)",
    )
    dropout: float = Field(default=0.0, ge=0, lt=1, description=DROPOUT + "; one mask for all steps")

    @property
    def depth(self) -> int:
        return len(self.hidden)

    @property
    def provides(self) -> frozenset[Provision]:
        return frozenset({"hidden_block", "recurrent_block", "traced_block", "synapse", "batch_free"})

    def parameters(self, signature: DataSignature, *, extra_inputs: int = 0) -> int | None:
        shape = signature.input_shape
        inputs = (shape[-1] if len(shape) == 2 else math.prod(shape)) + extra_inputs
        returning = sum(units**2 for units in self.hidden) if self.recurrent else 0
        return chained_weights([inputs, *self.hidden, signature.outputs]) + returning
