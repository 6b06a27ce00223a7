"""How much the rows of a batch agree: norms of their single gradients, and the gradient's noise scale."""

import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor
from torch.nn import Parameter

from learners.learner import Batch
from specs.diagnostics import RowGradientsSpec
from worker.diagnostics.diagnostic import NOTHING, WHOLE, Diagnostic, Layer, Measured, Point, Scope, StepView, Subject
from worker.diagnostics.ghost_norms import Shares, row_gradients
from worker.diagnostics.norms import foreach_norm

KEPT: Final = 0.9
"""Of the moving averages, from probe to probe: a window of about ten."""


class Shape(NamedTuple):
    """Of the norms of a layer's rows."""

    mean: float
    std: float
    max: float
    p99: float
    mean_square: float
    batch_square: float


class RowGradients(Diagnostic):
    """Of the true gradient of ``learner.reference``: norms of its rows' shares, by layer and whole.

    Rows and batch together give the noise scale (McCandlish et al. 2018, arXiv 1812.06162, appendix A), with batches of
    one row and of all: |G|^2 = (B |g_B|^2 - mean |g_i|^2) / (B - 1), S = (mean |g_i|^2 - |g_B|^2) / (1 - 1/B); their
    moving averages over probes are divided.
    """

    def __init__(self, spec: RowGradientsSpec, subject: Subject) -> None:
        super().__init__()
        self._units = spec.quantities
        self._subject = subject
        self._averages: list[float] | None = None
        self._tensors: list[tuple[Scope, Tensor]] = []
        self._rows = 0

    def before(self, view: StepView, parts: Sequence[Batch]) -> None:
        """One pass there and back, before anything moves."""
        self._tensors, self._rows = [], sum(len(part.x) for part in parts)
        if self._subject.network.mixes_rows:
            self.missing["network", "batch_norm"] += 1
            return
        if self._rows < 2:
            self.missing["network", "one_row"] += 1
            return
        gradient: dict[Parameter, Tensor] = {}
        found: list[dict[Parameter, Tensor]] = []
        for index, part in enumerate(parts):
            with torch.enable_grad(), self._subject.network.passing(view.step - 1, index, part.rows, "batch"):
                made = self._of_part(view, part)
            if made is None:
                self.missing["network", "no_reference"] += 1
                return
            _add(gradient, made.gradients, part.weight)
            found.append(made.squares)
        torch.clear_autocast_cache()
        norms = foreach_norm(list(gradient.values()))
        batch_squares = {p: norm.square() for p, norm in zip(gradient, norms, strict=True)}
        everything = Layer(WHOLE, tuple(self._subject.parameters))
        for layer in (*self._subject.layers, everything):
            self._take(layer, found, batch_squares)

    def _of_part(self, view: StepView, part: Batch) -> Shares | None:
        def loss() -> Tensor | None:
            with view.autocast():
                return self._subject.learner.reference(part)

        subject = self._subject
        return row_gradients(subject.network, loss, subject.parameters, rows=len(part.x), own=subject.own)

    def _take(self, layer: Layer, found: list[dict[Parameter, Tensor]], batch_squares: dict[Parameter, Tensor]) -> None:
        """Statistics of the rows' norms; nothing where some parameter of the layer has no formula."""
        reached = [p for p in layer.parameters if p in batch_squares]
        name = layer.scope.layer or "network"
        if not reached:
            self.missing[name, "no_reference"] += 1
        elif not all(p in squares for squares in found for p in reached):
            self.missing[name, "no_formula"] += 1
        else:
            squares_B = torch.cat([torch.stack([squares[p] for p in reached]).double().sum(0) for squares in found])
            norms_B = squares_B.sqrt()
            numbers = [
                norms_B.mean(),
                norms_B.std(correction=0),
                norms_B.max(),
                norms_B.quantile(0.99),
                squares_B.mean(),
                torch.stack([batch_squares[p] for p in reached]).sum(),
            ]
            self._tensors.append((layer.scope, torch.stack(numbers)))

    def after(self, view: StepView) -> Measured:
        del view
        taken, self._tensors = self._tensors, []
        if not taken:
            return NOTHING

        def points(values: list[list[float]]) -> list[Point]:
            found = []
            for (scope, _), numbers in zip(taken, values, strict=True):
                found += self._points(scope, Shape(*numbers))
            return found

        return Measured([tensor for _, tensor in taken], points)

    def _points(self, scope: Scope, shape: Shape) -> list[Point]:
        found = {
            "row_grad_norm_mean": shape.mean,
            "row_grad_norm_std": shape.std,
            "row_grad_norm_max": shape.max,
            "row_grad_norm_p99": shape.p99,
        }
        if scope is WHOLE:
            found |= self._noise(shape)
        return [Point(name, self._units[name], scope, value) for name, value in found.items()]

    def _noise(self, shape: Shape) -> dict[str, float]:
        rows = self._rows
        signal = (rows * shape.batch_square - shape.mean_square) / (rows - 1)
        trace = (shape.mean_square - shape.batch_square) / (1 - 1 / rows)
        found = {"gradient_signal": signal, "gradient_noise": trace}
        if shape.batch_square > 0:
            found["gradient_diversity"] = shape.mean_square / (rows * shape.batch_square)
        if math.isfinite(signal) and math.isfinite(trace):
            before = self._averages or [signal, trace]
            self._averages = [KEPT * b + (1 - KEPT) * now for b, now in zip(before, (signal, trace), strict=True)]
            if self._averages[0] > 0:
                found["noise_scale"] = self._averages[1] / self._averages[0]
            else:
                self.missing["network", "signal_below_noise"] += 1
        return found

    def state_dict(self) -> dict[str, Any]:
        return {} if self._averages is None else {"averages": self._averages}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._averages = state["averages"]


def _add(sums: dict[Parameter, Tensor], gradients: dict[Parameter, Tensor], weight: float) -> None:
    """Part by part, so that one gradient of the batch is held; nothing is copied where the batch is one part."""
    for parameter, gradient in gradients.items():
        weighed = gradient if weight == 1.0 else gradient * weight
        earlier = sums.get(parameter)
        sums[parameter] = weighed if earlier is None else earlier.add_(weighed)
