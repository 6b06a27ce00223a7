"""Whether anything of this step was NaN or infinite."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import Parameter

from specs.diagnostics import NonfiniteSpec
from worker.diagnostics.diagnostic import NOTHING, WHOLE, Diagnostic, Measured, Point, StepView, Subject


class Nonfinite(Diagnostic):
    """1 where the loss or a gradient was not finite, else 0. Looked at are the gradients of biases, which hold the sums
    of their layers' errors."""

    def __init__(self, spec: NonfiniteSpec, subject: Subject) -> None:
        super().__init__()
        del subject
        self._unit = spec.quantities["nonfinite"]
        self._sums: list[Tensor] = []

    def read(self, view: StepView, parameters: Sequence[Parameter], gradients: Sequence[Tensor]) -> None:
        del view, parameters
        looked_at = [gradient for gradient in gradients if gradient.dim() <= 1] or [min(gradients, key=Tensor.numel)]
        self._sums.append(torch.stack([gradient.sum() for gradient in looked_at]).sum())

    def after(self, view: StepView) -> Measured:
        sums, self._sums = self._sums, []
        if view.report is None:
            return NOTHING
        return Measured(
            (view.report.loss, *sums),
            lambda values: [
                Point("nonfinite", self._unit, WHOLE, float(not all(math.isfinite(value[0]) for value in values)))
            ],
        )
