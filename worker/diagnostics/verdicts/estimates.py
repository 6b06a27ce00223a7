"""Rules that estimate the gradient from losses at perturbed weights, and how well they can."""

from typing import ClassVar, Final

import torch

from specs.verdict_kinds import VerdictCode
from specs.verdicts import Finding, Remedy, replacing
from worker.diagnostics.verdicts.history import WINDOW, Case, History, Track
from worker.diagnostics.verdicts.measures import CONFIRMED, share_fallen
from worker.diagnostics.verdicts.verdict import VerdictRule

RESOLVED: Final = 1.0
"""Rounding steps of the loss that differences must exceed; strategies with a population do well at two."""
STIRRED: Final = 0.5
"""Rounding steps that a nudge must move a state of rest by, on average; at two training goes well."""
TOO_COARSE: Final = 0.1
"""Of the loss itself: beyond it, differences say nothing of a slope. Healthy ones are below a hundredth."""
TOO_NOISY: Final = 0.02
"""Cosine that a correct estimate of this kind is expected to have with the gradient."""
HARDLY_FALLEN: Final = 0.05
FIRST_POINTS: Final = 5
NOT_YET: Final = 0.15
"""Share of the budget before which slow learning is no finding."""


def _spread(history: History) -> tuple[Track, list[float]] | None:
    """How far apart the losses at perturbed weights are at the first points, as shares of the loss."""
    loss = history.track("loss")
    track = history.track("population_loss_std") or history.track("loss_difference")
    if loss is None or track is None or not CONFIRMED <= track.count <= FIRST_POINTS:
        return None
    pairs = zip(track.values(FIRST_POINTS), loss.values(FIRST_POINTS), strict=False)
    return track, [value / abs(level) if level else 0.0 for value, level in pairs]


def _compares_losses(case: Case) -> bool:
    return hasattr(case.rule, "perturbation_scale")


def _other_scale(case: Case, title: str) -> tuple[Remedy, ...]:
    default = type(case.rule).model_fields["perturbation_scale"].default
    return (replacing(title, {"/learner/perturbation_scale": default}),)


class SignalBelowPrecision(VerdictRule):
    """Differences that a rule learns from are lost in the rounding of what they are differences of."""

    code: ClassVar[VerdictCode] = "signal_below_precision"
    needs: ClassVar[frozenset[str]] = frozenset({"loss_resolution", "nudged_shift"})

    def unfit(self, case: Case) -> str | None:
        """Other rules take no differences of nearly equal numbers."""
        return None if _compares_losses(case) or hasattr(case.rule, "nudging_strength") else "takes_no_differences"

    def judge(self, history: History) -> Finding | None:
        if hasattr(history.case.rule, "nudging_strength"):
            return self._of_a_nudge(history)
        told = history.track("loss_resolution")
        if told is None or len(told) < CONFIRMED or not max(told.values(CONFIRMED)) < RESOLVED:
            return None
        return self.found(
            told,
            value=told.latest,
            threshold=RESOLVED,
            window=CONFIRMED,
            comparison="below",
            severity="error",
            remedies=_other_scale(history.case, "Perturb weights so far that losses differ."),
        )

    def _of_a_nudge(self, history: History) -> Finding | None:
        """Only the first points: later, a nudge is small where nothing is left to correct."""
        limit = STIRRED * _rounding(history.case)
        shifts = [track for track in history.by_layer("nudged_shift").values() if track.count >= CONFIRMED]
        if not shifts or shifts[0].count > FIRST_POINTS:
            return None
        largest = max(shifts, key=lambda track: max(track.values(FIRST_POINTS)))
        if not max(largest.values(FIRST_POINTS)) < limit:
            return None
        default = type(history.case.rule).model_fields["nudging_strength"].default
        return self.found(
            largest,
            value=largest.latest,
            threshold=limit,
            window=FIRST_POINTS,
            comparison="below",
            severity="error",
            remedies=(replacing("Nudge well above rounding.", {"/learner/nudging_strength": default}),),
        )


class PerturbationTooLarge(VerdictRule):
    """Losses at perturbed weights differ by a good part of the loss itself."""

    code: ClassVar[VerdictCode] = "perturbation_too_large"
    needs: ClassVar[frozenset[str]] = frozenset({"loss", "population_loss_std", "loss_difference"})

    def unfit(self, case: Case) -> str | None:
        """Other rules perturb nothing."""
        return None if _compares_losses(case) else "perturbs_nothing"

    def judge(self, history: History) -> Finding | None:
        """Only the first points: later, weights that grew spread the losses as well."""
        found = _spread(history)
        if found is None or not min(found[1]) > TOO_COARSE:
            return None
        return self.found(
            found[0],
            value=found[1][-1],
            threshold=TOO_COARSE,
            window=FIRST_POINTS,
            remedies=_other_scale(history.case, "Perturb weights less."),
        )


class EstimateTooNoisy(VerdictRule):
    """So few directions are tried that even a correct estimate hardly points along the gradient, and the loss stays."""

    code: ClassVar[VerdictCode] = "estimate_too_noisy"
    needs: ClassVar[frozenset[str]] = frozenset({"alignment_expected", "loss"})

    def judge(self, history: History) -> Finding | None:
        expected, loss = history.track("alignment_expected"), history.track("loss")
        if expected is None or loss is None or history.share_done < NOT_YET:
            return None
        if len(loss) < WINDOW or expected.latest > TOO_NOISY or share_fallen(loss) > HARDLY_FALLEN:
            return None
        return self.found(
            expected,
            value=expected.latest,
            threshold=TOO_NOISY,
            window=CONFIRMED,
            comparison="below",
            remedies=tuple(_more_directions(history.case)),
            numbers={"loss_fallen_share": share_fallen(loss)},
        )


def _more_directions(case: Case) -> list[Remedy]:
    rule = case.rule
    remedies = []
    if getattr(rule, "perturb", None) == "weights":
        remedies.append(replacing("Perturb activities: far fewer directions.", {"/learner/perturb": "activities"}))
    for field, factor, title in (
        ("population_size", 32, "Ask a population 32 times as large."),
        ("num_directions", 16, "Average 16 times as many directions."),
    ):
        if (now := getattr(rule, field, None)) is not None:
            remedies.append(replacing(title, {f"/learner/{field}": min(factor * now, 1024)}))
    return remedies


def _rounding(case: Case) -> float:
    dtype = torch.float64 if case.spec.training.precision == "float64" else torch.float32
    return torch.finfo(dtype).eps
