"""Units that no row of a fixed probe batch makes speak."""

from collections.abc import Sequence

import torch
from torch import Tensor

from learners.learner import Batch
from specs.diagnostics import DeadUnitsSpec
from worker.diagnostics.activities import stage_outputs
from worker.diagnostics.diagnostic import NOTHING, Diagnostic, Measured, Point, Scope, StepView, Subject


class DeadUnits(Diagnostic):
    """Share of a block's units (channels of an image) that are exactly zero on every probe row, in eval mode."""

    def __init__(self, spec: DeadUnitsSpec, subject: Subject) -> None:
        self._unit = spec.quantities["dead_share"]
        self._subject = subject
        self._shares: dict[str, Tensor] = {}

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
        blocks = network.names[: len(network.blocks)]
        self._shares = {name: _share(outputs[name]) for name in blocks if name in outputs}

    def after(self, view: StepView) -> Measured:
        del view
        if not self._shares:
            return NOTHING
        order = self._subject.network.names
        scopes = [Scope(name, order.index(name)) for name in self._shares]
        tensors, self._shares = list(self._shares.values()), {}
        return Measured(
            tensors,
            lambda values: [
                Point("dead_share", self._unit, scope, value[0]) for scope, value in zip(scopes, values, strict=True)
            ],
        )


def _share(activity: Tensor) -> Tensor:
    """Share of the units that are zero on all rows (and places, and times)."""
    axis = 1 if activity.dim() in (2, 4) else activity.dim() - 1
    others = [dim for dim in range(activity.dim()) if dim != axis]
    return (activity.abs().amax(dim=others) == 0).double().mean()
