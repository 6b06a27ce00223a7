"""The scale of what goes into the network."""

import math
from collections.abc import Iterator
from typing import ClassVar, Final

from specs.verdict_kinds import VerdictCode
from specs.verdicts import Finding
from worker.diagnostics.verdicts.history import Case, History, Track
from worker.diagnostics.verdicts.remedies import standard_inputs
from worker.diagnostics.verdicts.verdict import VerdictRule

LARGEST: Final = 10.0
SMALLEST: Final = 0.02
FARTHEST: Final = 3.0
"""Means in deviations, or as they are where rows deviate by less than 1. Amazon SageMaker Debugger's CheckInputImages
takes 0.2, which condemns images in [0, 1]."""


class InputScale(VerdictRule):
    """The rows of the probe batch are far larger, far smaller or farther from zero than weights are drawn for."""

    code: ClassVar[VerdictCode] = "input_scale"
    needs: ClassVar[frozenset[str]] = frozenset({"input_mean", "input_std"})

    def unfit(self, case: Case) -> str | None:
        """Rules that normalise rows themselves see no scale."""
        return "inputs_are_normalised" if getattr(case.rule, "normalize_inputs", False) else None

    def judge(self, history: History) -> Finding | None:
        mean, deviation = history.track("input_mean"), history.track("input_std")
        if mean is None or deviation is None:
            return None
        return next(self._outside(mean, deviation), None)

    def _outside(self, mean: Track, deviation: Track) -> Iterator[Finding]:
        numbers: dict[str, float | None] = {"mean": mean.latest, "std": deviation.latest}
        if deviation.latest > LARGEST:
            yield self.found(
                deviation, value=deviation.latest, threshold=LARGEST, remedies=(standard_inputs(),), numbers=numbers
            )
        farthest = FARTHEST * max(deviation.latest, 1.0)
        if abs(mean.latest) > farthest:
            yield self.found(
                mean,
                value=mean.latest,
                threshold=math.copysign(farthest, mean.latest),
                comparison="above" if mean.latest > 0 else "below",
                remedies=(standard_inputs(),),
                numbers=numbers,
            )
        if deviation.latest < SMALLEST:
            yield self.found(
                deviation,
                value=deviation.latest,
                threshold=SMALLEST,
                comparison="below",
                remedies=(standard_inputs(),),
                numbers=numbers,
            )
