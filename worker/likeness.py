"""How alike two runs are: tensors bit by bit, losses step by step."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


@dataclass
class Likeness:
    """What comparing tensors came to so far; comparisons are made in the order of their steps."""

    exact: bool = True
    largest: float = 0.0
    """Of all differences of two values over the largest magnitude in their tensor."""
    first: dict[str, Any] | None = None
    steps: list[int] = field(default_factory=list)
    tensors: int = 0
    values: int = 0

    def compare(self, stored: Mapping[str, Tensor], replayed: Mapping[str, Tensor], step: int) -> None:
        """Takes in one state of both runs."""
        self.steps.append(step)
        for name in sorted(stored.keys() | replayed.keys()):
            self.tensors += 1
            one, other = stored.get(name), replayed.get(name)
            if one is None or other is None or (one.shape, one.dtype) != (other.shape, other.dtype):
                self._note(name, step, index=None, stored=_kind(one), replayed=_kind(other))
                self.largest = float("inf")
                continue
            self._compare_one(name, one.detach().cpu(), other.detach().cpu(), step)

    def _compare_one(self, name: str, stored: Tensor, replayed: Tensor, step: int) -> None:
        self.values += stored.numel()
        differs = _bits(stored) != _bits(replayed)
        if not bool(differs.any()):
            return
        at = int(differs.reshape(-1).nonzero()[0])
        index = [int(place) for place in np.unravel_index(at, stored.shape)] if stored.dim() else []
        one, other = stored.reshape(-1)[at].item(), replayed.reshape(-1)[at].item()
        self._note(name, step, index=index, stored=one, replayed=other)
        self.largest = max(self.largest, _relative(stored, replayed))

    def _note(self, name: str, step: int, *, index: list[int] | None, stored: Any, replayed: Any) -> None:
        self.exact = False
        if self.first is None:
            self.first = {"tensor": name, "step": step, "index": index, "stored": stored, "replayed": replayed}


@dataclass(frozen=True)
class Losses:
    """What comparing the logged losses came to."""

    count: int
    exact: bool
    largest: float
    first: dict[str, Any] | None

    @classmethod
    def between(cls, stored: npt.NDArray[np.float64], replayed: Mapping[int, float], *, after: int) -> "Losses":
        """Of the steps behind ``after`` that both have. ``stored``: steps, then float32 values."""
        count, largest, first = 0, 0.0, None
        for step, value in zip(stored[0].astype(int).tolist(), stored[1].tolist(), strict=True):
            if step <= after or step not in replayed:
                continue
            count, again = count + 1, replayed[step]
            if value == again or (value != value and again != again):
                continue
            first = first or {"step": step, "stored": value, "replayed": again}
            largest = max(largest, _ratio(abs(value - again), max(abs(value), abs(again))))
        return cls(count, first is None, largest, first)


def _bits(tensor: Tensor) -> Tensor:
    """The tensor's bits as integers, so that NaN equals itself and -0 is not 0."""
    width = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    if tensor.dtype.is_complex:
        tensor = torch.view_as_real(tensor)
    return tensor.contiguous().view(width[tensor.element_size()])


def _relative(stored: Tensor, replayed: Tensor) -> float:
    one, other = stored.double(), replayed.double()
    return _ratio(float((one - other).abs().max()), float(torch.maximum(one.abs().max(), other.abs().max())))


def _ratio(difference: float, scale: float) -> float:
    if difference == 0:
        return 0.0
    found = difference / scale if scale > 0 else float("inf")
    return found if found == found else float("inf")


def _kind(tensor: Tensor | None) -> str:
    return "missing" if tensor is None else f"{tensor.dtype} {list(tensor.shape)}"
