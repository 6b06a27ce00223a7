"""How the units of a network answer a fixed probe batch: one pass in eval mode for all of it."""

from collections.abc import Callable, Sequence
from typing import Final

import torch
from torch import Tensor

from learners.learner import Batch
from specs.architecture import Activation
from specs.diagnostics import ActivationsSpec
from worker.diagnostics.activities import stage_outputs
from worker.diagnostics.diagnostic import NOTHING, WHOLE, Diagnostic, Measured, Point, Scope, StepView, Subject

FLAT: Final = 1e-3
"""Of the largest slope; after the design of Amazon SageMaker Debugger's SaturatedActivation."""

SLOPES: dict[Activation, Callable[[Tensor], Tensor]] = {
    "tanh": lambda y: 1 - y.square(),
    "sigmoid": lambda y: 4 * y * (1 - y),
    "hard_sigmoid": lambda y: ((y > 0) & (y < 1)).to(y.dtype),
}
"""Slope over its largest value, from the output, of nonlinearities that saturate."""


class Activations(Diagnostic):
    """Mean and spread of every stage's outputs; of blocks also the zeros, the dead and the saturated units."""

    def __init__(self, spec: ActivationsSpec, subject: Subject) -> None:
        super().__init__()
        self._units = spec.quantities
        self._subject = subject
        self._found: dict[tuple[str, Scope], Tensor] = {}
        x = subject.probe.x.float()
        self._input = {"input_mean": x.mean(), "input_std": x.std(correction=0)}

    @torch.no_grad()
    def before(self, view: StepView, parts: Sequence[Batch]) -> None:
        """One pass in eval mode before the step; the mode of the network and of the learner's modules is put back."""
        del parts
        subject, network = self._subject, self._subject.network
        modules = [module for module in (network, subject.own) if module is not None]
        was_training = [module.training for module in modules]
        for module in modules:
            module.eval()
        with view.autocast():
            outputs = stage_outputs(network, subject.learner, subject.probe)
        for module, trained in zip(modules, was_training, strict=True):
            module.train(trained)
        torch.clear_autocast_cache()
        self._found = {(name, WHOLE): value for name, value in self._input.items()}
        for place, (name, stage) in enumerate(zip(network.names, network.stages, strict=True)):
            if name not in outputs:
                self.missing[name, "not_in_the_learners_pass"] += 1
                continue
            found = _statistics(outputs[name], stage.output_activation, is_block=place < len(network.blocks))
            self._found |= {(quantity, Scope(name, place)): value for quantity, value in found.items()}
            if place < len(network.blocks) and "saturated_share" not in found:
                self.missing[name, "no_saturating_nonlinearity"] += 1

    def after(self, view: StepView) -> Measured:
        del view
        if not self._found:
            return NOTHING
        keys, tensors = list(self._found), list(self._found.values())
        self._found = {}

        def points(values: list[list[float]]) -> list[Point]:
            return [
                Point(quantity, self._units[quantity], scope, value[0])
                for (quantity, scope), value in zip(keys, values, strict=True)
            ]

        return Measured(tensors, points)


def _statistics(activity: Tensor, activation: Activation | None, *, is_block: bool) -> dict[str, Tensor]:
    """All statistics of a stage's output over rows (and places, and times), by quantity."""
    activity = activity.float()
    std, mean = torch.std_mean(activity, correction=0)
    found = {"activation_mean": mean, "activation_std": std}
    if not is_block:
        return found
    axis = 1 if activity.dim() in (2, 4) else activity.dim() - 1
    others = [dim for dim in range(activity.dim()) if dim != axis]
    zero_share_U = (activity == 0).float().mean(dim=others)
    found |= {"zero_share": zero_share_U.mean(), "dead_share": (zero_share_U == 1).double().mean()}
    if activation in SLOPES:
        found["saturated_share"] = (SLOPES[activation](activity) < FLAT).float().mean()
    return found
