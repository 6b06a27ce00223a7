"""Watching for numbers that are not finite, before the optimizers step along them."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final, final

import torch
from torch import Tensor

from learners.build import Training
from learners.learner import ParameterGroup
from learners.optimizers import Optimizers
from specs.job import JobSpec
from worker.origin import Origin

CLOSE_LOOK_EVERY: Final = 10
"""A pass over all gradients costs some percent of a small step."""


class Diverged(Exception):
    """Training met a loss or a gradient that is not finite, and the job asks to stop there."""

    def __init__(self, step: int, origin: Origin) -> None:
        super().__init__(f"at step {step} {origin.what} is not finite; first in {origin.layer}")
        self.step = step
        self.origin = origin


class Watch(ABC):
    """Looks at every step before the optimizers do, and withholds those that are not finite.

    Every ``CLOSE_LOOK_EVERY`` steps, and at the first, it looks at all gradients: at the same ones whatever is logged.
    """

    layers: list[str]
    """Groups whose gradient of the running step is not finite, as far as it was looked at."""

    @abstractmethod
    def begin(self, step: int) -> None:
        """Starts step ``step``, counted from 1."""

    @abstractmethod
    def reads(self, step: int) -> bool:
        """Whether it wants to see the gradients of step ``step``."""

    @abstractmethod
    def admits_loss(self, loss: Tensor, step: int) -> bool:
        """Whether step ``step`` (counted from 1) may go on to its optimizers."""

    @abstractmethod
    def admits(self, groups: Sequence[ParameterGroup], gradients: Sequence[Sequence[Tensor]]) -> bool:
        """Whether these gradients may be stepped along."""

    @abstractmethod
    def refuse(self, step: int) -> None:
        """Step ``step`` was withheld already."""

    @abstractmethod
    def bad_step(self, *, look: bool) -> int | None:
        """The step that was withheld, if any, once. ``look``: waiting for the device is allowed now."""


@final
class ImmediateWatch(Watch):
    """Reads the loss at once, and of each layer the smallest gradient: NaN and infinity from above reach it.

    A bias's gradient is the sum of the layer's errors, so a few hundred numbers are read instead of all. What passes
    them between two close looks makes the next step's weights not finite, and is found there.
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

    def reads(self, step: int) -> bool:
        del step
        return True

    def admits_loss(self, loss: Tensor, step: int) -> bool:
        if math.isfinite(loss.item()):
            return True
        self._bad_step = step
        return False

    def admits(self, groups: Sequence[ParameterGroup], gradients: Sequence[Sequence[Tensor]]) -> bool:
        closely = is_close_look(self._step)
        for group, written in zip(groups, gradients, strict=True):
            looked_at = written if closely or len(written) == 1 else [min(written, key=Tensor.numel)]
            if not all(_is_finite(gradient) for gradient in looked_at):
                self.layers.append(group.name)
                self._bad_step = self._step
        return not self.layers

    def refuse(self, step: int) -> None:
        self._bad_step = step

    def bad_step(self, *, look: bool) -> int | None:
        del look
        found, self._bad_step = self._bad_step, None
        return found


@final
class DeferredWatch(Watch):
    """Never waits: the flag stays on the device, where fused optimizers obey it.

    From the first bad number on every step is withheld, so the weights stay those before it until somebody looks.
    """

    def __init__(self, optimizers: Optimizers, device: torch.device) -> None:
        self.layers = []
        self._step = 0
        self._first_bad = torch.full((), -1, dtype=torch.int64, device=device)
        self._withhold = torch.zeros((), dtype=torch.float32, device=device)
        for unit in optimizers.units:
            # The names under which PyTorch's fused kernels look for a gradient scaler's verdict.
            unit.optimizer.grad_scale = None  # type: ignore[attr-defined]
            unit.optimizer.found_inf = self._withhold  # type: ignore[attr-defined]

    def begin(self, step: int) -> None:
        """Starts step ``step``, counted from 1."""
        self._step = step

    def reads(self, step: int) -> bool:
        return is_close_look(step)

    def admits_loss(self, loss: Tensor, step: int) -> bool:
        self._note(~torch.isfinite(loss), step)
        return True

    def admits(self, groups: Sequence[ParameterGroup], gradients: Sequence[Sequence[Tensor]]) -> bool:
        del groups
        if is_close_look(self._step):
            norms = torch.stack(torch._foreach_norm([gradient for written in gradients for gradient in written]))
            self._note(~torch.isfinite(norms).all(), self._step)
        return True

    def refuse(self, step: int) -> None:
        self._note(torch.ones_like(self._first_bad, dtype=torch.bool), step)

    def _note(self, bad: Tensor, step: int) -> None:
        self._first_bad.masked_fill_((self._first_bad < 0) & bad, step)
        self._withhold.copy_(self._first_bad >= 0)

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


def is_close_look(step: int) -> bool:
    """Whether all gradients of step ``step`` are looked at."""
    return step == 1 or step % CLOSE_LOOK_EVERY == 0


def _is_finite(gradient: Tensor) -> bool:
    """By the sum, which is read fast; a sum of finite numbers may overflow, so then by each."""
    return math.isfinite(gradient.sum().item()) or bool(torch.isfinite(gradient).all().item())
