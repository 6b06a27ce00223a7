"""The power of a paired t test: how likely a comparison finds a gap of a given size, said before it runs.

A gap is counted in standard deviations of one arm over seeds. Arms whose accuracies correlate by rho over shared seeds
have differences of deviation sqrt(2 (1 - rho)), so pairing makes the test stronger.
"""

import math
from functools import lru_cache

MOST_SEEDS = 100
_POINTS = 400


def power(*, gap: float, seeds: int, alpha: float, correlation: float = 0.0) -> float:
    """The probability that a two-sided paired t test at level ``alpha`` decides, when the true gap is ``gap``.

    The noncentral t distribution, integrated over the estimated deviation s: P(|T| > c) =
    integral of f(s) [1 - Phi(c s - d) + Phi(-c s - d)] ds, d = gap sqrt(n / (2 (1 - rho))).
    """
    if seeds < 2:
        return 0.0
    freedom = seeds - 1
    shift = gap * math.sqrt(seeds / (2 * (1 - correlation)))
    critical = t_quantile(1 - alpha / 2, freedom)
    width = 8 / math.sqrt(2 * freedom)  # eight deviations of s on either side of 1
    low, high = max(1e-9, 1 - width), 1 + width
    step = (high - low) / _POINTS
    total = 0.0
    for index in range(_POINTS + 1):  # Simpson's rule
        s = low + index * step
        weight = 1 if index in (0, _POINTS) else 4 if index % 2 else 2
        decides = 1 - _normal(critical * s - shift) + _normal(-critical * s - shift)
        total += weight * _density_of_deviation(s, freedom) * decides
    return min(1.0, total * step / 3)


def seeds_for(*, gap: float, alpha: float, correlation: float = 0.0, wanted: float = 0.8) -> int | None:
    """The least number of seeds that finds the gap as often as ``wanted``; None above MOST_SEEDS."""
    for seeds in range(2, MOST_SEEDS + 1):
        if power(gap=gap, seeds=seeds, alpha=alpha, correlation=correlation) >= wanted:
            return seeds
    return None


@lru_cache(maxsize=256)
def t_quantile(share: float, freedom: int) -> float:
    """The value below which Student's t lies with probability ``share`` (above one half), by bisection."""
    low, high = 0.0, 1.0
    while t_below(high, freedom) < share:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if t_below(middle, freedom) < share else (low, middle)
    return (low + high) / 2


def t_below(t: float, freedom: int) -> float:
    """Student's distribution: a finite trigonometric sum (Abramowitz and Stegun 26.7.3 and 26.7.4)."""
    if t < 0:
        return 1 - t_below(-t, freedom)
    angle = math.atan(t / math.sqrt(freedom))
    cosine, sine = math.cos(angle), math.sin(angle)
    if freedom % 2:
        total, term = 0.0, cosine
        for k in range(1, (freedom - 1) // 2 + 1):
            total += term
            term *= cosine * cosine * 2 * k / (2 * k + 1)
        within = 2 / math.pi * (angle + sine * total)
    else:
        total, term = 0.0, 1.0
        for k in range(1, freedom // 2 + 1):
            total += term
            term *= cosine * cosine * (2 * k - 1) / (2 * k)
        within = sine * total
    return 0.5 + within / 2


def _density_of_deviation(s: float, freedom: int) -> float:
    """The density of chi(freedom) / sqrt(freedom)."""
    log = (
        math.log(2)
        + freedom / 2 * math.log(freedom / 2)
        - math.lgamma(freedom / 2)
        + (freedom - 1) * math.log(s)
        - freedom * s * s / 2
    )
    return math.exp(log)


def _normal(z: float) -> float:
    return 0.5 * math.erfc(-z / math.sqrt(2))
