"""L2 norms of pseudo-gradients, weights and updates, by layer and whole; sums are taken in float64."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import Parameter

from learners.learner import Batch
from specs.diagnostics import NormsSpec
from worker.diagnostics.diagnostic import WHOLE, Diagnostic, Measured, Point, Scope, StepView, Subject


class Norms(Diagnostic):
    """A layer's norm is one L2 norm over its tensors. Weights are those before the update."""

    def __init__(self, spec: NormsSpec, subject: Subject) -> None:
        super().__init__()
        self._units = spec.quantities
        self._parameters: list[Tensor] = list(subject.parameters)
        self._layers = [(layer.scope, len(layer.parameters)) for layer in subject.layers]
        self._kept = [torch.empty_like(parameter) for parameter in self._parameters]
        self._gradient_norms: dict[Tensor, Tensor] = {}

    @torch.no_grad()
    def before(self, view: StepView, parts: Sequence[Batch]) -> None:
        del view, parts
        self._gradient_norms.clear()
        torch._foreach_copy_(self._kept, self._parameters)

    def read(self, view: StepView, parameters: Sequence[Parameter], gradients: Sequence[Tensor]) -> None:
        del view
        self._gradient_norms.update(zip(parameters, foreach_norm(gradients), strict=True))

    @torch.no_grad()
    def after(self, view: StepView) -> Measured:
        del view
        weights = foreach_norm(self._kept)
        torch._foreach_sub_(self._kept, self._parameters)
        updates = foreach_norm(self._kept)
        known = [index for index, parameter in enumerate(self._parameters) if parameter in self._gradient_norms]
        gradients = [self._gradient_norms[self._parameters[index]] for index in known]
        stacked = [torch.stack(norms) for norms in (gradients, weights, updates) if norms]

        def points(values: list[list[float]]) -> list[Point]:
            if not gradients:
                values = [[], *values]
            by_parameter: list[float | None] = [None] * len(self._parameters)
            for index, value in zip(known, values[0], strict=True):
                by_parameter[index] = value
            return self._points(by_parameter, values[1], values[2])

        return Measured(stacked, points)

    def _points(self, gradients: list[float | None], weights: list[float], updates: list[float]) -> list[Point]:
        points = []
        at = 0
        for scope, count in [*self._layers, (WHOLE, len(weights))]:
            low = 0 if scope is WHOLE else at
            at += count
            seen = [value for value in gradients[low : low + count] if value is not None]
            if seen:
                points.append(self._point("grad_norm", scope, joint(seen)))
            weight, update = joint(weights[low : low + count]), joint(updates[low : low + count])
            points.append(self._point("weight_norm", scope, weight))
            points.append(self._point("update_norm", scope, update))
            if weight > 0:
                points.append(self._point("update_ratio", scope, update / weight))
        return points

    def _point(self, quantity: str, scope: Scope, value: float) -> Point:
        return Point(quantity, self._units[quantity], scope, value)


def foreach_norm(tensors: Sequence[Tensor]) -> list[Tensor]:
    """L2 norms summed in float64: in float32 a million terms lose five digits."""
    if not tensors:
        return []
    norms: list[Tensor] = list(torch._foreach_norm(list(tensors), 2, torch.float64))
    return norms


def joint(norms: Sequence[float]) -> float:
    """The norm of the whole from the norms of its parts; NaN and infinity stay visible."""
    total = sum(norm * norm for norm in norms)
    return math.sqrt(total) if total >= 0 else math.nan
