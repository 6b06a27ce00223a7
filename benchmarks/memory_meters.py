"""Meters of what training keeps in memory, in bytes that do not depend on the allocator."""

import weakref
from collections.abc import Iterable
from typing import Any, final

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


@final
class SavedBytes:
    """What autograd keeps for a backward pass: bytes held now, and at most, since the context was entered.

    Storages are counted once however often they are saved; those of ``without`` (weights) never. Tensors that a
    checkpoint saves while it computes a pass again are not seen: ``PeakBytes`` sees them.
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


@final
class PeakBytes(TorchDispatchMode):
    """All that operations make and somebody still holds: the most bytes at once since the context was entered.

    Counts every new storage, gradients and temporaries too, until nobody refers to it: what an allocator would report.
    """

    def __init__(self) -> None:
        super().__init__()
        self.held = 0
        self.peak = 0
        self._known: dict[int, Any] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        # Storages that existed before, weights and rows, come in as arguments.
        old = {_identity(tensor) for tensor in _tensors((args, kwargs))}
        for tensor in _tensors(made):
            if _identity(tensor) not in old:
                self._hold(tensor.untyped_storage())
        return made

    def _hold(self, storage: torch.UntypedStorage) -> None:
        place = storage._cdata
        if place in self._known:
            return
        size = storage.nbytes()
        self._known[place] = weakref.ref(storage, lambda _: self._release(place, size))
        self.held += size
        self.peak = max(self.peak, self.held)

    def _release(self, place: int, size: int) -> None:
        del self._known[place]
        self.held -= size


def _identity(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _tensors(values: Any) -> list[Tensor]:
    return [value for value in torch.utils._pytree.tree_leaves(values) if isinstance(value, Tensor)]
