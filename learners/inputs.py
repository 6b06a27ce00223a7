"""Widened inputs: what a rule appends to every row, in the place that the network's inputs have for it."""

# N = rows, E = appended features

import torch
from torch import Tensor

from specs.architecture import Layout


def appended(x: Tensor, extra_NE: Tensor, layout: Layout) -> Tensor:
    """x with ``extra`` as further features, as constant channels, or as features of every time step."""
    if layout == "vector":
        return torch.cat([x.flatten(1), extra_NE], 1)
    if layout == "image":
        return torch.cat([x, extra_NE[:, :, None, None].expand(-1, -1, *x.shape[2:])], 1)
    return torch.cat([x, extra_NE[:, None].expand(-1, x.shape[1], -1)], 2)
