"""The statistics against closed forms and scipy; what they decide under the null, and at the power that was stated."""

import numpy as np
import pytest
from scipy import stats

from specs.power import seeds_for
from worker.comparison.statistics import difference, holm, mean_interval, verdicts

ALPHA, MARGIN = 0.05, 0.5


def seeded(values: object) -> dict[int, float]:
    return {seed: float(value) for seed, value in enumerate(np.atleast_1d(values))}  # type: ignore[arg-type]


@pytest.mark.parametrize("seeds", [2, 3, 5, 12])
def test_paired_test_interval_and_margin_are_scipys(seeds: int) -> None:
    rng = np.random.default_rng()
    arm, base = rng.normal(90, 1, seeds), rng.normal(90.3, 1, seeds)
    found = difference(seeded(arm), seeded(base), margin=MARGIN, alpha=ALPHA)
    assert found is not None
    known = stats.ttest_rel(arm, base)
    low, high = known.confidence_interval(1 - ALPHA)
    assert found.p == pytest.approx(known.pvalue, rel=1e-7, abs=1e-12)
    assert found.interval == pytest.approx((low, high), rel=1e-9)
    above = stats.ttest_1samp(arm - base, -MARGIN, alternative="greater").pvalue
    below = stats.ttest_1samp(arm - base, MARGIN, alternative="less").pvalue
    assert found.p_not_worse == pytest.approx(above, rel=1e-7, abs=1e-12)
    assert found.p_equivalent == pytest.approx(max(above, below), rel=1e-7, abs=1e-12)


def test_only_shared_seeds_are_paired() -> None:
    found = difference({1: 3.0, 2: 5.0, 3: 7.0}, {2: 4.0, 3: 4.0, 9: 0.0}, margin=MARGIN, alpha=ALPHA)
    assert found is not None
    assert (found.seeds, found.mean) == (2, 2.0)
    assert difference({1: 3.0}, {1: 2.0, 2: 2.0}, margin=MARGIN, alpha=ALPHA) is None
    assert mean_interval([1.0], alpha=ALPHA) is None


def test_holm_is_the_worked_example() -> None:
    """p = .01, .02, .03, .04: steps 4, 3, 2, 1 give .04, .06, .06, .06."""
    adjusted = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.02})
    assert adjusted == pytest.approx({"a": 0.04, "b": 0.06, "c": 0.06, "d": 0.06})


@pytest.mark.parametrize(("seeds", "decided"), [(3, False), (9, True)])
def test_gap_without_spread_is_decided_by_the_sign_test_alone(seeds: int, decided: bool) -> None:
    base = seeded(np.linspace(90, 92, seeds))
    shifted = {seed: value - 2.0 for seed, value in base.items()}
    found = {
        name: difference(arm, base, margin=MARGIN, alpha=ALPHA) for name, arm in (("same", base), ("less", shifted))
    }
    said = verdicts({name: of for name, of in found.items() if of}, alpha=ALPHA)
    expected = ("equivalent", "worse") if decided else ("undecided", "undecided")
    assert (said["same"].decision, said["less"].decision) == expected
    for of in found.values():
        assert of is not None
        assert of.without_spread
        assert of.p_not_worse == (0.5**seeds if of.mean == 0 else 1.0)
    assert found["same"].p_equivalent == stats.binomtest(seeds, seeds, alternative="greater").pvalue  # type: ignore[union-attr]
    assert found["less"].p == pytest.approx(stats.binomtest(0, seeds).pvalue)  # type: ignore[union-attr]


def test_small_gap_within_the_margin_is_not_worse_and_noise_is_undecided() -> None:
    base = seeded([90.0, 91.0, 92.0, 90.5, 91.5])
    close = {seed: value + gap for (seed, value), gap in zip(base.items(), (0.1, 0.6, 0.2, 0.9, -0.1), strict=True)}
    noisy = {seed: value + gap for (seed, value), gap in zip(base.items(), (3.0, -4.0, 2.0, -3.0, 1.0), strict=True)}
    found = {name: difference(arm, base, margin=MARGIN, alpha=ALPHA) for name, arm in (("c", close), ("n", noisy))}
    said = verdicts({name: of for name, of in found.items() if of}, alpha=ALPHA)
    assert (said["c"].decision, said["n"].decision) == ("not_worse", "undecided")


def simulated(rng: np.random.Generator, *, arms: int, seeds: int, gap: float, shared: float) -> dict[str, str]:
    """Decisions of one comparison of normal accuracies whose first arm is ``gap`` deviations below the reference."""
    common = rng.normal(0, np.sqrt(shared), seeds)
    own = rng.normal(0, np.sqrt(1 - shared), (arms + 1, seeds)) + common
    own[1] -= gap
    base = seeded(own[0])
    found = {str(n): difference(seeded(own[n]), base, margin=0.01, alpha=ALPHA) for n in range(1, arms + 1)}
    return {name: v.decision for name, v in verdicts({n: d for n, d in found.items() if d}, alpha=ALPHA).items()}


@pytest.mark.parametrize("arms", [1, 6])
def test_comparison_of_equals_decides_falsely_at_most_one_time_in_twenty(arms: int) -> None:
    """2000 comparisons without a difference: the share with any false decision is at most 5 % (3 sigma above)."""
    rng = np.random.default_rng()
    false = sum(
        any(d in ("better", "worse") for d in simulated(rng, arms=arms, seeds=5, gap=0, shared=0.3).values())
        for _ in range(2000)
    )
    assert false / 2000 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 2000)


@pytest.mark.parametrize("arms", [1, 6])
def test_gap_of_two_deviations_is_found_four_times_in_five_at_the_seeds_asked_for(arms: int) -> None:
    seeds = seeds_for(gap=2, alpha=ALPHA / arms)
    assert seeds is not None
    rng = np.random.default_rng()
    found = sum(simulated(rng, arms=arms, seeds=seeds, gap=2, shared=0)["1"] == "worse" for _ in range(600))
    assert found / 600 >= 0.8 - 3 * np.sqrt(0.8 * 0.2 / 600)


def test_unpaired_overlap_would_miss_what_the_paired_test_finds() -> None:
    """The negative control: the same gap, with the pairing destroyed, is found far less often."""
    rng = np.random.default_rng()
    paired, broken = 0, 0
    for _ in range(400):
        common = rng.normal(0, 0.95, 5)
        base, arm = common + rng.normal(0, 0.3, 5), common + rng.normal(0, 0.3, 5) - 1
        for shuffled in (False, True):
            other = rng.permutation(arm) if shuffled else arm
            found = difference(seeded(other), seeded(base), margin=0.01, alpha=ALPHA)
            assert found is not None
            decided = verdicts({"a": found}, alpha=ALPHA)["a"].decision == "worse"
            paired, broken = paired + (decided and not shuffled), broken + (decided and shuffled)
    assert paired > broken + 80
