"""Units that no row of a fixed probe batch makes speak."""

from collections.abc import Sequence

import torch
from torch import Tensor

from learners.learner import Batch
from specs.diagnostics import DeadUnitsSpec
from worker.diagnostics.diagnostic import NOTHING, Diagnostic, Measured, Point, Scope, StepView, Subject


class DeadUnits(Diagnostic):
    """Share of a block's units (channels of an image) that are exactly zero on every probe row, in eval mode."""

    def __init__(self, spec: DeadUnitsSpec, subject: Subject) -> None:
        self._unit = spec.quantities["dead_share"]
        self._subject = subject
        self._shares: list[Tensor] = []

    @torch.no_grad()
    def before(self, view: StepView, parts: Sequence[Batch]) -> None:
        """One forward pass before the step; the mode of every module is put back."""
        del view, parts
        network = self._subject.network
        was_training = network.training
        network.eval()
        x = neutral_inputs(self._subject.probe.x, network.input_shape, self._subject.network.input_layout)
        self._shares = []
        for activity in network.activities(x, self._subject.probe.dt, detach=True)[: len(network.blocks)]:
            axis = 1 if activity.dim() in (2, 4) else activity.dim() - 1
            others = [dim for dim in range(activity.dim()) if dim != axis]
            self._shares.append(_share(activity, others))
        network.train(was_training)

    def after(self, view: StepView) -> Measured:
        del view
        if not self._shares:
            return NOTHING
        shares, self._shares = self._shares, []
        names = self._subject.network.names
        return Measured(
            shares,
            lambda values: [
                Point("dead_share", self._unit, Scope(names[index], index), value[0])
                for index, value in enumerate(values)
            ],
        )


def _share(activity: Tensor, others: list[int]) -> Tensor:
    """Share of the entries along the remaining axis that are zero over all ``others``."""
    return (activity.abs().amax(dim=others) == 0).double().mean()


def neutral_inputs(x: Tensor, input_shape: tuple[int, ...], layout: str) -> Tensor:
    """``x`` as the network takes it. A network widened for a label gets the neutral one, 1/K, in every row."""
    axis = 1 if layout == "image" else x.dim() - 1
    extra = input_shape[axis - 1] - x.shape[axis]
    if extra <= 0:
        return x
    shape = list(x.shape)
    shape[axis] = extra
    return torch.cat([x, x.new_full(shape, 1 / extra)], dim=axis)
