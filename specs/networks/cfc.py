"""The closed-form continuous-time network on the menu."""

from itertools import pairwise
from typing import ClassVar, Literal

from pydantic import Field

from specs.architecture import DROPOUT, Provision, chained_weights
from specs.liquid import Liquid
from specs.papers import JobBody, Paper
from specs.signature import DataSignature


class CfcSpec(Liquid):
    """Closed-form continuous-time network: the solution of a liquid neuron in closed form, gated by time."""

    title: ClassVar[str] = "Closed-form continuous-time network"
    summary: ClassVar[str] = "Recurrent cells that interpolate between two heads by a gate of elapsed time; no solver."
    paper: ClassVar[Paper | None] = Paper(
        title="Closed-form continuous-time neural networks",
        authors="Hasani, Lechner, Amini, Liebenwein, Ray, Tschaikowski, Teschl, Rus",
        year=2022,
        url="https://arxiv.org/abs/2106.13898",
    )
    claims_that_do_not_hold: ClassVar[tuple[str, ...]] = (
        "Orders of magnitude faster: 1 to 5 orders than networks whose ODE a solver integrates (Hasani et al. 2022, "
        "arXiv 2106.13898), not than an LSTM.",
        "The literal closed form is the best: it is the worst of the paper's variants; the time gate makes the gain "
        "(the authors' own tables).",
    )
    small: ClassVar[dict[str, JobBody]] = {
        "cfc": {"hidden": [6], "backbone_units": 8, "dropout": 0.25},
        "cfc mixed auto_ncp": {"hidden": [9], "wiring": "auto_ncp", "mode": "mixed"},
        "cfc pure": {"hidden": [6, 5], "backbone_units": 8, "backbone_layers": 2, "mode": "pure"},
    }

    kind: Literal["cfc"] = "cfc"
    mode: Literal["default", "no_gate", "pure", "mixed"] = Field(
        default="default",
        description="default (gated), no_gate (second head added, not interpolated), pure (the literal closed form), "
        "mixed (default behind an LSTM memory)",
    )
    backbone_units: int = Field(default=128, ge=1, le=8192, description="width of the shared layers (wiring full)")
    backbone_layers: int = Field(default=1, ge=0, le=16, description="number of the shared layers (wiring full)")
    backbone_activation: Literal["lecun_tanh", "tanh", "relu", "gelu", "silu"] = Field(
        default="lecun_tanh", description="nonlinearity of the shared layers"
    )
    dropout: float = Field(default=0.0, ge=0, lt=1, description=DROPOUT + "; applied to the block's output")

    @property
    def provides(self) -> frozenset[Provision]:
        return frozenset({"hidden_block", "recurrent_block", "synapse", "batch_free"})

    def parameters(self, signature: DataSignature, *, extra_inputs: int = 0) -> int | None:
        count, inputs = 0, signature.input_shape[-1] + extra_inputs
        for block, units in enumerate(self.hidden):
            if self.mode == "mixed":
                count += 4 * units * (inputs + units + 1)
            layers = self.layers(block)
            for below, neurons in pairwise([inputs, *layers]):
                count += self._cell(below, neurons, backbone=len(layers) == 1 and self.backbone_layers > 0)
            inputs = layers[-1]
        return count + chained_weights([inputs, signature.outputs])

    def _cell(self, inputs: int, neurons: int, *, backbone: bool) -> int:
        heads = 1 if self.mode == "pure" else 4
        shared = [self.backbone_units] * self.backbone_layers if backbone else []
        decay = 2 * neurons if self.mode == "pure" else 0
        return chained_weights([inputs + neurons, *shared, heads * neurons]) + decay
