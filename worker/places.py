"""The places of a worker: how many attempts may run at a time, and on which device each."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

CPU: Final = "cpu"
GPU: Final = "gpu"


@dataclass(frozen=True)
class Place:
    """Room for one attempt."""

    resource_class: str
    device: str  # "cpu", or "cuda:" and the UUID of the GPU


class Places:
    """All places of a worker. Poller and task take from the same ones, so nothing runs twice on a device."""

    def __init__(self, *, cpu_slots: int, gpu_uuids: Sequence[str]) -> None:
        self.all = (*[Place(CPU, CPU)] * cpu_slots, *(Place(GPU, f"cuda:{uuid}") for uuid in gpu_uuids))
        self._free = list(self.all)
        self._changed = threading.Condition()

    @property
    def classes(self) -> tuple[str, ...]:
        """The resource classes that this worker serves."""
        return tuple(dict.fromkeys(place.resource_class for place in self.all))

    @property
    def busy(self) -> int:
        return len(self.all) - len(self._free)

    def take(self, resource_class: str, *, timeout_s: float = 0.0) -> Place | None:
        """A free place of the class, waiting at most so long for one."""
        with self._changed:
            self._changed.wait_for(lambda: self._first(resource_class) is not None, timeout_s)
            place = self._first(resource_class)
            if place is not None:
                self._free.remove(place)
            return place

    def give_back(self, place: Place) -> None:
        with self._changed:
            self._free.append(place)
            self._changed.notify_all()

    def _first(self, resource_class: str) -> Place | None:
        return next((place for place in self._free if place.resource_class == resource_class), None)
