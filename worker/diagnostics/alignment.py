"""The angle between what a learner writes and the true gradient of the same batch."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import Parameter

from learners.learner import Batch
from specs.diagnostics import AlignmentSpec
from worker.diagnostics.diagnostic import NOTHING, WHOLE, Diagnostic, Layer, Measured, Point, Scope, StepView, Subject
from worker.diagnostics.reference import Reference, RoundingFloor, true_gradient, underflow


class Sums(NamedTuple):
    """Of a parameter, a layer or the network: g is what the learner wrote, r the true gradient, d the step."""

    g_r: float
    g_g: float
    agreeing: float
    r_r: float
    pointing: float
    r_d: float


class Alignment(Diagnostic):
    """Per layer and whole: cosine with the gradient of ``learner.reference``, the cosine that a correct estimate of
    this kind is expected to have, the share of equal signs, the ratio of the norms, and by how much the layer's own
    step lowered the reference's loss to first order.

    Where one of the two vectors is zero, or the reference is not finite or cannot be told from rounding, there is no
    point but a reason, counted in ``missing``.
    """

    def __init__(self, spec: AlignmentSpec, subject: Subject) -> None:
        super().__init__()
        self._units = spec.quantities
        self._subject = subject
        self._floor = RoundingFloor()
        self._reference: Reference | None = None
        self._before: dict[Parameter, Tensor] = {}
        self._written: dict[Parameter, Tensor] = {}

    def before(self, view: StepView, parts: Sequence[Batch]) -> None:
        """The true gradient and the weights, before anything moves."""
        self._written = {}
        self._reference = true_gradient(self._subject, view, parts, rounding=self._floor.wants_a_look)
        if self._reference is not None:
            self._before = {parameter: parameter.detach().clone() for parameter in self._reference.gradient}

    @torch.no_grad()
    def read(self, view: StepView, parameters: Sequence[Parameter], gradients: Sequence[Tensor]) -> None:
        del view
        known = {} if self._reference is None else self._reference.gradient
        for parameter, gradient in zip(parameters, gradients, strict=True):
            if (reference := known.get(parameter)) is not None:
                g, r = gradient.reshape(-1).double(), reference.reshape(-1).double()
                agreeing = (gradient.sign() * reference.sign() > 0).sum()
                self._written[parameter] = torch.stack([torch.dot(g, r), torch.dot(g, g), agreeing])

    @torch.no_grad()
    def after(self, view: StepView) -> Measured:
        del view
        if self._reference is None or not self._reference.gradient:
            self.missing["network", "no_reference"] += 1
            return NOTHING
        (known, rounding), written, before = self._reference, self._written, self._before
        self._reference, self._written, self._before = None, {}, {}
        order, looked = list(written), list(rounding)
        tensors = [torch.cat([written[p], _moved(known[p], p - before[p])]) for p in order]
        tensors += [rounding[p].double().square().sum() for p in looked]

        def points(values: list[list[float]]) -> list[Point]:
            self._floor.looked({p: value[0] for p, value in zip(looked, values[len(order) :], strict=True)})
            sums = {p: Sums(*value) for p, value in zip(order, values[: len(order)], strict=True)}
            return self._points(sums, {p: underflow(r) for p, r in known.items()})

        return Measured(tensors, points)

    def _points(self, sums: dict[Parameter, Sums], limits: dict[Parameter, float]) -> list[Point]:
        whole = _added(list(sums.values()))
        points = []
        for layer in (*self._subject.layers, Layer(WHOLE, tuple(sums))):
            scope, parameters = layer.scope, layer.parameters
            held = [parameter for parameter in parameters if parameter in sums]
            total = _added([sums[parameter] for parameter in held])
            size = sum(parameter.numel() for parameter in held)
            reason = self._unfit(parameters, held, total, size=size, limits=limits)
            if reason is None:
                points += self._of_layer(scope, total, whole, size=size)
            else:
                self.missing[scope.layer or "network", reason] += 1
        return points

    def _unfit(
        self,
        parameters: Sequence[Parameter],
        held: Sequence[Parameter],
        sums: Sums,
        *,
        size: int,
        limits: dict[Parameter, float],
    ) -> str | None:
        """Why this layer has no alignment at this step."""
        if not held:
            return "not_updated" if any(parameter in limits for parameter in parameters) else "no_reference"
        if sums.g_g == 0 or sums.r_r == 0:
            return "zero_norm"
        if not math.isfinite(sums.r_r):
            return "reference_not_finite"
        underflows = math.sqrt(sums.r_r / size) < max(limits[parameter] for parameter in held)
        return None if self._floor.admits(held, sums.r_r) and not underflows else "reference_below_floor"

    def _of_layer(self, scope: Scope, sums: Sums, whole: Sums, *, size: int) -> list[Point]:
        found = {
            "alignment_cosine": sums.g_r / math.sqrt(sums.g_g) / math.sqrt(sums.r_r),
            "alignment_norm_ratio": math.sqrt(sums.g_g) / math.sqrt(sums.r_r),
            "alignment_sign_agreement": sums.agreeing / sums.pointing,
            "first_order_decrease": -sums.r_d,
        }
        expected = self._subject.learner_spec.expected_alignment(size=size, noise=whole.r_r / sums.r_r)
        if expected is not None:
            found["alignment_expected"] = expected
        return [Point(name, self._units[name], scope, value) for name, value in found.items()]


def _moved(reference: Tensor, step: Tensor) -> Tensor:
    r, d = reference.reshape(-1).double(), step.reshape(-1).double()
    return torch.stack([torch.dot(r, r), reference.count_nonzero(), torch.dot(r, d)])


def _added(sums: Sequence[Sums]) -> Sums:
    # Not fsum, which raises where infinities of both signs meet.
    return Sums(*(sum(column) for column in zip(*sums, strict=True))) if sums else Sums(0, 0, 0, 0, 0, 0)
