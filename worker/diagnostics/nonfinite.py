"""Whether anything of this step was NaN or infinite."""

import math

from specs.diagnostics import NonfiniteSpec
from worker.diagnostics.diagnostic import NOTHING, WHOLE, Diagnostic, Measured, Point, StepView, Subject


class Nonfinite(Diagnostic):
    """1 where the reported loss was not finite, else 0. A gradient that is not finite withholds its step: the loop
    reports it with its layer."""

    def __init__(self, spec: NonfiniteSpec, subject: Subject) -> None:
        del subject
        self._unit = spec.quantities["nonfinite"]

    def after(self, view: StepView) -> Measured:
        if view.report is None:
            return NOTHING
        return Measured(
            (view.report.loss,),
            lambda values: [Point("nonfinite", self._unit, WHOLE, float(not math.isfinite(values[0][0])))],
        )
