"""Dual numbers: tensors that carry their slope along one direction through a forward pass. PyTorch's, with types."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.autograd import forward_ad


@contextmanager
def dual_level() -> Iterator[None]:
    """Dual numbers live inside."""
    with forward_ad.dual_level():
        yield


def dual(primal: Tensor, tangent: Tensor) -> Tensor:
    """A number and its slope [like primal, same dtype]."""
    made: Tensor = forward_ad.make_dual(primal, tangent)  # type: ignore[no-untyped-call]
    return made


def parts(x: Tensor) -> tuple[Tensor, Tensor | None]:
    """A number and its slope; None where nothing moves."""
    primal, tangent = forward_ad.unpack_dual(x)  # type: ignore[no-untyped-call]
    return primal, tangent


def load_formulas() -> None:
    """PyTorch loads its formulas for forward mode with the first dual number, and warns of how it wrote them."""
    with warnings.catch_warnings(), dual_level():
        warnings.filterwarnings("ignore", message=".*torch.jit.script.*", category=DeprecationWarning)
        dual(torch.zeros(()), torch.zeros(()))
