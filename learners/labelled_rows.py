"""Stacks of rows on their way through a block: any rows, or copies of the same rows that differ only in their label.

For the latter a dense block needs little more than one product. Its drive is W x + b, and only the label's columns of W
see the label: W x + b is taken once for the rows without one, and each copy adds its label's column. On the way back
the copies' errors are summed before they meet x. That is algebra, not an approximation: outputs and gradients are
those of the stacked rows, up to rounding.
"""

# B = rows, N = stacked rows, I = inputs, K = classes, H = units

from collections.abc import Sequence
from typing import Protocol, final

import torch
from torch import Tensor
from torch.nn import Parameter

from learners.networks.block import Block
from learners.networks.dense import DenseBlock


class Stack(Protocol):
    """Rows that one block reads."""

    def outputs(self) -> Tensor:
        """What the block puts out for all rows; keeps a graph where gradients are enabled."""

    def gradients(self, output: Tensor, parameters: Sequence[Parameter], seed: Tensor) -> Sequence[Tensor]:
        """Gradients of the block's parameters where ``output``, or the part of it that is given, has this error."""


@final
class StackedRows:
    """Any rows."""

    def __init__(self, block: Block, x_N: Tensor, dt_N: Tensor | None) -> None:
        self._block = block
        self._x_N = x_N
        self._dt_N = dt_N

    def outputs(self) -> Tensor:
        y_N: Tensor = self._block(self._x_N, None, self._dt_N)[0]
        return y_N

    def gradients(self, output: Tensor, parameters: Sequence[Parameter], seed: Tensor) -> Sequence[Tensor]:
        return torch.autograd.grad(output, parameters, seed)


@final
class LabelledRows:
    """The same rows under several labels. ``x_BI`` has zeros in ``columns``, where the label stands."""

    def __init__(self, block: DenseBlock, x_BI: Tensor, columns: slice) -> None:
        self._block = block
        self._columns = columns
        self._drive_BH = block.drive(x_BI)
        # A leaf of its own: through the whole matrix its gradient would be one more matrix, mostly of zeros.
        self._columns_KH = block.synapse.weight.detach()[:, columns].t().contiguous()
        self._columns_KH.requires_grad_(torch.is_grad_enabled())
        self._labels_NK = x_BI.new_empty(0)

    def label(self, labels_NK: Tensor) -> None:
        """One copy of all rows after the other, each row with its label."""
        self._labels_NK = labels_NK

    def outputs(self) -> Tensor:
        drive_BH = self._drive_BH
        added_NH = (self._labels_NK @ self._columns_KH).to(drive_BH.dtype)
        drive_NH = (drive_BH + added_NH.reshape(-1, *drive_BH.shape)).flatten(0, 1)
        return self._block.activate(drive_NH)

    def outputs_alike(self, label_K: Tensor) -> Tensor:
        """What the block puts out where all rows have this label: [B,H], without a graph."""
        drive_BH = self._drive_BH.detach()
        return self._block.activate(drive_BH + (label_K @ self._columns_KH.detach()).to(drive_BH.dtype))

    def gradients(self, output: Tensor, parameters: Sequence[Parameter], seed: Tensor) -> Sequence[Tensor]:
        *found, columns_KH = torch.autograd.grad(output, (*parameters, self._columns_KH), seed)
        weight = self._block.synapse.weight
        at = next(index for index, parameter in enumerate(parameters) if parameter is weight)
        found[at][:, self._columns] += columns_KH.t()
        return found
