"""The liquid time-constant network on the menu."""

from typing import ClassVar, Literal

from pydantic import Field

from specs.architecture import Provision, chained_weights
from specs.liquid import Liquid
from specs.papers import JobBody, Paper
from specs.signature import DataSignature


class LtcSpec(Liquid):
    """Liquid time-constant network: neurons as differential equations, solved by a fused implicit step."""

    title: ClassVar[str] = "Liquid time-constant network"
    summary: ClassVar[str] = "Recurrent neurons whose time constants depend on the input; irregular time steps."
    paper: ClassVar[Paper | None] = Paper(
        title="Liquid Time-constant Networks",
        authors="Hasani, Lechner, Amini, Rus, Grosu",
        year=2020,
        url="https://arxiv.org/abs/2006.04439",
    )
    claims_that_do_not_hold: ClassVar[tuple[str, ...]] = (
        "Good at irregular times: on event-XOR it stays at chance (49 %) where CfC reaches 99 % (the CfC authors' own "
        "tables, arXiv 2106.13898).",
    )
    small: ClassVar[dict[str, JobBody]] = {
        "ltc": {"hidden": [6], "ode_unfolds": 2},
        "ltc auto_ncp": {"hidden": [9, 8], "wiring": "auto_ncp", "motor_neurons": 3, "ode_unfolds": 2},
    }

    kind: Literal["ltc"] = "ltc"
    ode_unfolds: int = Field(default=6, ge=1, le=128, description="solver steps per input; first-order accurate")
    epsilon: float = Field(default=1e-8, gt=0, le=1e-2, description="added to the denominator of the fused step")

    @property
    def provides(self) -> frozenset[Provision]:
        return frozenset({"hidden_block", "recurrent_block", "batch_free"})

    def parameters(self, signature: DataSignature, *, extra_inputs: int = 0) -> int | None:
        """As if every synapse were there: an upper bound for a wiring that leaves some out."""
        count, inputs = 0, signature.input_shape[-1] + extra_inputs
        for block, units in enumerate(self.hidden):
            outputs = self.layers(block)[-1]
            count += 4 * (inputs + units) * units + 3 * units + 2 * (inputs + outputs)
            inputs = outputs
        return count + chained_weights([inputs, signature.outputs])
