"""Whether what a rule writes points along the gradient of the loss."""

from typing import ClassVar, Final

from specs.verdict_kinds import VerdictCode
from specs.verdicts import Finding, Remedy, replacing
from worker.diagnostics.verdicts.history import Case, History, Track
from worker.diagnostics.verdicts.measures import is_mostly_noise
from worker.diagnostics.verdicts.remedies import other_rate
from worker.diagnostics.verdicts.verdict import VerdictRule

PROBES: Final = 5
PROBES_OF_NOISE: Final = 10
"""Of estimates along random directions: a layer of few weights points anywhere at a single probe."""
UPHILL: Final = -0.2
"""Cosine averaged over probes. Beyond 90 degrees a step raises the loss (Lillicrap et al. 2016); rules that never see
the error stay a little beyond in runs that go well."""
NOT_YET: Final = 0.1
"""Share of the budget in which feedback may still be aligning."""


class Misaligned(VerdictRule):
    """A layer's steps point against the gradient at probe after probe."""

    code: ClassVar[VerdictCode] = "misaligned"
    needs: ClassVar[frozenset[str]] = frozenset({"alignment_cosine"})

    def unfit(self, case: Case) -> str | None:
        """A layer with an objective of its own need not follow the loss."""
        return "own_objective" if case.rule.exactness == "own_objective" else None

    def judge(self, history: History) -> Finding | None:
        """Names the layer that points farthest away."""
        if history.share_done < NOT_YET:
            return None
        probes = PROBES_OF_NOISE if is_mostly_noise(history.case) else PROBES
        averages = [
            (average(track, probes), track)
            for track in history.by_layer("alignment_cosine").values()
            if len(track) >= probes
        ]
        found = [(value, track) for value, track in averages if value < UPHILL]
        if not found:
            return None
        value, worst = min(found, key=lambda each: each[0])
        return self.found(
            worst,
            value=value,
            threshold=UPHILL,
            window=probes,
            comparison="below",
            remedies=tuple(_truer(history.case)),
        )


def average(cosine: Track, probes: int) -> float:
    """Over the last probes; NaN where they hold one, or infinities of both signs."""
    return sum(cosine.values(probes)) / probes


def _truer(case: Case) -> list[Remedy]:
    rule = case.rule
    remedies = []
    for field in ("feedback_scale", "projection_scale", "noise_scale", "target_rate", "nudging_strength"):
        if field in type(rule).model_fields:
            default = type(rule).model_fields[field].default
            remedies.append(replacing(f"Set {field} to its usual value.", {f"/learner/{field}": default}))
    if (steps := getattr(rule, "num_free_steps", None)) is not None:
        remedies.append(replacing("Let the free phase settle.", {"/learner/num_free_steps": 4 * steps}))
    if "feedback" in type(rule).model_fields and rule.kind == "feedback_alignment":  # type: ignore[attr-defined]
        remedies.append(replacing("Let the feedback learn.", {"/learner/feedback": "kolen_pollack"}))
    return [*remedies, other_rate(case, "Lower the learning rate tenfold.", case.learning_rate / 10)]
