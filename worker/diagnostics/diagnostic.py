"""The interface of a diagnostic: it looks at a step where it is allowed to, and gives tensors that are read once."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, NamedTuple, final

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from learners.learner import Batch, Learner, StepReport
from learners.networks.block_network import BlockNetwork
from specs.optimizers import Update
from specs.rule import Rule


class Scope(NamedTuple):
    """Where a series belongs: a layer, or the whole network (None)."""

    layer: str | None = None
    order: int = -1


WHOLE = Scope()


class Point(NamedTuple):
    """One measured value."""

    quantity: str
    unit: str
    scope: Scope
    value: float


@dataclass(frozen=True)
class Layer:
    """A layer of the network with those of its parameters that are trained."""

    scope: Scope
    parameters: tuple[Parameter, ...]


@dataclass(frozen=True)
class Subject:
    """What is measured: a network, what trains it, and its trained parameters in layer order.

    ``own`` are the learner's modules; where they pass forward, they share the network's mode.
    """

    network: BlockNetwork
    own: nn.Module | None
    learner: Learner
    learner_spec: Rule
    optimizer_spec: Update
    layers: tuple[Layer, ...]
    probe: Batch

    @property
    def parameters(self) -> list[Parameter]:
        return [parameter for layer in self.layers for parameter in layer.parameters]


@dataclass
class StepView:
    """What a diagnostic may see of one step. ``before`` knows the first three, ``after`` everything."""

    step: int
    logged: bool = True
    autocast: Callable[[], AbstractContextManager[None]] = nullcontext
    report: StepReport | None = None
    learning_rate: float = 0.0
    samples: int = 0
    wall_s: float = 0.0
    joules: float | None = None
    clipped: list[Tensor] = field(default_factory=list)


@dataclass(frozen=True)
class Measured:
    """Tensors that wait on the device, and what to make of their numbers once they are read."""

    tensors: Sequence[Tensor]
    points: Callable[[list[list[float]]], list[Point]]


NOTHING = Measured((), lambda _: [])


class Diagnostic(ABC):
    """One kind of measurement. It never writes to a parameter, gradient, buffer or generator.

    Order in a logged step: ``before`` (weights untouched), ``read`` once per group of parameters that step together
    (gradients written, not yet clipped), ``after`` (weights moved). What a method has nothing to do for, it leaves out.

    ``missing`` counts by (layer, reason) what could not be measured.
    """

    def __init__(self) -> None:
        self.missing: Counter[tuple[str, str]] = Counter()

    def before(self, view: StepView, parts: Sequence[Batch]) -> None:  # noqa: B027
        """The step has not begun: weights are those that the reported loss is of."""

    def read(self, view: StepView, parameters: Sequence[Parameter], gradients: Sequence[Tensor]) -> None:  # noqa: B027
        """These gradients are final and not clipped."""

    @abstractmethod
    def after(self, view: StepView) -> Measured:
        """The step is done."""

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers that the next points depend on; most diagnostics have none."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what ``state_dict`` gave, if it gave anything."""
        raise ValueError(f"{type(self).__name__} keeps no state, and was given {sorted(state)}")


@final
class OneRead:
    """All tensors of a logged step, brought to the host at once."""

    def __init__(self, measured: Sequence[Measured]) -> None:
        self._measured = measured
        tensors = [tensor for each in measured for tensor in each.tensors]
        self._values: list[float] = []
        if tensors:
            wide = torch.float32 if tensors[0].device.type == "mps" else torch.float64
            self._values = torch.cat([tensor.detach().reshape(-1).to(wide) for tensor in tensors]).tolist()

    def points(self) -> Iterator[Point]:
        """The points of the numbers; what waits for the device, the only time in a logged step, was done before."""
        values, at = self._values, 0
        for each in self._measured:
            taken = []
            for tensor in each.tensors:
                taken.append(values[at : at + tensor.numel()])
                at += tensor.numel()
            yield from each.points(taken)
