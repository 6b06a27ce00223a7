"""Inverses of blocks: from what a block puts out back to what went in."""

# B = rows, D = features, C = channels, H, W = height and width

from abc import ABC, abstractmethod
from collections.abc import Callable
from math import prod
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn import Parameter

from learners.networks.block import ACTIVATIONS, PlainBlock
from learners.networks.dense import DenseBlock
from specs.architecture import Activation

EDGE = 1e-6
UNDONE: dict[Activation, Callable[[Tensor], Tensor]] = {
    "tanh": lambda y: torch.atanh(y.clamp(EDGE - 1, 1 - EDGE)),
    "sigmoid": lambda y: torch.logit(y, EDGE),
    "leaky_relu": lambda y: torch.where(y < 0, 100 * y, y),
    "identity": lambda y: y,
}
"""The inverses of nonlinearities; what lies out of their range is brought to its edge."""


class Inverse(nn.Module, ABC):
    """g(h): the input of a block from its output."""

    @abstractmethod
    def forward(self, h: Tensor) -> Tensor:
        """What went in, for what came out."""


@final
class LearnedInverse(Inverse):
    """One matrix or convolution of its own, then the norm, nonlinearity and dropout of the block below.

    Between images it is a convolution of 3 x 3 behind an enlargement; everywhere else a full matrix.
    """

    def __init__(self, shape: tuple[int, ...], below: PlainBlock, shape_below: tuple[int, ...]) -> None:
        super().__init__()
        self._shape_below = shape_below
        # In a tuple, so that the block's parameters do not become this module's.
        self._below = (below,)
        self._enlarges = len(shape) == 3 and len(shape_below) == 3
        self.linear: nn.Module = (
            nn.Conv2d(shape[0], shape_below[0], 3, padding=1)
            if self._enlarges
            else nn.Linear(prod(shape), prod(shape_below))
        )

    def forward(self, h: Tensor) -> Tensor:
        h = F.interpolate(h, size=self._shape_below[1:]) if self._enlarges else h.flatten(1)
        z: Tensor = self.linear(h).reshape(len(h), *self._shape_below)
        return self._below[0].activate(z)


@final
class ExactInverse(Inverse):
    """W^-1 (f^-1(h) - b) for a square block without norm or dropout."""

    def __init__(self, block: PlainBlock) -> None:
        super().__init__()
        synapse = block.synapse
        square = synapse.weight.shape[0] == synapse.weight.shape[1]
        if not (isinstance(block, DenseBlock) and block.norm is None and block.dropout is None and square):
            raise ValueError("only a square block without norm or dropout has an exact inverse")
        undone = [inverse for name, inverse in UNDONE.items() if ACTIVATIONS[name] is block.nonlinearity]
        if not undone:
            raise ValueError("the block's nonlinearity has no inverse")
        self._undo = undone[0]
        self._held: tuple[Parameter, Parameter | None] = (synapse.weight, synapse.bias)

    def forward(self, h: Tensor) -> Tensor:
        weight_DD, bias_D = self._held
        z_BD = self._undo(h.to(weight_DD.dtype))
        if bias_D is not None:
            z_BD = z_BD - bias_D
        x_BD: Tensor = torch.linalg.solve(weight_DD, z_BD.t()).t()
        return x_BD
