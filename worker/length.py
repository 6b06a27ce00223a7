"""How long a job trains, and which step is its last."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from specs.training import TrainingSpec
from worker.batches import Batches


class NoCounter(Exception):
    """A budget in joules was asked for, and this worker has no energy counter."""


@dataclass(frozen=True)
class Spent:
    """What training has cost so far; asked only where a budget needs it."""

    seconds: Callable[[], float]
    flops: Callable[[], float]
    joules: Callable[[], float | None]


@final
class Length:
    """The end of training: known beforehand in steps, or found by a clock or a meter."""

    def __init__(self, training: TrainingSpec, batches: Batches, spent: Spent) -> None:
        self._batches = batches
        self._spent = spent
        self._kind = "epochs" if training.budget is None else training.budget.kind
        self._value = float(training.epochs or 0) if training.budget is None else training.budget.value
        self.steps = self._planned()
        self._pause: float = math.inf
        if self._kind == "joules" and spent.joules() is None:
            raise NoCounter("a budget in joules needs an energy counter, and this worker has none")

    @property
    def epochs(self) -> int | None:
        """Epochs begun by the planned steps."""
        return None if self.steps is None else math.ceil(self.steps / self._batches.per_epoch)

    def replay(self, *, steps: int, pause: int) -> None:
        """From here on training ends with step ``steps``, whatever clock or meter found it, and rests at ``pause``."""
        self.steps, self._pause = steps, pause

    def is_last(self, step: int) -> bool:
        """Whether the step after ``step`` done ones is the last: the first whose end reaches the budget.

        By a clock or a meter the step is expected to cost what steps have cost so far.
        """
        if self.steps is not None:
            return step + 1 >= self.steps
        spent = self._measured()
        return spent + (spent / step if step else 0.0) >= self._value

    def is_over(self, step: int) -> bool:
        """Whether ``step`` done steps are all."""
        if self.steps is not None:
            return step >= self.steps or step >= self._pause
        return self._measured() >= self._value

    def share_done(self, step: int) -> float:
        """Between 0 and 1."""
        return min(1.0, step / self.steps if self.steps is not None else self._measured() / self._value)

    def _planned(self) -> int | None:
        value = self._value
        if self._kind == "epochs":
            return int(value) * self._batches.per_epoch
        if self._kind == "steps":
            return int(value)
        if self._kind != "samples":
            return None
        epochs, rest = divmod(int(value), len(self._batches.rows))
        return epochs * self._batches.per_epoch + math.ceil(rest / self._batches.size)

    def _measured(self) -> float:
        if self._kind == "seconds":
            return self._spent.seconds()
        if self._kind == "flops":
            return self._spent.flops()
        return self._spent.joules() or 0.0
