"""Steps that were withheld because a number was not finite: their points, their origin, their verdict."""

import math
from collections.abc import Sequence
from typing import final

from learners.learner import StepReport
from specs.verdict_kinds import Severity
from worker.course import Course
from worker.diagnostics.diagnostic import WHOLE, Point
from worker.diagnostics.verdicts.nonfinite import nonfinite
from worker.origin import Origin, Step, find_origin


@final
class Withheld:
    """Notes each such step. Where training goes on, the first one's origin stands for all: a look costs a pass."""

    def __init__(self, course: Course) -> None:
        self._course = course
        self._origin: Origin | None = None

    def take(self, bad: int, *, done: int, report: StepReport | None, seen_in: Sequence[str]) -> Origin:
        """Where the first number of step ``bad`` that is not finite stands.

        ``done`` steps were taken by now; ``report`` is the step's own if its loss was not logged; ``seen_in`` are
        layers whose gradient is known not to be finite.
        """
        found_late = bad < done
        if found_late:
            self._course.series.drop(done)  # a step that was withheld after the bad one
        if report is not None or found_late:
            loss = math.nan if report is None else float(report.loss.item())
            self._course.series.add(bad, Point("loss", "", WHOLE, loss))
            self._course.series.add(bad, Point("nonfinite", "flag", WHOLE, 1.0))
        return self._judged(bad, seen_in)

    def _judged(self, bad: int, seen_in: Sequence[str]) -> Origin:
        course, training = self._course, self._course.spec.training
        goes_on = training.on_nan == "continue"
        if self._origin is None:
            step = Step(course.batches.at(bad - 1), bad - 1, training.micro_batch_size, course.autocast)
            with course.bill.training.aside():
                self._origin = find_origin(course.training, step, seen_in, replay=not goes_on)
        severity: Severity = "warning" if goes_on else "error"
        course.judge.note(nonfinite(course.judge.case, self._origin, step=bad, severity=severity))
        return self._origin
