"""Speed and position: what other series are drawn over."""

from specs.diagnostics import ThroughputSpec
from worker.diagnostics.diagnostic import WHOLE, Diagnostic, Measured, Point, StepView, Subject


class Throughput(Diagnostic):
    """Samples per second since the point before, wall seconds of training and samples so far, joules where
    there is a counter."""

    def __init__(self, spec: ThroughputSpec, subject: Subject) -> None:
        super().__init__()
        del subject
        self._units = spec.quantities
        self._last: tuple[int, float] | None = None

    def after(self, view: StepView) -> Measured:
        found = {"wall_s": view.wall_s, "samples": float(view.samples)}
        if view.joules is not None:
            found["energy_joules"] = view.joules
        if self._last is not None and view.wall_s > self._last[1]:
            found["samples_per_s"] = (view.samples - self._last[0]) / (view.wall_s - self._last[1])
        self._last = (view.samples, view.wall_s)
        points = [Point(name, self._units[name], WHOLE, value) for name, value in found.items()]
        return Measured((), lambda _: points)
