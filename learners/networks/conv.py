"""Convolution blocks, and the read-out of an image's channel means."""

# B = rows, C = channels, H, W = height and width, K = classes or targets

from typing import Literal, final

import torch.nn.functional as F
from torch import Tensor

from learners.networks.block import ACTIVATIONS, PlainBlock, normalisation
from learners.networks.scope import Dropout
from learners.networks.synapses import ConvSynapse, LinearSynapse, initialise
from specs.architecture import Activation, Init, Layout, Norm

Pooling = Literal["none", "max", "average"]


@final
class ConvBlock(PlainBlock):
    """Convolution, pooling, norm, nonlinearity, dropout: [B,C,H,W] -> [B,C',H',W'].

    Pooling comes before the nonlinearity, so that all that is not element-wise is in ``drive``; with a rising
    nonlinearity and maximum pooling the order makes no difference.
    """

    layout: Layout = "image"

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        kernel_size: int,
        stride: int = 1,
        pooling: Pooling = "none",
        pooling_size: int = 2,
        activation: Activation,
        norm: Norm = "none",
        dropout: float = 0.0,
        init: Init = "default",
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.synapse = ConvSynapse(inputs, outputs, kernel_size=kernel_size, stride=stride, bias=bias)
        initialise(self.synapse, init)
        self.norm = normalisation(norm, outputs, "image")
        self.dropout = Dropout(dropout) if dropout > 0 else None
        self._pooling = pooling
        self._pooling_size = pooling_size
        self.output_activation = activation
        self._nonlinearity = ACTIVATIONS[activation]

    def drive(self, x: Tensor) -> Tensor:
        z_BCHW: Tensor = self.synapse(x)
        return pooled(z_BCHW, self._pooling, self._pooling_size)

    def activate(self, z: Tensor) -> Tensor:
        if self.norm is not None:
            z = self.norm(z)
        z = self._nonlinearity(z)
        return z if self.dropout is None else self.dropout(z)


@final
class PooledReadout(PlainBlock):
    """A linear read-out of every channel's mean: [B,C,H,W] -> [B,K]."""

    layout: Layout = "vector"

    def __init__(self, inputs: int, outputs: int, *, init: Init = "default") -> None:
        super().__init__()
        self.synapse = LinearSynapse(inputs, outputs)
        initialise(self.synapse, init)

    def drive(self, x: Tensor) -> Tensor:
        scores_BK: Tensor = self.synapse(x.mean((2, 3)))
        return scores_BK

    def activate(self, z: Tensor) -> Tensor:
        return z


def pooled(x_BCHW: Tensor, pooling: Pooling, size: int) -> Tensor:
    """Windows of ``size`` x ``size`` that do not overlap, each as its largest or its mean value."""
    if pooling == "max":
        return F.max_pool2d(x_BCHW, size)
    return x_BCHW if pooling == "none" else F.avg_pool2d(x_BCHW, size)
