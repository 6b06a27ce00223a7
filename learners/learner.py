"""The learner interface: one question, asked once a batch. What is each parameter's gradient?

A learner writes gradients through its context. It never calls ``.backward()`` or ``.step()``, never draws from the
global generator and never looks at an optimizer: the loop clips, steps, schedules and measures for every learner.
"""

# B = rows of a part, K = classes or targets

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor, nn
from torch.nn import Parameter

from learners.networks.block_network import BlockNetwork
from learners.streams import Streams
from learners.task import Task

Rows = tuple[int, int, int]


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that share a name, a block and a factor on the learning rate.

    ``name`` is the layer's (``blocks.<i>``, ``readout``) or ``own.<...>`` for tensors of the learner. Groups with the
    same ``block`` are finished together by one commit; ``block`` is None for the read-out and what belongs to it.
    """

    name: str
    parameters: tuple[Parameter, ...]
    block: int | None
    lr_factor: float = 1.0


@dataclass(frozen=True)
class Batch:
    """One part of a step's batch. ``rows`` are (start, stop, total) in the step's batch; ``weight`` is their share."""

    x: Tensor
    y: Tensor
    dt: Tensor | None
    weight: float
    rows: Rows
    needs_input_error: bool = False

    @classmethod
    def whole(cls, x: Tensor, y: Tensor, dt: Tensor | None = None) -> "Batch":
        """A step's batch in one part."""
        return cls(x, y, dt, 1.0, (0, len(x), len(x)))

    def split(self, size: int | None) -> "list[Batch]":
        """Parts of at most ``size`` rows, in order; the batch itself when it is not larger."""
        start, stop, total = self.rows
        if size is None or size >= stop - start:
            return [self]
        return [self._part(at, min(at + size, stop - start), total) for at in range(0, stop - start, size)]

    def _part(self, low: int, high: int, total: int) -> "Batch":
        start = self.rows[0]
        dt = None if self.dt is None else self.dt[low:high]
        rows = (start + low, start + high, total)
        return Batch(self.x[low:high], self.y[low:high], dt, (high - low) / total, rows, self.needs_input_error)


@dataclass(frozen=True)
class StepReport:
    """What a learner says of one part. Detached 0-dim tensors, never floats: nothing waits for the device.

    ``loss`` is the task's loss of the learner's own scores before the update; ``forwards`` and ``backwards`` count
    whole-network equivalents; ``quantities`` are the learner's own numbers, 0-dim or [blocks]; ``input_error`` is
    d loss / d x, given exactly when the batch asked for it.
    """

    loss: Tensor
    forwards: float
    backwards: float
    quantities: Mapping[str, Tensor] = field(default_factory=dict)
    input_error: Tensor | None = None


class UpdateContext(ABC):
    """What a learner may do during an update, and nothing else may."""

    step: int
    part: int
    streams: Streams

    @abstractmethod
    def write(self, parameters: Sequence[Parameter], gradients: Sequence[Tensor]) -> None:
        """The writer: ``p.grad += weight * gradient`` in the parameter's dtype. The gradients are given away."""

    @abstractmethod
    def backward(
        self, objective: Tensor, parameters: Sequence[Parameter], *inputs: Tensor, seed: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """Differentiates ``objective`` (with ``seed`` as its gradient) and writes; returns d / d inputs, not weighted.

        Every parameter must have taken part: one that did not is an error, not a zero.
        """

    @abstractmethod
    def per_row(self, name: str, shape: Sequence[int], kind: Literal["randn", "rand"], *counters: int) -> Tensor:
        """Noise [B, *shape] that depends on a row's place in the step's batch, not on how the batch is split."""

    @abstractmethod
    def parts(self, batch: Batch) -> Iterator[Batch]:
        """For ``whole_batch`` learners: the micro-batches of ``batch``; masks and ``per_row`` follow each."""

    @abstractmethod
    def commit(self, *groups: str) -> None:
        """These groups are finished for this step: they may be read, stepped and freed. Never changes a result."""

    @abstractmethod
    def add_seeded(self, groups: Sequence[str], seed: int, scale: float) -> None:
        """``theta += scale * z(seed)`` in place; z is uncorrelated standard normals, the same for the same seed."""

    @abstractmethod
    def apply_seeded(self, groups: Sequence[str], seed: int, scalar: Tensor) -> None:
        """Steps along ``scalar * z(seed)`` by plain SGD and finishes the groups; no gradient is stored.

        A ``scalar`` of shape [n] stands for n directions, of seeds ``seed``, ``seed + 1`` ...: their sum is one step.
        """

    @abstractmethod
    def scaled(self, factor: float) -> "UpdateContext":
        """A context that writes ``factor`` times what it is given, and whose commit does nothing."""


class Learner(ABC):
    """A learning rule on one network. What it needs and how the loop must treat it stands on its spec."""

    @abstractmethod
    def setup(self, network: BlockNetwork, task: Task, streams: Streams) -> nn.Module | None:
        """Takes the network; returns the learner's own tensors, in the network's dtype and on its device."""

    @abstractmethod
    def groups(self) -> list[ParameterGroup]:
        """What is trained, in disjoint groups; asked once. What is not in it is frozen."""

    @abstractmethod
    def update(self, batch: Batch, context: UpdateContext) -> StepReport:
        """Writes this part's gradients."""

    @abstractmethod
    def predict(self, x: Tensor, dt: Tensor | None = None) -> Tensor:
        """Scores [B,K], differentiable; in eval mode a row's scores depend on that row alone."""

    @abstractmethod
    def reference(self, batch: Batch) -> Tensor | None:
        """The loss whose true gradient alignment is measured against; None where there is none."""

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers beside the tensors; most learners have none."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what ``state_dict`` gave."""
        if state:
            raise ValueError(f"{type(self).__name__} keeps no state, and was given {sorted(state)}")


def network_groups(network: BlockNetwork) -> list[ParameterGroup]:
    """One group per block, in order, and one for the read-out: the groups of a learner that trains everything."""
    groups = []
    for name, stage in zip(network.names, network.stages, strict=True):
        block = int(name.removeprefix("blocks.")) if name.startswith("blocks.") else None
        groups.append(ParameterGroup(name, tuple(stage.parameters()), block))
    return groups
