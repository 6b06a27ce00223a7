"""The power of a paired t test against scipy's noncentral t, and against simulation."""

import numpy as np
import pytest
from scipy import stats

from specs.power import power, seeds_for, t_below, t_quantile


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 9, 30, 99])
def test_students_distribution_is_scipys(freedom: int) -> None:
    for t in np.random.default_rng().uniform(-12, 12, 20):
        assert t_below(float(t), freedom) == pytest.approx(stats.t.cdf(t, freedom), abs=1e-12)
    for share in (0.6, 0.95, 0.975, 0.9995):
        assert t_quantile(share, freedom) == pytest.approx(stats.t.ppf(share, freedom), rel=1e-9)


@pytest.mark.parametrize("seeds", [3, 5, 10, 30])
@pytest.mark.parametrize("correlation", [0.0, 0.5])
def test_power_is_that_of_the_noncentral_t(seeds: int, correlation: float) -> None:
    for shift, alpha in np.random.default_rng().uniform((0.3, 0.003), (6, 0.1), (10, 2)):  # beyond, scipy gives NaN
        gap, critical = shift / np.sqrt(seeds / (2 * (1 - correlation))), stats.t.ppf(1 - alpha / 2, seeds - 1)
        known = stats.nct.sf(critical, seeds - 1, shift) + stats.nct.cdf(-critical, seeds - 1, shift)
        found = power(gap=float(gap), seeds=seeds, alpha=float(alpha), correlation=correlation)
        assert found == pytest.approx(known, abs=1e-4)


def test_published_table_comes_out() -> None:
    """The figures that the protocol is built on: a gap of two deviations, by what the seeds share."""
    table = {(3, 0.0): 0.29, (3, 0.5): 0.48, (5, 0.0): 0.67, (5, 0.5): 0.90, (10, 0.0): 0.98, (10, 0.5): 1.0}
    for (seeds, correlation), known in table.items():
        assert power(gap=2, seeds=seeds, alpha=0.05, correlation=correlation) == pytest.approx(known, abs=0.015)


def test_more_seeds_find_more_and_the_advice_is_the_least_that_suffices() -> None:
    level = 0.05 / 12
    needed = seeds_for(gap=2, alpha=level)
    assert needed is not None
    assert power(gap=2, seeds=needed, alpha=level) >= 0.8 > power(gap=2, seeds=needed - 1, alpha=level)
    assert power(gap=2, seeds=1, alpha=level) == 0.0
    assert seeds_for(gap=0.01, alpha=level) is None
