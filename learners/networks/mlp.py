"""Multi-layer perceptron: fully connected blocks, plain or residual; without blocks a linear model."""

# B = rows, D = features

from math import prod
from typing import final

from torch import Tensor

from learners.networks.block import ACTIVATIONS, Block, State, normalisation
from learners.networks.block_network import BlockNetwork, widened
from learners.networks.dense import DenseBlock
from learners.networks.scope import Dropout
from learners.networks.synapses import LinearSynapse, initialise
from specs.architecture import Layout
from specs.networks.mlp import MlpSpec


@final
class ResidualBlock(Block):
    """x + W2 f(W1 norm(x)); a linear skip where the widths differ: [B,D] -> [B,D']."""

    layout: Layout = "vector"

    def __init__(self, inputs: int, outputs: int, spec: MlpSpec) -> None:
        super().__init__()
        self.norm = normalisation(spec.norm, inputs, "vector")
        self.first = LinearSynapse(inputs, outputs, bias=spec.bias)
        self.second = LinearSynapse(outputs, outputs, bias=spec.bias)
        self.skip = None if inputs == outputs else LinearSynapse(inputs, outputs, bias=False)
        for synapse in (self.first, self.second, self.skip):
            if synapse is not None:
                initialise(synapse, spec.init)
        self.dropout = Dropout(spec.dropout) if spec.dropout > 0 else None
        self._nonlinearity = ACTIVATIONS[spec.activation]

    def forward(self, x: Tensor, state: State = None, dt: Tensor | None = None) -> tuple[Tensor, State]:  # noqa: ARG002
        h = x if self.norm is None else self.norm(x)
        h = self._nonlinearity(self.first(h))
        if self.dropout is not None:
            h = self.dropout(h)
        return self.second(h) + (x if self.skip is None else self.skip(x)), None


@final
class Mlp(BlockNetwork):
    """The network of an ``MlpSpec``."""

    def __init__(self, spec: MlpSpec, *, input_shape: tuple[int, ...], extra_inputs: int, outputs: int) -> None:
        flat = widened(input_shape, extra_inputs, flat=True) if extra_inputs else input_shape
        widths = [prod(flat), *spec.hidden]
        blocks = [_block(spec, index, inputs, widths[index + 1]) for index, inputs in enumerate(widths[:-1])]
        readout = DenseBlock(widths[-1], outputs, activation="identity", init=spec.init, bias=spec.bias)
        super().__init__(blocks, readout, input_shape=flat, input_layout="vector")


def _block(spec: MlpSpec, index: int, inputs: int, outputs: int) -> Block:
    if spec.residual and index > 0:
        return ResidualBlock(inputs, outputs, spec)
    return DenseBlock(
        inputs,
        outputs,
        activation=spec.activation,
        norm=spec.norm,
        dropout=spec.dropout,
        init=spec.init,
        bias=spec.bias,
    )
