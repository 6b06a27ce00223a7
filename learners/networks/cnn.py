"""Convolutional network (LeCun et al. 1998, doi 10.1109/5.726791): convolution blocks, then fully connected ones."""

# B = rows, C = channels, H, W = height and width

from typing import final

import torch.nn.functional as F
from torch import Tensor

from learners.networks.block_network import BlockNetwork, widened
from learners.networks.blocks import ACTIVATIONS, Block, PlainBlock, normalisation
from learners.networks.dense import DenseBlock
from learners.networks.scope import Dropout
from learners.networks.synapses import ConvSynapse, initialise
from specs.architecture import Layout
from specs.networks.cnn import CnnSpec


@final
class ConvBlock(PlainBlock):
    """Convolution, pooling, norm, nonlinearity, dropout: [B,C,H,W] -> [B,C',H',W'].

    Pooling comes before the nonlinearity, so that all that is not element-wise is in ``drive``; with a rising
    nonlinearity and maximum pooling the order makes no difference.
    """

    layout: Layout = "image"

    def __init__(self, inputs: int, outputs: int, spec: CnnSpec) -> None:
        super().__init__()
        self.synapse = ConvSynapse(inputs, outputs, kernel_size=spec.kernel_size, stride=spec.stride)
        initialise(self.synapse, spec.init)
        self.norm = normalisation(spec.norm, outputs, "image")
        self.dropout = Dropout(spec.dropout) if spec.dropout > 0 else None
        self._pooling = spec.pooling
        self._pooling_size = spec.pooling_size
        self._nonlinearity = ACTIVATIONS[spec.activation]

    def drive(self, x: Tensor) -> Tensor:
        z_BCHW: Tensor = self.synapse(x)
        if self._pooling == "max":
            return F.max_pool2d(z_BCHW, self._pooling_size)
        return z_BCHW if self._pooling == "none" else F.avg_pool2d(z_BCHW, self._pooling_size)

    def activate(self, z: Tensor) -> Tensor:
        if self.norm is not None:
            z = self.norm(z)
        z = self._nonlinearity(z)
        return z if self.dropout is None else self.dropout(z)


@final
class Cnn(BlockNetwork):
    """The network of a ``CnnSpec``."""

    def __init__(self, spec: CnnSpec, *, input_shape: tuple[int, ...], extra_inputs: int, outputs: int) -> None:
        shape = widened(input_shape, extra_inputs, flat=False)
        channels = [shape[0], *spec.channels]
        blocks: list[Block] = [
            ConvBlock(inputs, channels[index + 1], spec) for index, inputs in enumerate(channels[:-1])
        ]
        height, width = spec.sizes(shape)[-1]
        widths = [channels[-1] * height * width, *spec.hidden]
        for index, inputs in enumerate(widths[:-1]):
            blocks.append(
                DenseBlock(
                    inputs,
                    widths[index + 1],
                    activation=spec.activation,
                    norm=spec.norm,
                    dropout=spec.dropout,
                    init=spec.init,
                )
            )
        readout = DenseBlock(widths[-1], outputs, activation="identity", init=spec.init)
        super().__init__(blocks, readout, input_shape=shape, input_layout="image")
