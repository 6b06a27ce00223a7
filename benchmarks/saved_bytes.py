"""What autograd keeps for a backward pass, in bytes that do not depend on the allocator."""

import weakref
from collections.abc import Iterable
from typing import Any, final

import torch
from torch import Tensor


@final
class SavedBytes:
    """What autograd keeps for a backward pass: bytes held now, and at most, since the context was entered.

    Storages are counted once however often they are saved; those of ``without`` (weights) never. Tensors that a
    checkpoint saves while it computes a pass again are not seen: ``worker.meters.live`` sees them.
    """

    def __init__(self, without: Iterable[Tensor] = ()) -> None:
        self.held = 0
        self.peak = 0
        self._without = {tensor.untyped_storage().data_ptr() for tensor in without}
        self._times: dict[int, int] = {}
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._pack, _unpack)

    def __enter__(self) -> "SavedBytes":
        self._hooks.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._hooks.__exit__(*error)

    def _pack(self, tensor: Tensor) -> "_Kept":
        storage = tensor.untyped_storage()
        place, size = storage.data_ptr(), storage.nbytes()
        kept = _Kept(tensor)
        if place not in self._without:
            self._change(place, size, 1)
            weakref.finalize(kept, self._change, place, size, -1)
        return kept

    def _change(self, place: int, size: int, by: int) -> None:
        before = self._times.get(place, 0)
        self._times[place] = before + by
        if before == 0 or before + by == 0:
            self.held += size * by
            self.peak = max(self.peak, self.held)


class _Kept:
    """One saved tensor, alive as long as its graph."""

    __slots__ = ("__weakref__", "tensor")

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


def _unpack(kept: _Kept) -> Tensor:
    return kept.tensor
