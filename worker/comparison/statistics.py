"""The statistics of a comparison: paired differences over seeds, Holm's correction, an equivalence margin.

Student's t interval and test of the paired differences; two one-sided tests for equivalence (Schuirmann, 1987) and the
lower one alone for "not worse by more than the margin"; Holm (1979) over all arms that are tested, each question for
itself. Where the differences have no spread t is not defined, and the sign test stands in: n equal signs have p = 2^-n.
Pure functions of numbers.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from specs.power import t_below, t_quantile

Decision = Literal["better", "worse", "equivalent", "not_worse", "undecided"]

ROUNDING = 1e-9
"""A spread below this share of the mean (or of 1) is that of float arithmetic."""


@dataclass(frozen=True)
class Difference:
    """An arm minus the reference over the seeds that both have. p values are those of this arm alone."""

    seeds: int
    mean: float
    deviation: float
    interval: tuple[float, float]
    without_spread: bool
    p: float
    p_equivalent: float
    p_not_worse: float


@dataclass(frozen=True)
class Verdict:
    """What may be said of an arm once all arms are looked at together; p values are Holm's."""

    decision: Decision
    p: float
    p_equivalent: float
    p_not_worse: float


def mean_interval(values: Sequence[float], *, alpha: float) -> tuple[float, float, tuple[float, float]] | None:
    """Mean, standard deviation and t interval at level ``1 - alpha``; None for less than two values."""
    count = len(values)
    if count < 2:
        return None
    mean = math.fsum(values) / count
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1))
    half = t_quantile(1 - alpha / 2, count - 1) * deviation / math.sqrt(count)
    return mean, deviation, (mean - half, mean + half)


def difference(
    arm: Mapping[int, float], reference: Mapping[int, float], *, margin: float, alpha: float
) -> Difference | None:
    """The paired difference by seed; None where less than two seeds are shared."""
    paired = [arm[seed] - reference[seed] for seed in sorted(arm.keys() & reference.keys())]
    found = mean_interval(paired, alpha=alpha)
    if found is None:
        return None
    mean, deviation, interval = found
    without_spread = deviation <= ROUNDING * max(1.0, abs(mean))
    error, freedom = 0.0 if without_spread else deviation / math.sqrt(len(paired)), len(paired) - 1
    above = _above(mean + margin, error, freedom)
    below = _above(margin - mean, error, freedom)
    return Difference(
        seeds=len(paired),
        mean=mean,
        deviation=deviation,
        interval=interval,
        without_spread=without_spread,
        p=min(1.0, 2 * _above(abs(mean), error, freedom)),
        p_equivalent=max(above, below),
        p_not_worse=above,
    )


def verdicts(differences: Mapping[str, Difference], *, alpha: float) -> dict[str, Verdict]:
    """A verdict on every arm, with Holm's correction over all of them."""
    p = holm({arm: found.p for arm, found in differences.items()})
    equivalent = holm({arm: found.p_equivalent for arm, found in differences.items()})
    not_worse = holm({arm: found.p_not_worse for arm, found in differences.items()})
    return {
        arm: Verdict(
            decision=_decision(found.mean, p[arm], equivalent[arm], not_worse[arm], alpha),
            p=p[arm],
            p_equivalent=equivalent[arm],
            p_not_worse=not_worse[arm],
        )
        for arm, found in differences.items()
    }


def holm(values: Mapping[str, float]) -> dict[str, float]:
    """Holm's adjusted p values: at any level, the error over all tests together stays below it."""
    ordered = sorted(values, key=lambda name: values[name])
    adjusted: dict[str, float] = {}
    greatest = 0.0
    for rank, name in enumerate(ordered):
        greatest = max(greatest, min(1.0, (len(ordered) - rank) * values[name]))
        adjusted[name] = greatest
    return adjusted


def _above(mean: float, error: float, freedom: int) -> float:
    """p of the one-sided test that the true mean is above zero; the sign test's without spread."""
    if error == 0.0:
        return 0.5 ** (freedom + 1) if mean > ROUNDING else 1.0
    return 1.0 - t_below(mean / error, freedom)


def _decision(mean: float, p: float, equivalent: float, not_worse: float, alpha: float) -> Decision:
    if p < alpha:
        return "better" if mean > 0 else "worse"
    if equivalent < alpha:
        return "equivalent"
    return "not_worse" if not_worse < alpha else "undecided"
