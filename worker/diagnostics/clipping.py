"""How often clipping acts."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import Parameter

from specs.diagnostics import ClippingSpec
from worker.diagnostics.diagnostic import NOTHING, WHOLE, Diagnostic, Measured, Point, StepView, Subject


class Clipping(Diagnostic):
    """Clipping by norm: the share of the steps since the point before that were clipped (with a learner that commits,
    of the groups of these steps). By value alone: the share of this step's entries beyond it. Nothing without clipping.
    """

    def __init__(self, spec: ClippingSpec, subject: Subject) -> None:
        super().__init__()
        self._unit = spec.quantities["clipped_share"]
        optimizer = subject.optimizer_spec
        self._value = None if optimizer.clip_grad_norm is not None else optimizer.clip_grad_value
        self._beyond: list[Tensor] = []
        self._entries = 0

    def read(self, view: StepView, parameters: Sequence[Parameter], gradients: Sequence[Tensor]) -> None:
        del view, parameters
        if self._value is None:
            return
        for gradient in gradients:
            self._beyond.append((gradient.abs() > self._value).sum())
            self._entries += gradient.numel()

    def after(self, view: StepView) -> Measured:
        if view.clipped:
            share = (torch.stack(view.clipped) < 1).double().mean()
        elif self._beyond:
            share = torch.stack(self._beyond).sum().double() / self._entries
            self._beyond, self._entries = [], 0
        else:
            return NOTHING
        return Measured((share,), lambda values: [Point("clipped_share", self._unit, WHOLE, values[0][0])])
