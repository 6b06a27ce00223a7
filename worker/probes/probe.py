"""The interface of a probe: it looks at a trained network outside of training, and gives plain numbers."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from learners.build import Training
from learners.learner import Batch
from worker.batches import Rows
from worker.diagnostics.activities import stage_outputs
from worker.diagnostics.diagnostic import Layer


@dataclass(frozen=True)
class Trained:
    """A job's newest weights, and the rows of its data set that may be looked at."""

    training: Training
    layers: tuple[Layer, ...]
    step: int
    train: Rows
    validation: Rows

    @property
    def names(self) -> list[str]:
        """The layers in network order, then the learner's own."""
        return [layer.scope.layer or "" for layer in self.layers]

    def batch(self, rows: int) -> Batch:
        """The first training rows as one batch."""
        part = self.train.slice(0, rows)
        return Batch.whole(part.x, part.y, part.dt)

    def features(self, rows: int) -> dict[str, Tensor]:
        """Outputs [rows, ...] of the network's stages by name, in evaluation mode, as the learner itself runs them.

        Stages that its reference loss leaves out are missing; of one that runs several times, the last output counts.
        Rows that the learner stacks, as for several labels, are left out: the outputs would be of other inputs.
        """
        self.training.eval()
        found = stage_outputs(self.training.network, self.training.learner, self.batch(rows))
        count = min(rows, len(self.train))
        return {name: output for name, output in found.items() if len(output) == count}


class Probe(ABC):
    """One kind of measurement. It may do what it likes with the network: the process ends with it."""

    def __init__(self, spec: Any) -> None:
        self.spec = spec

    @abstractmethod
    def measure(self, trained: Trained, other: Trained | None) -> dict[str, Any]:
        """Plain JSON values; what is not defined is None, with ``reason``. ``other`` is the job that the spec names."""


def missing(names: list[str], found: Mapping[str, Any], reason: str) -> dict[str, Any]:
    """``found`` in the order of ``names``; a layer that is not in it is null with the reason."""
    return {name: found.get(name, {"value": None, "reason": reason}) for name in names}
