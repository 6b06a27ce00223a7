"""Fully connected blocks and the linear read-out: what every network ends with."""

# B = rows, T = time, D = features, K = classes or targets

from typing import final

from torch import Tensor

from learners.networks.block import ACTIVATIONS, PlainBlock, normalisation
from learners.networks.scope import Dropout
from learners.networks.synapses import LinearSynapse, initialise
from specs.architecture import Activation, Init, Layout, Norm


@final
class DenseBlock(PlainBlock):
    """Flatten, linear, norm, nonlinearity, dropout: [B, ...] -> [B,D]."""

    layout: Layout = "vector"

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        activation: Activation,
        norm: Norm = "none",
        dropout: float = 0.0,
        init: Init = "default",
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.synapse = LinearSynapse(inputs, outputs, bias=bias)
        initialise(self.synapse, init)
        self.norm = normalisation(norm, outputs, "vector")
        self.dropout = Dropout(dropout) if dropout > 0 else None
        self.output_activation = activation
        self.nonlinearity = ACTIVATIONS[activation]

    def drive(self, x: Tensor) -> Tensor:
        drive_BD: Tensor = self.synapse(x.flatten(1) if x.dim() > 2 else x)
        return drive_BD

    def activate(self, z: Tensor) -> Tensor:
        if self.norm is not None:
            z = self.norm(z)
        z = self.nonlinearity(z)
        return z if self.dropout is None else self.dropout(z)


@final
class LastStepReadout(PlainBlock):
    """A linear read-out of the last output of a sequence: [B,T,D] -> [B,K]."""

    layout: Layout = "vector"

    def __init__(self, inputs: int, outputs: int, *, init: Init = "default") -> None:
        super().__init__()
        self.synapse = LinearSynapse(inputs, outputs)
        initialise(self.synapse, init)

    def drive(self, x: Tensor) -> Tensor:
        scores_BK: Tensor = self.synapse(x[:, -1])
        return scores_BK

    def activate(self, z: Tensor) -> Tensor:
        return z


@final
class MeanReadout(PlainBlock):
    """A linear read-out of the mean over a sequence: [B,T,D] -> [B,K]."""

    layout: Layout = "vector"

    def __init__(self, inputs: int, outputs: int, *, init: Init = "default") -> None:
        super().__init__()
        self.synapse = LinearSynapse(inputs, outputs)
        initialise(self.synapse, init)

    def drive(self, x: Tensor) -> Tensor:
        scores_BK: Tensor = self.synapse(x.mean(1))
        return scores_BK

    def activate(self, z: Tensor) -> Tensor:
        return z
