"""The time constants of liquid neurons."""

import torch
from torch import Tensor

from learners.networks.block import RecurrentBlock
from specs.diagnostics import TimeConstantsSpec
from worker.diagnostics.diagnostic import NOTHING, Diagnostic, Measured, Point, Scope, StepView, Subject


class TimeConstants(Diagnostic):
    """By layer: the shortest and the longest time constant that any of its neurons can take with these weights."""

    def __init__(self, spec: TimeConstantsSpec, subject: Subject) -> None:
        super().__init__()
        self._units = spec.quantities
        self._blocks = [
            (Scope(name, place), stage)
            for place, (name, stage) in enumerate(zip(subject.network.names, subject.network.stages, strict=True))
            if isinstance(stage, RecurrentBlock)
        ]

    @torch.no_grad()
    def after(self, view: StepView) -> Measured:
        del view
        found: list[tuple[Scope, Tensor]] = []
        for scope, block in self._blocks:
            range_ = block.time_constants()
            if range_ is None:
                self.missing[scope.layer or "", "no_time_constants"] += 1
            else:
                found.append((scope, torch.stack(range_)))
        if not found:
            return NOTHING

        def points(values: list[list[float]]) -> list[Point]:
            names = ("tau_min", "tau_max")
            return [
                Point(name, self._units[name], scope, value)
                for (scope, _), both in zip(found, values, strict=True)
                for name, value in zip(names, both, strict=True)
            ]

        return Measured([tensor for _, tensor in found], points)
