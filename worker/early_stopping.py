"""The best evaluation so far, and whether to wait for a better one."""

from typing import Any, final

from specs.training import EarlyStoppingSpec

_RISING = {"accuracy"}


@final
class BestEvaluation:
    """Follows one metric of the validation split. Without early stopping it only remembers the best."""

    def __init__(self, spec: EarlyStoppingSpec | None) -> None:
        self._spec = spec
        self.metric = "loss" if spec is None else spec.metric
        self.value: float | None = None
        self.step: int | None = None
        self._without_improvement = 0

    def take(self, metrics: dict[str, float], step: int) -> bool:
        """Notes an evaluation; True if it is the best so far. What is not a number is never better."""
        value = metrics[self.metric]
        better = value == value and (self.value is None or self._better(value, self.value))
        if better:
            self.value, self.step = value, step
            self._without_improvement = 0
        else:
            self._without_improvement += 1
        return better

    def _better(self, value: float, than: float) -> bool:
        return value > than if self.metric in _RISING else value < than

    @property
    def should_stop(self) -> bool:
        return self._spec is not None and self._without_improvement >= self._spec.patience

    @property
    def may_stop_next(self) -> bool:
        """Whether the next evaluation could end training."""
        return self._spec is not None and self._without_improvement + 1 >= self._spec.patience

    @property
    def keeps_weights(self) -> bool:
        """Whether the best weights must be kept."""
        return self._spec is not None and self._spec.restore_best

    def state_dict(self) -> dict[str, Any]:
        return {"value": self.value, "step": self.step, "without_improvement": self._without_improvement}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.value, self.step = state["value"], state["step"]
        self._without_improvement = state["without_improvement"]
