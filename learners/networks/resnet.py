"""Residual network (He, Zhang, Ren and Sun 2016, arXiv 1512.03385), in the form for small images (section 4.2).

A block computes y = f(F(x) + S x) (Eqs. 1, 2) with F = norm conv f norm conv; S is the identity, or a convolution of
one pixel with the block's stride where the shape changes (option B).

What differs from the paper: the norm may be one over each row, or none; the nonlinearity is free; dropout may stand
between a block's convolutions.
"""

# B = rows, C = channels, H, W = height and width

from typing import final

from torch import Tensor, nn

from learners.networks.block import ACTIVATIONS, Block, State, normalisation
from learners.networks.block_network import BlockNetwork, widened
from learners.networks.conv import ConvBlock, PooledReadout
from learners.networks.scope import Dropout
from learners.networks.synapses import ConvSynapse, initialise
from specs.architecture import Layout
from specs.networks.resnet import ResnetSpec


@final
class NormedConv(nn.Module):
    """A convolution and its norm: [B,C,H,W] -> [B,C',H',W']."""

    def __init__(self, inputs: int, outputs: int, spec: ResnetSpec, *, kernel_size: int, stride: int) -> None:
        super().__init__()
        bias = spec.norm == "none"
        self.synapse = ConvSynapse(inputs, outputs, kernel_size=kernel_size, stride=stride, bias=bias)
        initialise(self.synapse, spec.init)
        self.norm = normalisation(spec.norm, outputs, "image")

    def forward(self, x: Tensor) -> Tensor:
        z_BCHW: Tensor = self.synapse(x)
        return z_BCHW if self.norm is None else self.norm(z_BCHW)


@final
class ResidualConvBlock(Block):
    """Two convolutions around the input: [B,C,H,W] -> [B,C',H',W']."""

    layout: Layout = "image"

    def __init__(self, inputs: int, outputs: int, stride: int, spec: ResnetSpec) -> None:
        super().__init__()
        self.first = NormedConv(inputs, outputs, spec, kernel_size=3, stride=stride)
        self.second = NormedConv(outputs, outputs, spec, kernel_size=3, stride=1)
        same = inputs == outputs and stride == 1
        self.skip = None if same else NormedConv(inputs, outputs, spec, kernel_size=1, stride=stride)
        self.dropout = Dropout(spec.dropout) if spec.dropout > 0 else None
        self._nonlinearity = ACTIVATIONS[spec.activation]

    def forward(self, x: Tensor, state: State = None, dt: Tensor | None = None) -> tuple[Tensor, State]:  # noqa: ARG002
        h_BCHW = self._nonlinearity(self.first(x))
        if self.dropout is not None:
            h_BCHW = self.dropout(h_BCHW)
        h_BCHW = self.second(h_BCHW) + (x if self.skip is None else self.skip(x))
        return self._nonlinearity(h_BCHW), None


@final
class Resnet(BlockNetwork):
    """The network of a ``ResnetSpec``. Its first block is a convolution without a skip."""

    def __init__(self, spec: ResnetSpec, *, input_shape: tuple[int, ...], extra_inputs: int, outputs: int) -> None:
        shape = widened(input_shape, extra_inputs, flat=False)
        stem = ConvBlock(
            shape[0],
            spec.channels[0],
            kernel_size=3,
            activation=spec.activation,
            norm=spec.norm,
            init=spec.init,
            bias=spec.norm == "none",
        )
        residual = [ResidualConvBlock(inputs, width, stride, spec) for inputs, width, stride in spec.blocks()]
        readout = PooledReadout(spec.channels[-1], outputs, init=spec.init)
        super().__init__([stem, *residual], readout, input_shape=shape, input_layout="image")
