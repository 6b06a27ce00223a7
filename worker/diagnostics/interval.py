"""An interval in steps that widens until what is done in it fits a budget of time."""

import math
from statistics import median
from typing import Any, final

_REMEMBERED = 5


@final
class Interval:
    """Every ``base`` steps, or a multiple of it. None: never.

    With a budget b, N = ceil(t_measuring / (b * t_step)): measuring takes at most the share b of training.
    """

    def __init__(self, base: int | None, *, budget: float | None) -> None:
        self._base = base
        self._budget = budget
        self._took: list[float] = []
        self._step_s = 0.0
        self._cold = True
        self.steps = base

    def due(self, step: int, *, last: bool) -> bool:
        """Whether step ``step``, counted from 1, is measured: the first, the multiples, the last."""
        return self.steps is not None and (step == 1 or last or step % self.steps == 0)

    def took(self, seconds: float) -> None:
        """One measurement's cost. The first of a process does not count: it warms caches up."""
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
        return {"steps": self.steps, "took": self._took, "step_s": self._step_s}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.steps, self._took, self._step_s = state["steps"], state["took"], state["step_s"]
