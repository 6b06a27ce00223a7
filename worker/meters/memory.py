"""Bytes: the allocator's peak on a GPU, the rise of the process on a CPU, and what is stored for the backward pass."""

import resource
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Final, final

import torch
from torch import Tensor, nn

BETWEEN_LAYERS: Final = "between_layers"
"""What is stored while no layer runs: losses, goodness, whatever a learner computes itself."""

_STATUS = Path("/proc/self/status")


class MemoryMeter:
    """Peak bytes of one job on its device, from the moment this is made: data, weights and training together.

    A CPU has no allocator that counts. There the peak is the process's largest resident size above the one at the
    start, without the files that came to be mapped meanwhile: pages of libraries are read whenever they are first
    used, tens of megabytes that are no job's, and prepared rows are shared by all jobs on them. Memory that the process
    held free at the start and used again is not seen.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._earlier_peak = 0
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        self._can_reset = _reset_high_water_mark()
        self._baseline = _status_bytes("VmRSS") if self._can_reset else _max_rss_bytes()
        self._mapped = _status_bytes("RssFile")
        self._highest = 0
        self._private = 0

    def peak(self) -> dict[str, Any]:
        """``peak_bytes`` and ``source``, the way it was taken."""
        if self._device.type == "cuda":
            stats = torch.cuda.memory_stats(self._device)
            return {
                "peak_bytes": max(self._earlier_peak, torch.cuda.max_memory_allocated(self._device)),
                "reserved_bytes": torch.cuda.max_memory_reserved(self._device),
                "allocation_retries": stats.get("num_alloc_retries", 0),
                "source": "cuda_allocator",
            }
        if not self._can_reset:
            rise, source = _max_rss_bytes() - self._baseline, "rise_of_max_rss"
        else:
            rise, source = self._private_rise(), "peak_private_rss_above_start"
        return {"peak_bytes": max(self._earlier_peak, rise, 0), "source": source}

    def _private_rise(self) -> int:
        """Files that were mapped after the mark was last set were no part of it: it is looked at more than once."""
        highest = _status_bytes("VmHWM")
        if highest > self._highest:
            self._highest = highest
            mapped = max(0, _status_bytes("RssFile") - self._mapped)
            self._private = max(self._private, highest - self._baseline - mapped)
        return self._private

    def state_dict(self) -> dict[str, int]:
        return {"peak_bytes": self.peak()["peak_bytes"]}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """The peak of a resumed job is the largest of its attempts."""
        self._earlier_peak = state["peak_bytes"]


class _Stored:
    """A tensor kept for a backward pass; counted as long as the graph holds it."""

    def __init__(self, tensor: Tensor, ledger: "_Ledger") -> None:
        self.tensor = tensor
        self._ledger = ledger
        ledger.add(tensor)

    def __del__(self) -> None:
        self._ledger.remove(self.tensor)


class _Ledger:
    """Bytes of distinct storages that are held now, and the most that were held at once, by the layer that stored them.

    A storage belongs to the layer that keeps it first: what a layer hands on and the next one keeps is the next one's.
    """

    def __init__(self, excluded: set[int]) -> None:
        self.peak = 0
        self.peak_by_layer: dict[str, int] = {}
        self.running = [BETWEEN_LAYERS]
        self._owner: dict[int, str] = {}
        self._by_layer: Counter[str] = Counter()
        self._now = 0
        self._excluded = excluded
        self._holders: Counter[int] = Counter()

    def add(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if (place := storage.data_ptr()) in self._excluded:
            return
        if not self._holders[place]:
            self._now += storage.nbytes()
            self._owner[place] = self.running[-1]
            self._by_layer[self.running[-1]] += storage.nbytes()
            if self._now > self.peak:
                self.peak, self.peak_by_layer = self._now, dict(+self._by_layer)
        self._holders[place] += 1

    def remove(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if (place := storage.data_ptr()) in self._excluded:
            return
        self._holders[place] -= 1
        if not self._holders[place]:
            self._now -= storage.nbytes()
            self._by_layer[self._owner.pop(place)] -= storage.nbytes()


@final
class ActivationCount:
    """Counts, while it is entered, the most bytes stored at once for backward passes; parameters are excluded.

    ``layers`` are the modules by whose passes the bytes are told apart. What is kept only while a checkpointed segment
    is recomputed is not seen: it is working memory.
    """

    def __init__(self, parameters: Iterable[Tensor], layers: Mapping[str, nn.Module] | None = None) -> None:
        self._layers = layers or {}
        self._watched = ExitStack()
        self._ledger = _Ledger({parameter.untyped_storage().data_ptr() for parameter in parameters})
        self._hooks = torch.autograd.graph.saved_tensors_hooks(
            lambda tensor: _Stored(tensor, self._ledger), lambda kept: kept.tensor
        )

    @property
    def peak_bytes(self) -> int:
        return self._ledger.peak

    @property
    def peak_by_layer(self) -> dict[str, int]:
        """At the moment of the peak; their sum is ``peak_bytes``."""
        return self._ledger.peak_by_layer

    def __enter__(self) -> "ActivationCount":
        for name, layer in self._layers.items():
            self._watch(name, layer)
        self._hooks.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._hooks.__exit__(*error)
        self._watched.close()

    def _watch(self, name: str, layer: nn.Module) -> None:
        running = self._ledger.running

        def begins(*_: Any) -> None:
            running.append(name)

        def ends(*_: Any) -> None:
            running.pop()

        self._watched.callback(layer.register_forward_pre_hook(begins).remove)
        self._watched.callback(layer.register_forward_hook(ends, always_call=True).remove)


def _reset_high_water_mark() -> bool:
    """Linux: VmHWM starts again from the present size. A forked process would else report its parent's peak."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
        return True
    return False


def _status_bytes(field: str) -> int:
    for line in _STATUS.read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    return 0


def _max_rss_bytes() -> int:
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size if sys.platform == "darwin" else size * 1024
