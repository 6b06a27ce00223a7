"""Bytes of tensors that are alive at once, counted operation by operation: what an allocator would see, anywhere."""

from collections.abc import Mapping, Sequence
from typing import Any, final

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


@final
class LiveBytes(TorchDispatchMode):
    """While it is entered, ``peak`` is the most bytes of storages made inside that were alive after an operation.

    Recomputed activations, gradients and the operations' results count; what was there before does not.
    """

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._alive: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Sequence[Any], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        del types
        result = func(*args, **(kwargs or {}))
        given = {_place(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)}
        self._alive = {place: kept for place, kept in self._alive.items() if not kept[0].expired()}
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor) and _place(leaf) not in given:
                storage = leaf.untyped_storage()
                self._alive[_place(leaf)] = (StorageWeakRef(storage), storage.nbytes())
        self.peak = max(self.peak, sum(size for _, size in self._alive.values()))
        return result


def _place(tensor: torch.Tensor) -> int:
    place: int = tensor.untyped_storage()._cdata
    return place
