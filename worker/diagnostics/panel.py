"""All diagnostics of a job: when each measures, what it may cost, and where its points go."""

import hashlib
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, final

from torch import Tensor

from learners.build import Training
from learners.learner import Batch, ParameterGroup, StepReport
from specs.diagnostics import DIAGNOSTIC_KINDS, GRADIENT_BIN, DiagnosticsSpec
from specs.kinds import implementation
from worker.diagnostics.diagnostic import WHOLE, Diagnostic, Measured, OneRead, Point, StepView, Subject
from worker.diagnostics.interval import Interval
from worker.diagnostics.series import SeriesBuffer
from worker.diagnostics.verdicts.judge import BUDGET_SHARE as VERDICTS_SHARE

CHEAP = ("throughput", "nonfinite", "clipping", "own_quantities")
"""Measured at every point: they cost no pass over the weights."""


@final
class Section:
    """Diagnostics that share an interval, and what they cost."""

    def __init__(self, diagnostics: Sequence[Diagnostic], interval: Interval) -> None:
        self.diagnostics = diagnostics
        self.interval = interval
        self.busy_s = 0.0

    @contextmanager
    def timed(self) -> Iterator[Sequence[Diagnostic]]:
        started = time.perf_counter()
        yield self.diagnostics
        self.busy_s += time.perf_counter() - started

    def account(self) -> None:
        """Closes one measurement."""
        took, self.busy_s = self.busy_s, 0.0
        self.interval.took(took)


@final
class Panel:
    """Opens a view of a step that is to be measured, lets the diagnostics look, and closes it with one read.

    Loss and learning rate are logged at every point. Norms and probes have intervals that widen by themselves until
    all measuring fits ``budget_percent``.
    """

    def __init__(
        self,
        spec: DiagnosticsSpec,
        subject_of: Callable[[Training], Subject],
        training: Training,
        series: SeriesBuffer,
        *,
        trained: Callable[[], float],
    ) -> None:
        every = spec.every_steps
        half = None if spec.budget_percent is None else (1 - VERDICTS_SHARE) * spec.budget_percent / 200
        self._spec = spec
        self._subject_of = subject_of
        self._cheap = Section([], Interval(every, budget=None))
        self._norms = Section([], Interval(every, budget=half, trained=trained))
        self._probes = Section([], Interval(spec.alignment_every_steps, budget=half, trained=trained))
        self._measures = every is not None
        self._missing: dict[str, Counter[tuple[str, str]]] = {}
        self._made: dict[str, Diagnostic] = {}
        self.look_at(training)
        self._series = series
        self._open: list[Section] = []
        self._view: StepView | None = None
        self._digest = self._digest_before = bytes(32)
        self.clipped: list[Tensor] = []
        self._latest: dict[str, float] = {}
        self.spent_s = 0.0
        self._elapsed_s = 0.0

    def look_at(self, training: Training) -> None:
        """Measures this training from here on; intervals, costs and what was missing so far stay."""
        subject = self._subject_of(training)
        kinds = {
            kind.model_fields["kind"].default: kind()
            for kind in DIAGNOSTIC_KINDS
            if (kind.switch is None or getattr(self._spec, kind.switch))
            and kind.model_fields["kind"].default not in self._spec.leave_out
        }
        made: dict[str, Diagnostic] = {
            name: implementation(kind, "worker.diagnostics")(kind, subject) for name, kind in kinds.items()
        }
        self._missing, self._made = self._missing_so_far(), made
        self._cheap.diagnostics = [made[name] for name in CHEAP] if self._measures else []
        self._norms.diagnostics = [
            made[name] for name, kind in kinds.items() if not kind.needs_probe_step and name not in CHEAP
        ]
        self._probes.diagnostics = [made[name] for name, kind in kinds.items() if kind.needs_probe_step]

    def _missing_so_far(self) -> dict[str, Counter[tuple[str, str]]]:
        """Of all phases, by kind."""
        return {
            **self._missing,
            **{name: self._missing.get(name, Counter()) + each.missing for name, each in self._made.items()},
        }

    def open(
        self,
        step: int,
        parts: Callable[[], Sequence[Batch]],
        *,
        last: bool,
        autocast: Callable[[], AbstractContextManager[None]],
    ) -> StepView | None:
        """A view if step ``step`` (counted from 1) is measured. The weights are still those before the step."""
        logged = step == 1 or last or self.on_grid(step)
        norms = logged and self._norms.interval.due(step, last=last)
        probes = self._probes.interval.due(step, last=last)
        if not (logged or probes):
            return None
        view = self._view = StepView(step=step, logged=logged, autocast=autocast)
        with self._timed():
            self._begin(view, parts, norms=norms, probes=probes)
        return view

    def _begin(self, view: StepView, parts: Callable[[], Sequence[Batch]], *, norms: bool, probes: bool) -> None:
        wanted = ((view.logged, self._cheap), (norms, self._norms), (probes, self._probes))
        self._open = [section for is_due, section in wanted if is_due and section.diagnostics]
        if self._open:
            batches = parts()
            for section in self._open:
                with section.timed() as diagnostics:
                    for each in diagnostics:
                        each.before(view, batches)

    @contextmanager
    def _timed(self) -> Iterator[None]:
        """All that a view costs, that of its sections included."""
        started = time.perf_counter()
        yield
        self._elapsed_s += time.perf_counter() - started

    def on_grid(self, step: int) -> bool:
        """Whether step ``step`` is logged wherever training ends."""
        return self._cheap.interval.due(step, last=False)

    def retract(self, step: int) -> None:
        """Takes back the points of ``step``, which was logged as the last one and was not."""
        self._series.drop(step)
        self._digest = self._digest_before

    def read(self, groups: Sequence[ParameterGroup], gradients: Sequence[Sequence[Tensor]]) -> None:
        """The read point of the open view."""
        assert self._view is not None
        with self._timed():
            self._read(self._view, groups, gradients)

    def _read(self, view: StepView, groups: Sequence[ParameterGroup], gradients: Sequence[Sequence[Tensor]]) -> None:
        parameters = [parameter for group in groups for parameter in group.parameters]
        flat = [gradient for written in gradients for gradient in written]
        for section in self._open:
            with section.timed() as diagnostics:
                for each in diagnostics:
                    each.read(view, parameters, flat)

    def close(self, view: StepView, report: StepReport) -> None:
        """Takes the points of the step; the only wait for the device."""
        with self._timed():
            self._take_points(view, report)
        self._settle()

    def _take_points(self, view: StepView, report: StepReport) -> None:
        view.report = report
        view.clipped, self.clipped = self.clipped, []
        measured = [_loss(report.loss)]
        for section in self._open:
            with section.timed() as diagnostics:
                measured += [each.after(view) for each in diagnostics]
        waits_from = time.perf_counter()
        read = OneRead(measured)
        if report.loss.device.type != "cpu":
            # The device still computes the step itself: that is no cost of measuring.
            self._elapsed_s -= time.perf_counter() - waits_from
        loss, *points = read.points()
        for point in points:
            self._series.add(view.step, point)
        if view.logged:
            self._log(view, loss)
            self._latest = {"step": view.step, "loss": loss.value, "learning_rate": view.learning_rate}
            self._latest |= {point.quantity: point.value for point in points if _is_told(point)}

    def _settle(self) -> None:
        """Closes the account of a view. What its sections share, the read above all, is the rarest one's."""
        took, self._elapsed_s = self._elapsed_s, 0.0
        if self._open:
            self._open[-1].busy_s += max(0.0, took - sum(section.busy_s for section in self._open))
        for section in self._open:
            section.account()
        self.spent_s += took
        self._open, self._view = [], None

    def _log(self, view: StepView, loss: Point) -> None:
        self._series.add(view.step, loss)
        self._series.add(view.step, Point("learning_rate", "", WHOLE, view.learning_rate))
        self._digest_before = self._digest
        self._digest = hashlib.sha256(self._digest + struct.pack("<qd", view.step, loss.value)).digest()

    def step_takes(self, seconds: float) -> None:
        """Tells what a plain step costs; the intervals follow."""
        self._norms.interval.step_takes(seconds)
        self._probes.interval.step_takes(seconds)

    @property
    def loss_trace_sha256(self) -> str:
        """Digest of all logged steps and losses, in order."""
        return self._digest.hex()

    def summary(self, training_s: float) -> dict[str, Any]:
        """What measuring cost, how often it was done, and what could not be measured, with reasons."""
        missing: dict[str, dict[str, dict[str, int]]] = {}
        for name, found in self._missing_so_far().items():
            for (layer, reason), count in found.items():
                missing.setdefault(name, {}).setdefault(layer, {})[reason] = count
        total = training_s + self.spent_s
        return {
            "overhead_s": self.spent_s,
            "overhead_share": self.spent_s / total if total > 0 else None,
            "norms_every_steps": self._norms.interval.steps,
            "alignment_every_steps": self._probes.interval.steps,
            "missing": missing,
        }

    def take_latest(self) -> dict[str, float]:
        """The newest values of the whole network, once."""
        taken, self._latest = self._latest, {}
        return taken

    def state_dict(self) -> dict[str, Any]:
        return {
            "norms": self._norms.interval.state_dict(),
            "probes": self._probes.interval.state_dict(),
            "spent_s": self.spent_s,
            "loss_trace": self._digest.hex(),
            "kinds": {name: state for name, each in self._made.items() if (state := each.state_dict())},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._norms.interval.load_state_dict(state["norms"])
        self._probes.interval.load_state_dict(state["probes"])
        self.spent_s = state["spent_s"]
        self._digest = bytes.fromhex(state["loss_trace"])
        for name, own in state["kinds"].items():
            self._made[name].load_state_dict(own)


def _is_told(point: Point) -> bool:
    return point.scope is WHOLE and not point.quantity.startswith(GRADIENT_BIN)


def _loss(loss: Tensor) -> Measured:
    return Measured((loss,), lambda values: [Point("loss", "", WHOLE, values[0][0])])
