"""Bytes of what a job holds beside activations: weights, gradients, optimizer state."""

from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any, final

from torch import Tensor

from learners.build import Training


def holdings(training: Training) -> dict[str, int]:
    """By component, distinct storages alone."""
    modules = [module for module in (training.network, training.own) if module is not None]
    weights = [tensor for module in modules for tensor in (*module.parameters(), *module.buffers())]
    states = [
        value
        for unit in training.optimizers.units
        for state in unit.optimizer.state.values()
        for value in state.values()
        if isinstance(value, Tensor)
    ]
    return {
        "weights": _bytes(weights),
        "optimizer_state": _bytes(states),
    }


@final
class GradientCount:
    """Counts, while it is entered, the most bytes of gradients that stood when an optimizer stepped.

    Optimizers free what they stepped along: rules that commit layer by layer never hold all gradients at once.
    """

    def __init__(self, training: Training) -> None:
        self.peak_bytes = 0
        self._trained = [parameter for group in training.groups for parameter in group.parameters]
        self._optimizers = [unit.optimizer for unit in training.optimizers.units]
        self._hooks = ExitStack()

    def __enter__(self) -> "GradientCount":
        for optimizer in self._optimizers:
            self._hooks.callback(optimizer.register_step_pre_hook(self._look).remove)
        return self

    def __exit__(self, *error: object) -> None:
        self._hooks.close()

    def _look(self, *_: Any) -> None:
        held = _bytes(parameter.grad for parameter in self._trained if parameter.grad is not None)
        self.peak_bytes = max(self.peak_bytes, held)


def _bytes(tensors: Iterable[Tensor]) -> int:
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    return sum(storages.values())
