"""Inference that is meant to come to rest before weights learn."""

from collections.abc import Iterator
from typing import ClassVar, Final

from specs.verdict_kinds import VerdictCode
from specs.verdicts import Finding, replacing
from worker.diagnostics.verdicts.history import Case, History
from worker.diagnostics.verdicts.measures import CONFIRMED
from worker.diagnostics.verdicts.verdict import VerdictRule

RESTLESS: Final = 3e-3
"""Largest change of a unit in the last free step, units being between 0 and 1; healthy ones end below 2e-4."""
ABOVE_START: Final = 1.0
"""Energy after inference over that before: a descent that ends above its start has overshot."""


class NotSettled(VerdictRule):
    """Inference ended with more energy than it began with, or while units still moved."""

    code: ClassVar[VerdictCode] = "not_settled"
    needs: ClassVar[frozenset[str]] = frozenset(
        {"inference_energy", "inference_energy_before", "settling_residual_free"}
    )

    def unfit(self, case: Case) -> str | None:
        """Other rules infer nothing before they learn."""
        return None if hasattr(case.rule, "inference_steps") or hasattr(case.rule, "num_free_steps") else "no_inference"

    def judge(self, history: History) -> Finding | None:
        return next((each for each in (*self._energy(history), *self._units(history))), None)

    def _energy(self, history: History) -> Iterator[Finding]:
        after, before = history.track("inference_energy"), history.track("inference_energy_before")
        if after is None or before is None or len(after) < CONFIRMED:
            return
        pairs = zip(after.values(CONFIRMED), before.values(CONFIRMED), strict=False)
        ratios = [high / low if low else 1.0 for high, low in pairs]
        if all(not ratio <= ABOVE_START for ratio in ratios):
            yield self.found(
                after,
                value=ratios[-1],
                threshold=ABOVE_START,
                window=CONFIRMED,
                severity="error",
                remedies=(
                    replacing(
                        "Infer by the mode's own steps, which descend.",
                        {
                            "/learner/inference_rate": None,
                            "/learner/inference_steps": None,
                            "/learner/output_weight": 1.0,
                        },
                    ),
                    replacing("Take smaller steps of inference.", {"/learner/inference_rate": None}),
                ),
            )

    def _units(self, history: History) -> Iterator[Finding]:
        residual = history.track("settling_residual_free")
        if residual is None or len(residual) < CONFIRMED:
            return
        values = residual.values(CONFIRMED)
        if min(values) > RESTLESS:
            steps = getattr(history.case.rule, "num_free_steps", 1)
            yield self.found(
                residual,
                value=values[-1],
                threshold=RESTLESS,
                window=CONFIRMED,
                remedies=(replacing("Let the free phase settle.", {"/learner/num_free_steps": max(10, 4 * steps)}),),
            )
