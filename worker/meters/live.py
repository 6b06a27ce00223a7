"""Bytes of tensors that are alive at once, counted operation by operation: what an allocator would see, anywhere."""

import weakref
from collections.abc import Mapping, Sequence
from typing import Any, final

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


@final
class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While it is entered: ``peak`` is the most bytes of storages made inside that somebody held at once.

    Gradients, optimizer state, recomputed activations and temporaries count; what was there before does not.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self._held = 0
        self._known: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Sequence[Any], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        del types
        made = func(*args, **(kwargs or {}))
        given = {_place(tensor) for tensor in _tensors((args, kwargs))}
        for tensor in _tensors(made):
            if _place(tensor) not in given:
                self._hold(tensor.untyped_storage())
        return made

    def _hold(self, storage: torch.UntypedStorage) -> None:
        place, size = storage._cdata, storage.nbytes()
        if place in self._known:
            return
        self._known[place] = weakref.ref(storage, lambda _: self._release(place, size))
        self._held += size
        self.peak = max(self.peak, self._held)

    def _release(self, place: int, size: int) -> None:
        del self._known[place]
        self._held -= size


def _place(tensor: Tensor) -> int:
    place: int = tensor.untyped_storage()._cdata
    return place


def _tensors(values: Any) -> list[Tensor]:
    return [value for value in tree_leaves(values) if isinstance(value, Tensor)]
