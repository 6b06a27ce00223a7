"""The angle between what a learner writes and the true gradient of the same batch."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import Parameter

from learners.learner import Batch
from specs.diagnostics import AlignmentSpec
from worker.diagnostics.diagnostic import NOTHING, WHOLE, Diagnostic, Layer, Measured, Point, Scope, StepView, Subject


class Alignment(Diagnostic):
    """Per layer and whole: cosine with the gradient of ``learner.reference``, the cosine that a correct estimate of
    this kind is expected to have, and the ratio of the norms.

    Where one of the two vectors is zero, or the reference is too small to be told from rounding, there is no point
    but a reason, counted in ``missing``.
    """

    def __init__(self, spec: AlignmentSpec, subject: Subject) -> None:
        super().__init__()
        self._units = spec.quantities
        self._subject = subject
        self._parameters = subject.parameters
        self._reference: dict[Parameter, Tensor] = {}
        self._sums: dict[Parameter, Tensor] = {}

    def before(self, view: StepView, parts: Sequence[Batch]) -> None:
        """The true gradient, before anything moves; touches no ``.grad``, no statistics, no generator."""
        self._reference, self._sums = {}, {}
        for index, part in enumerate(parts):
            with torch.enable_grad(), self._subject.network.passing(view.step - 1, index, part.rows, "batch"):
                with view.autocast():
                    loss = self._subject.learner.reference(part)
                if loss is None:
                    return
                found = torch.autograd.grad(loss * part.weight, self._parameters, allow_unused=True)
            for parameter, gradient in zip(self._parameters, found, strict=True):
                if gradient is not None:
                    earlier = self._reference.get(parameter)
                    self._reference[parameter] = gradient if earlier is None else earlier + gradient
        # Autocast keeps casts of weights; the learner must not find the probe's.
        torch.clear_autocast_cache()

    @torch.no_grad()
    def read(self, view: StepView, parameters: Sequence[Parameter], gradients: Sequence[Tensor]) -> None:
        del view
        for parameter, gradient in zip(parameters, gradients, strict=True):
            if (reference := self._reference.get(parameter)) is not None:
                g, r = gradient.reshape(-1).double(), reference.reshape(-1).double()
                self._sums[parameter] = torch.stack([torch.dot(g, r), torch.dot(g, g), torch.dot(r, r)])

    def after(self, view: StepView) -> Measured:
        del view
        if not self._reference:
            self.missing["network", "no_reference"] += 1
            return NOTHING
        found, floors = self._sums, {p: _floor(r) for p, r in self._reference.items()}
        self._reference, self._sums = {}, {}
        order = list(found)

        def points(values: list[list[float]]) -> list[Point]:
            return self._points(dict(zip(order, values, strict=True)), floors)

        return Measured([found[parameter] for parameter in order], points)

    def _points(self, sums: dict[Parameter, list[float]], floors: dict[Parameter, float]) -> list[Point]:
        everything = Layer(WHOLE, tuple(sums))
        whole = _added([sums[parameter] for parameter in sums])
        points = []
        for layer in (*self._subject.layers, everything):
            held = [parameter for parameter in layer.parameters if parameter in sums]
            if not held:
                self.missing[layer.scope.layer or "network", "no_reference"] += 1
                continue
            size = sum(parameter.numel() for parameter in held)
            floor = max(floors[parameter] for parameter in held)
            points += self._of_layer(layer.scope, _added([sums[p] for p in held]), whole, size=size, floor=floor)
        return points

    def _of_layer(self, scope: Scope, sums: list[float], whole: list[float], *, size: int, floor: float) -> list[Point]:
        product, gradient, reference = sums
        if gradient == 0 or reference == 0:
            self.missing[scope.layer or "network", "zero_norm"] += 1
            return []
        if math.sqrt(reference / size) < floor:
            self.missing[scope.layer or "network", "reference_below_floor"] += 1
            return []
        found = {
            "alignment_cosine": product / math.sqrt(gradient) / math.sqrt(reference),
            "alignment_norm_ratio": math.sqrt(gradient) / math.sqrt(reference),
        }
        expected = self._subject.learner_spec.expected_alignment(size=size, noise=whole[2] / reference)
        if expected is not None:
            found["alignment_expected"] = expected
        return [Point(name, self._units[name], scope, value) for name, value in found.items()]


def _floor(reference: Tensor) -> float:
    """The root mean square below which entries lose bits to underflow."""
    limits = torch.finfo(reference.dtype)
    return limits.tiny / limits.eps


def _added(sums: Sequence[Sequence[float]]) -> list[float]:
    return [math.fsum(column) for column in zip(*sums, strict=True)] if sums else [0.0, 0.0, 0.0]
