"""An interval in steps that widens until what is done in it fits a budget of time."""

import math
from collections.abc import Callable
from statistics import median
from typing import Any, final

_REMEMBERED = 5


@final
class Interval:
    """Every ``base`` steps, or a multiple of it. None: never.

    With a budget b, N = ceil(t_measuring / (b * t_step)): measuring takes at most the share b of training. ``trained``
    tells the seconds of training so far. With it the sum is held too, from the first steps on: nothing is measured
    again until the budget has room for it, so the first measurement, which is cold and may take as long as ten, is paid
    off. Only the first step's is taken whatever it costs.
    """

    def __init__(self, base: int | None, *, budget: float | None, trained: Callable[[], float] | None = None) -> None:
        self._base = base
        self._budget = budget
        self._trained = trained
        self._spent = 0.0
        self._took: list[float] = []
        self._step_s = 0.0
        self._cold = True
        self.steps = base

    def due(self, step: int, *, last: bool) -> bool:
        """Whether step ``step``, counted from 1, is measured: the first; multiples and the last as there is room."""
        if self.steps is None:
            return False
        return step == 1 or ((last or step % self.steps == 0) and self._has_room())

    def _has_room(self) -> bool:
        if self._budget is None or self._trained is None:
            return True
        next_one = median(self._took) if self._took else self._spent
        return self._spent + next_one <= self._budget * self._trained()

    def took(self, seconds: float) -> None:
        """One measurement's cost. The first of a process does not tell what the next ones take: it warms caches up."""
        self._spent += seconds
        if self._cold:
            self._cold = False
            return
        self._took = [*self._took, seconds][-_REMEMBERED:]
        self._widen()

    def step_takes(self, seconds: float) -> None:
        """The cost of a plain step."""
        self._step_s = seconds
        self._widen()

    def _widen(self) -> None:
        if self._base is None or self._budget is None or not self._took or not self._step_s:
            return
        wanted = median(self._took) / (self._budget * self._step_s)
        self.steps = self._base * max(1, math.ceil(wanted / self._base))

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps, "took": self._took, "step_s": self._step_s, "spent": self._spent}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.steps, self._took = state["steps"], state["took"]
        self._step_s, self._spent = state["step_s"], state["spent"]
