"""Histograms of the pseudo-gradient's magnitude by layer, in fixed bins of one power of two: they can be added up."""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor
from torch.nn import Parameter

from specs.diagnostics import GRADIENT_BINS, LOWEST_EXPONENT, GradientHistogramSpec
from worker.diagnostics.diagnostic import NOTHING, WHOLE, Diagnostic, Measured, Point, Scope, StepView, Subject

EXPONENTS: Final = 256
"""Of a float32: 0 is zero and what is below 2^-126, 255 is infinity and NaN."""
BIAS: Final = 127


class GradientHistogram(Diagnostic):
    """Counts by magnitude, zeros and numbers that are not finite apart. What is beyond the ends is in the end bins."""

    def __init__(self, spec: GradientHistogramSpec, subject: Subject) -> None:
        super().__init__()
        self._units = spec.quantities
        self._layers = subject.layers
        self._counts: dict[Tensor, Tensor] = {}

    @torch.no_grad()
    def read(self, view: StepView, parameters: Sequence[Parameter], gradients: Sequence[Tensor]) -> None:
        del view
        for parameter, gradient in zip(parameters, gradients, strict=True):
            self._counts[parameter] = magnitudes(gradient)

    def after(self, view: StepView) -> Measured:
        del view
        counts, self._counts = self._counts, {}
        taken: list[tuple[Scope, Tensor]] = []
        for layer in self._layers:
            known = [counts[parameter] for parameter in layer.parameters if parameter in counts]
            if known:
                taken.append((layer.scope, torch.stack(known).sum(0)))
        if not taken:
            return NOTHING
        taken.append((WHOLE, torch.stack([counted for _, counted in taken]).sum(0)))

        def points(values: list[list[float]]) -> list[Point]:
            return [
                Point(name, self._units[name], scope, value)
                for (scope, _), numbers in zip(taken, values, strict=True)
                for name, value in zip(self._units, numbers, strict=True)
            ]

        return Measured([counted for _, counted in taken], points)


def magnitudes(gradient: Tensor) -> Tensor:
    """How many entries are in each bin, then how many are zero, then how many are not finite.

    Bin k counts 2^(LOWEST_EXPONENT + k) <= |g| < twice that. The exponent is read from the number's bits: a logarithm
    of every entry would take several times as long.
    """
    values = gradient.detach().reshape(-1).float()
    exponents = values.view(torch.int32).bitwise_right_shift(23).bitwise_and_(EXPONENTS - 1)
    by_exponent = _counts(exponents)
    lowest = BIAS + LOWEST_EXPONENT
    bins = by_exponent[lowest : lowest + GRADIENT_BINS].clone()
    zeros = (values == 0).sum()
    bins[0] += by_exponent[:lowest].sum() - zeros
    bins[-1] += by_exponent[lowest + GRADIENT_BINS : EXPONENTS - 1].sum()
    return torch.cat([bins, zeros[None], by_exponent[EXPONENTS - 1 :]])


def _counts(exponents: Tensor) -> Tensor:
    """Entries of each exponent. Where ``bincount`` would wait for the device, by comparing."""
    if exponents.device.type == "cpu":
        return torch.bincount(exponents, minlength=EXPONENTS)
    return counted_by_comparing(exponents)


def counted_by_comparing(exponents: Tensor) -> Tensor:
    """Many passes, and no number that the host must know."""
    return torch.stack([(exponents == exponent).sum() for exponent in range(EXPONENTS)])
