"""The recurrent network on the menu: gated cells and leaky units."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from specs.architecture import DROPOUT, Activation, Architecture, Layout, Provision, chained_weights
from specs.papers import JobBody, Paper
from specs.signature import DataSignature

GATES = {"gru": 3, "lstm": 4, "leaky": 1}


class RnnSpec(Architecture):
    """Recurrent blocks of gated cells (GRU, LSTM) or of leaky units; the read-out sees the last step."""

    title: ClassVar[str] = "Recurrent network"
    summary: ClassVar[str] = "GRU, LSTM or leaky units over sequences; elapsed times are not read."
    paper: ClassVar[Paper | None] = Paper(
        title="Learning Phrase Representations using RNN Encoder-Decoder for Statistical Machine Translation",
        authors="Cho, van Merrienboer, Gulcehre, Bahdanau, Bougares, Schwenk, Bengio",
        year=2014,
        url="https://arxiv.org/abs/1406.1078",
    )
    layouts: ClassVar[frozenset[Layout]] = frozenset({"sequence"})
    small: ClassVar[dict[str, JobBody]] = {
        "rnn gru": {"hidden": [6, 5], "dropout": 0.25},
        "rnn lstm": {"hidden": [6], "cell": "lstm"},
        "rnn leaky": {"hidden": [6, 5], "cell": "leaky", "dropout": 0.25},
    }

    kind: Literal["rnn"] = "rnn"
    cell: Literal["gru", "lstm", "leaky"] = Field(
        default="gru",
        description="gru, lstm, or leaky: potentials that decay by leak at every step, read through the activation "
        "(the units whose eligibility traces e_prop knows)",
    )
    hidden: Annotated[tuple[Annotated[int, Field(ge=1, le=8192)], ...], Field(strict=False)] = Field(
        default=(64,), min_length=1, max_length=64, description="units of each recurrent block, in order"
    )
    leak: float = Field(
        default=0.8, ge=0, lt=1, description="cell leaky: share of its potential that a unit keeps from step to step"
    )
    activation: Activation = Field(default="tanh", description="cell leaky: nonlinearity of the potentials")
    dropout: float = Field(default=0.0, ge=0, lt=1, description=DROPOUT + "; applied to the block's output")

    @property
    def depth(self) -> int:
        return len(self.hidden)

    @property
    def provides(self) -> frozenset[Provision]:
        offered: set[Provision] = {"hidden_block", "recurrent_block", "synapse", "batch_free"}
        if self.cell == "leaky":
            offered.add("traced_block")
        return frozenset(offered)

    def parameters(self, signature: DataSignature, *, extra_inputs: int = 0) -> int | None:
        count, inputs, gates = 0, signature.input_shape[-1] + extra_inputs, GATES[self.cell]
        for units in self.hidden:
            count += gates * units * (inputs + units + (2 if self.cell == "gru" else 1))
            inputs = units
        return count + chained_weights([inputs, signature.outputs])
