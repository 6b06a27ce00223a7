"""The learner's own numbers, as it reports them."""

from specs.diagnostics import OwnQuantitiesSpec
from worker.diagnostics.diagnostic import NOTHING, WHOLE, Diagnostic, Measured, Point, Scope, StepView, Subject


class OwnQuantities(Diagnostic):
    """A 0-dim quantity belongs to the whole network, one of shape [blocks] to its blocks in order."""

    def __init__(self, spec: OwnQuantitiesSpec, subject: Subject) -> None:
        super().__init__()
        del spec
        self._units = subject.learner_spec.quantities
        self._blocks = [Scope(name, index) for index, name in enumerate(subject.network.names)]

    def after(self, view: StepView) -> Measured:
        quantities = {} if view.report is None else view.report.quantities
        if not quantities:
            return NOTHING
        names = list(quantities)
        scalar = [quantities[name].dim() == 0 for name in names]

        def points(values: list[list[float]]) -> list[Point]:
            found = []
            for name, whole, numbers in zip(names, scalar, values, strict=True):
                scopes = [WHOLE] if whole else self._blocks
                unit = self._units.get(name, "")
                found += [Point(name, unit, scope, value) for scope, value in zip(scopes, numbers, strict=False)]
            return found

        return Measured([quantities[name] for name in names], points)
