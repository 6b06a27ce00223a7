"""Precision of a job: the dtype of its weights, and the arithmetic of its products."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch

from specs.training import Precision

_FULL = nullcontext()


def weights_dtype(precision: Precision) -> torch.dtype:
    """bfloat16 keeps float32 master weights."""
    return torch.float64 if precision == "float64" else torch.float32


def autocast_for(precision: Precision, device: torch.device) -> Callable[[], AbstractContextManager[None]]:
    """Makes the context in which learners run their forward passes."""
    if precision == "bfloat16":
        return lambda: torch.autocast(device.type, dtype=torch.bfloat16)
    return lambda: _FULL
