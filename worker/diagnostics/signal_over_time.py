"""How the training signal fares on its way back through the steps of a sequence."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from typing import Final

import torch
from torch import Tensor

from learners.learner import Batch
from learners.networks.block import RecurrentBlock
from learners.networks.leaky import LeakyUnits
from specs.diagnostics import SignalOverTimeSpec
from worker.diagnostics.diagnostic import NOTHING, Diagnostic, Measured, Point, Scope, StepView, Subject

PIECES: Final = 32
ROWS: Final = 64
"""Of the probe batch: a norm over rows needs no more."""

States = dict[str, list[tuple[int, tuple[Tensor, ...]]]]
"""By stage: the states that were handed on, each with the number of inputs before it."""


class SignalOverTime(Diagnostic):
    """Norm of d loss / d state, of the state that a recurrent block hands to its next step, at up to 31 steps.

    The sequence is run in pieces, in eval mode; every state at a border is differentiated for.
    """

    def __init__(self, spec: SignalOverTimeSpec, subject: Subject) -> None:
        super().__init__()
        self._units = spec.quantities
        self._subject = subject
        self._norms: list[tuple[Scope, list[int], Tensor]] = []
        probe = subject.probe
        rows = probe.rows[0], min(ROWS, len(probe.x)), min(ROWS, len(probe.x))
        dt = None if probe.dt is None else probe.dt[:ROWS]
        self._probe = Batch(probe.x[:ROWS], probe.y[:ROWS], dt, 1.0, rows)

    def before(self, view: StepView, parts: Sequence[Batch]) -> None:
        """One pass there and back before the step; modes are put back and no ``.grad`` is touched."""
        del parts
        subject = self._subject
        if not any(isinstance(stage, RecurrentBlock) for stage in subject.network.stages):
            self.missing["network", "no_recurrent_block"] += 1
            return
        modules = [module for module in (subject.network, subject.own) if module is not None]
        was_training = [module.training for module in modules]
        for module in modules:
            module.eval()
        states: States = {}
        # A network whose blocks are frozen still has a signal.
        probe = replace(self._probe, x=self._probe.x.detach().clone().requires_grad_())
        with torch.enable_grad(), _in_pieces(subject, states), view.autocast():
            loss = subject.learner.reference(probe)
        for module, trained in zip(modules, was_training, strict=True):
            module.train(trained)
        if loss is None:
            self.missing["network", "no_reference"] += 1
        else:
            self._take(loss, states)
        torch.clear_autocast_cache()

    def _take(self, loss: Tensor, states: States) -> None:
        flat = [tensor for own in states.values() for _, state in own for tensor in state]
        found = iter(torch.autograd.grad(loss, flat, allow_unused=True)) if flat else iter(())
        for name, own in states.items():
            squares = []
            for _, state in own:
                told = [gradient for gradient in (next(found) for _ in state) if gradient is not None]
                squares.append(sum((g.double().square().sum() for g in told), loss.new_zeros((), dtype=torch.float64)))
            if squares:
                scope = Scope(name, self._subject.network.names.index(name))
                self._norms.append((scope, [at for at, _ in own], torch.stack(squares).sqrt()))
            else:
                self.missing[name, "one_step"] += 1

    def after(self, view: StepView) -> Measured:
        del view
        norms, self._norms = self._norms, []
        if not norms:
            return NOTHING

        def points(values: list[list[float]]) -> list[Point]:
            return [
                point
                for (scope, steps, _), numbers in zip(norms, values, strict=True)
                for point in self._points(scope, steps, numbers)
            ]

        return Measured([tensor for _, _, tensor in norms], points)

    def _points(self, scope: Scope, steps: list[int], norms: list[float]) -> Iterator[Point]:
        for step, norm in zip(steps, norms, strict=True):
            yield Point(f"time_signal_{step}", "", scope, norm)
        if max(norms) > 0:
            yield Point("time_signal_ratio", self._units["time_signal_ratio"], scope, norms[0] / max(norms))
        heard = [(step, math.log10(norm)) for step, norm in zip(steps, norms, strict=True) if 0 < norm < math.inf]
        if len(heard) > 1:
            yield Point("time_signal_slope", self._units["time_signal_slope"], scope, slope(heard))


@contextmanager
def _in_pieces(subject: Subject, states: States) -> Iterator[None]:
    """Inside, recurrent stages run piece by piece and note the states at the borders."""
    recurrent = [
        (name, stage)
        for name, stage in zip(subject.network.names, subject.network.stages, strict=True)
        if isinstance(stage, RecurrentBlock)
    ]
    try:
        for name, stage in recurrent:
            stage.__dict__["forward"] = _piecewise(stage, name, states)
        yield
    finally:
        for _, stage in recurrent:
            stage.__dict__.pop("forward", None)


def _piecewise(stage: RecurrentBlock, name: str, states: States) -> Callable[..., tuple[Tensor, object]]:
    whole = stage.forward

    def forward(x: Tensor, state: object = None, dt: Tensor | None = None) -> tuple[Tensor, object]:
        if x.dim() != 3 and isinstance(stage, LeakyUnits):  # a row without time, presented again and again
            x = x.flatten(1).unsqueeze(1).expand(-1, stage.num_steps, -1)
        steps = x.shape[1]
        pieces = min(PIECES, steps)
        borders = [steps * piece // pieces for piece in range(pieces + 1)]
        outputs, noted = [], []
        for low, high in pairwise(borders):
            y, state = whole(x[:, low:high], state, None if dt is None else dt[:, low:high])  # type: ignore[arg-type]
            outputs.append(y)
            if high < steps:
                assert isinstance(state, tuple)
                noted.append((high, state))
        states[name] = noted
        return torch.cat(outputs, 1), state

    return forward


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Of the straight line with the least squared errors."""
    mean_x, mean_y = (math.fsum(axis) / len(points) for axis in zip(*points, strict=True))
    spread = math.fsum((x - mean_x) ** 2 for x, _ in points)
    return math.fsum((x - mean_x) * (y - mean_y) for x, y in points) / spread
