"""Loops over time as one node of the graph: forward without a graph and backward by hand, where they may be used."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.autograd import forward_ad


def may_be_one_node(tensors: Sequence[Tensor]) -> bool:
    """Whether a hand-written node may stand for the plain loop: not in forward mode, transforms or under autocast."""
    if torch.is_autocast_enabled(tensors[0].device.type) or torch._C._are_functorch_transforms_active():
        return False
    return all(forward_ad.unpack_dual(tensor).tangent is None for tensor in tensors)  # type: ignore[no-untyped-call]


def differentiable_gradients(
    plain: Callable[..., Tensor], inputs: Sequence[Tensor], gradient: Tensor, needed: Sequence[bool]
) -> list[Tensor | None]:
    """Gradients through the plain loop, which can be differentiated again (``create_graph``)."""
    wanted = [tensor for tensor, is_needed in zip(inputs, needed, strict=True) if is_needed]
    found = iter(torch.autograd.grad(plain(*inputs), wanted, gradient, create_graph=True))
    return [next(found) if is_needed else None for is_needed in needed]
