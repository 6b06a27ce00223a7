"""What a ratio of costs may say: nothing that the clock's own noise would."""

from typing import Any

import numpy as np
import pytest
from scipy import stats

from store.comparisons import Row
from worker.comparison import costs

LEVEL = 0.05


def runs(seconds: list[float], *, name: str = "a", accuracy: float = 0.9, flops: float = 1e9) -> list[Row]:
    return [
        Row(
            stage="final",
            arm=name,
            trial=0,
            seed=seed,
            position=seed,
            job_id=f"{name}{seed}",
            status="succeeded",
            result={"metrics": {"test": {"accuracy": accuracy}}, "cost": {"training_s": taken, "flops": flops}},
            error=None,
            settings={},
            started_at=None,
            finished_at=None,
        )
        for seed, taken in enumerate(seconds)
    ]


def timed(own: list[float], other: list[float], shared: frozenset[str] = frozenset()) -> dict[str, Any]:
    return costs.timed(runs(own), runs(other, name="b"), "seconds", shared=shared, level=LEVEL)


def test_ratio_and_interval_are_those_of_the_paired_logarithms() -> None:
    rng = np.random.default_rng()
    own, other = rng.uniform(2, 3, 5), rng.uniform(4, 5, 5)
    found = timed(list(own), list(other))
    known = stats.ttest_rel(np.log(own), np.log(other)).confidence_interval(1 - LEVEL)
    assert found["ratio"] == pytest.approx(stats.gmean(own / other))
    assert found["interval"] == pytest.approx(np.exp([known.low, known.high]))


@pytest.mark.parametrize(
    ("own", "other", "verdict", "reason"),
    [
        ([2.0, 2.1, 1.9], [4.0, 4.1, 4.2], "saves", None),
        ([4.0, 4.1, 4.2], [2.0, 2.1, 1.9], "costs", None),
        ([2.0, 6.0, 1.5], [4.0, 4.1, 4.2], "open", "the interval covers 1"),
        ([0.08, 0.085, 0.082], [0.1, 0.101, 0.103], "open", "runs of under a second"),
        ([1.95, 1.96, 1.95], [2.0, 2.01, 2.0], "open", "less than a tenth"),
        ([2.0], [4.0], "open", "a single seed"),
        ([], [4.0], "open", "not measured"),
    ],
)
def test_only_a_clear_ratio_is_a_win_or_a_loss(
    own: list[float], other: list[float], verdict: str, reason: str | None
) -> None:
    found = timed(own, other)
    assert (found["verdict"], found["reason"]) == (verdict, reason)


def test_jobs_that_shared_the_machine_decide_nothing() -> None:
    found = timed([2.0, 2.1, 1.9], [4.0, 4.1, 4.2], frozenset({"a1"}))
    assert (found["verdict"], found["reason"]) == ("open", "the jobs shared the machine with others")


def test_equals_are_declared_cheaper_or_dearer_at_most_one_time_in_twenty() -> None:
    rng = np.random.default_rng()
    false = sum(
        timed(*(list(rng.lognormal(1, 0.3, 5)) for _ in range(2)))["verdict"] != "open"  # type: ignore[arg-type]
        for _ in range(1000)
    )
    assert false / 1000 <= LEVEL + 3 * np.sqrt(LEVEL * (1 - LEVEL) / 1000)


def test_same_arithmetic_is_equal_bits_and_equal_work() -> None:
    base = runs([1.0, 2.0])
    assert costs.same_arithmetic(runs([3.0, 4.0]), base)
    assert not costs.same_arithmetic(runs([3.0, 4.0], accuracy=np.nextafter(0.9, 1)), base)
    assert not costs.same_arithmetic(runs([3.0, 4.0], flops=2e9), base)
    assert not costs.same_arithmetic([], [])
