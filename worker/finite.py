"""Watching for numbers that are not finite, and finding the layer where the first one arose."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from learners.build import Training
from learners.learner import Batch, ParameterGroup
from learners.optimizers import Optimizers
from specs.job import JobSpec
from worker.diagnostics.activities import stage_outputs


class Diverged(Exception):
    """Training met a loss or a gradient that is not finite, and the job asks to stop there."""

    def __init__(self, step: int, origin: "Origin") -> None:
        super().__init__(f"at step {step} {origin.what} is not finite; first in {origin.layer}")
        self.step = step
        self.origin = origin


@dataclass(frozen=True)
class Origin:
    """Where the first number that is not finite stands. ``tensor``: input, weight, output, gradient or loss."""

    layer: str
    tensor: str

    @property
    def what(self) -> str:
        return "the loss" if self.tensor == "loss" else f"the {self.tensor}"


class Watch(ABC):
    """Looks at every step before the optimizers do, and withholds those that are not finite."""

    layers: list[str]
    """Groups whose gradient of the running step is not finite, as far as it was looked at."""

    @abstractmethod
    def begin(self, step: int) -> None:
        """Starts step ``step``, counted from 1."""

    @abstractmethod
    def admits_loss(self, loss: Tensor, step: int) -> bool:
        """Whether step ``step`` (counted from 1) may go on to its optimizers."""

    @abstractmethod
    def admits(self, groups: Sequence[ParameterGroup], gradients: Sequence[Sequence[Tensor]]) -> bool:
        """Whether these gradients may be stepped along."""

    @abstractmethod
    def bad_step(self, *, look: bool) -> int | None:
        """The step that was withheld, if any, once. ``look``: waiting for the device is allowed now."""


@final
class ImmediateWatch(Watch):
    """Reads the loss at once, and of each layer the smallest gradient: NaN and infinity from above reach it.

    A bias's gradient is the sum of the layer's errors, so a few hundred numbers are read instead of all. What passes
    them makes the next step's loss not finite, and is found there.
    """

    def __init__(self) -> None:
        self.layers = []
        self._bad_step: int | None = None
        self._step = 0

    def begin(self, step: int) -> None:
        """Starts step ``step``, counted from 1."""
        self._step = step
        if self.layers:
            self.layers = []

    def admits_loss(self, loss: Tensor, step: int) -> bool:
        if math.isfinite(loss.item()):
            return True
        self._bad_step = step
        return False

    def admits(self, groups: Sequence[ParameterGroup], gradients: Sequence[Sequence[Tensor]]) -> bool:
        for group, written in zip(groups, gradients, strict=True):
            smallest = min(written, key=Tensor.numel) if len(written) > 1 else written[0]
            if not math.isfinite(smallest.sum().item()):
                self.layers.append(group.name)
                self._bad_step = self._step
        return not self.layers

    def bad_step(self, *, look: bool) -> int | None:
        del look
        found, self._bad_step = self._bad_step, None
        return found


@final
class DeferredWatch(Watch):
    """Never waits: the flag stays on the device, where fused optimizers obey it.

    From the first bad loss on every step is withheld, so the weights stay those before it until somebody looks.
    """

    def __init__(self, optimizers: Optimizers, device: torch.device) -> None:
        self.layers = []
        self._first_bad = torch.full((), -1, dtype=torch.int64, device=device)
        self._withhold = torch.zeros((), dtype=torch.float32, device=device)
        for unit in optimizers.units:
            # The names under which PyTorch's fused kernels look for a gradient scaler's verdict.
            unit.optimizer.grad_scale = None  # type: ignore[attr-defined]
            unit.optimizer.found_inf = self._withhold  # type: ignore[attr-defined]

    def begin(self, step: int) -> None:
        """Nothing to prepare."""

    def admits_loss(self, loss: Tensor, step: int) -> bool:
        newly = (self._first_bad < 0) & ~torch.isfinite(loss)
        self._first_bad.masked_fill_(newly, step)
        self._withhold.copy_(self._first_bad >= 0)
        return True

    def admits(self, groups: Sequence[ParameterGroup], gradients: Sequence[Sequence[Tensor]]) -> bool:
        del groups, gradients
        return True

    def bad_step(self, *, look: bool) -> int | None:
        if not look:
            return None
        step = int(self._first_bad.item())
        return None if step < 0 else step


def watch_for(spec: JobSpec, training: Training, device: torch.device) -> ImmediateWatch | DeferredWatch:
    """A GPU is not made to wait for each step, where its optimizers can withhold one by themselves."""
    fused = all(unit.optimizer.defaults.get("fused") for unit in training.optimizers.units)
    if device.type == "cpu" or not fused or training.rule.in_place or spec.training.on_nan == "continue":
        return ImmediateWatch()
    return DeferredWatch(training.optimizers, device)


@torch.no_grad()
def find_origin(training: Training, batch: Batch, step: int, gradient_layers: Sequence[str]) -> Origin:
    """The first layer, in the order of the forward pass, whose input, weights or output is not finite.

    The pass is that of the step: same rows, same masks, statistics untouched. If all outputs are finite, the fault
    arose on the way back: the highest layer whose gradient is not finite.
    """
    network = training.network
    if not _finite(batch.x):
        return Origin(network.names[0], "input")
    with network.passing(step, 0, batch.rows, "batch"):
        outputs = stage_outputs(network, training.learner, batch)
    for name, stage in zip(network.names, network.stages, strict=True):
        if not all(_finite(parameter) for parameter in stage.parameters()):
            return Origin(name, "weight")
        if name in outputs and not _finite(outputs[name]):
            return Origin(name, "output")
    order = [*network.names, *(group.name for group in training.groups)]
    found = [name for name in order if name in gradient_layers]
    return Origin(found[-1], "gradient") if found else Origin(network.names[-1], "loss")


def _finite(tensor: Tensor) -> bool:
    return bool(torch.isfinite(tensor).all().item())
