"""Convolutional network (LeCun et al. 1998, doi 10.1109/5.726791): convolution blocks, then fully connected ones."""

from typing import final

from learners.networks.block import Block
from learners.networks.block_network import BlockNetwork, widened
from learners.networks.conv import ConvBlock
from learners.networks.dense import DenseBlock
from specs.networks.cnn import CnnSpec


@final
class Cnn(BlockNetwork):
    """The network of a ``CnnSpec``."""

    def __init__(self, spec: CnnSpec, *, input_shape: tuple[int, ...], extra_inputs: int, outputs: int) -> None:
        shape = widened(input_shape, extra_inputs, flat=False)
        channels = [shape[0], *spec.channels]
        blocks: list[Block] = [
            ConvBlock(
                inputs,
                channels[index + 1],
                kernel_size=spec.kernel_size,
                stride=spec.stride,
                pooling=spec.pooling,
                pooling_size=spec.pooling_size,
                activation=spec.activation,
                norm=spec.norm,
                dropout=spec.dropout,
                init=spec.init,
            )
            for index, inputs in enumerate(channels[:-1])
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
