"""What tuning tries: the same again for the same past, better than by chance, and after the death of a conductor."""

import math
import random
import statistics
from pathlib import Path
from typing import Any

import pytest

from specs.search import LEARNING_RATE
from store import comparisons
from store.database import Database
from store.settings import Settings
from tests import lived_comparison
from tests.store.conftest import database as database
from tests.store.conftest import migrated_sqlite as migrated_sqlite
from tests.store.conftest import postgresql_url as postgresql_url
from tests.worker_comparison.test_conductor import settings as settings
from worker.comparison.tuning import suggested

RATE = "/optimizer/lr"
TRIALS = 8


def space(posted: float = 0.01) -> list[dict[str, Any]]:
    return [LEARNING_RATE.around(posted)]


def peak(lr: float, *, best: float) -> float:
    """A score over the rate with one maximum, like that of a learner."""
    return -abs(math.log10(lr / best))


def searched(*, best: float, seed: int) -> list[float]:
    """The scores of the trials of one arm."""
    tried: list[dict[str, float]] = [{}]
    values = [peak(0.01, best=best)]
    while len(tried) < TRIALS:
        tried.append(suggested(space(), tried, values, seed=seed))
        values.append(peak(tried[-1][RATE], best=best))
    return values


def test_same_past_and_seed_ask_for_the_same_bits() -> None:
    tried: list[dict[str, float]] = [{}, {RATE: 0.05}, {RATE: 0.002}]
    first = suggested(space(), tried, [0.0, 2.0, 1.0], seed=3)
    assert first == suggested(space(), tried, [0.0, 2.0, 1.0], seed=3)
    assert first != suggested(space(), tried, [0.0, 2.0, 1.0], seed=4)
    assert first != suggested(space(), tried, [2.0, 0.0, 1.0], seed=3)


def test_only_the_order_of_trials_counts() -> None:
    tried: list[dict[str, float]] = [{}, {RATE: 0.05}, {RATE: 0.002}]
    assert suggested(space(), tried, [0.0, 2.0, 1.0], seed=3) == suggested(space(), tried, [-9.0, 0.7, 0.6], seed=3)


def test_second_trial_is_the_same_factor_for_every_learner() -> None:
    factors = {suggested(space(posted), [{}], [0.0], seed=0)[RATE] / posted for posted in (0.001, 0.02, 3.0)}
    assert max(factors) == pytest.approx(min(factors), rel=1e-3)


def test_settings_stay_within_the_space_and_can_be_read() -> None:
    for seed in range(20):
        value = suggested(space(0.00123456), [{}], [0.0], seed=seed)[RATE]
        assert 0.0001235 <= value <= 0.01235
        assert value == float(f"{value:.4g}")


def test_search_comes_closer_than_chance() -> None:
    """With the optimum anywhere: how far, in powers of ten, the best of eight trials stays away from it."""
    draws = random.Random(0)
    own, chance = [], []
    for seed in range(24):
        best = 0.001 * 100 ** draws.random()
        own.append(-max(searched(best=best, seed=seed)))
        rates = [0.01, *(0.001 * 100 ** draws.random() for _ in range(TRIALS - 1))]
        chance.append(-max(peak(rate, best=best) for rate in rates))
    assert statistics.mean(own) < 0.75 * statistics.mean(chance)


@pytest.mark.parametrize("dies", [False, True])
def test_conductor_that_follows_a_dead_one_tries_the_same(
    database: Database, tmp_path: Path, settings: Settings, dies: bool
) -> None:
    """Each look by a conductor of its own, beside one conductor for all: the same trials, in the same number."""
    tried = []
    for anew in (False, dies):
        comparison_id = lived_comparison.made(database, tuning={"trials": 5})
        with lived_comparison.conducted(database, settings) as one:
            for _ in range(12):
                lived_comparison.end_jobs(database, by_rate, of=lived_comparison.rate_of)
                if anew:
                    with lived_comparison.conducted(database, settings) as other:
                        other.look()
                else:
                    one.look()
        with database.reading() as session:
            row = comparisons.get(session, comparison_id)
        assert row.status == "succeeded"
        tried.append({arm["name"]: arm["trials"] for arm in row.plan["arms"]})
    assert tried[0] == tried[1]
    assert {len(trials) for trials in tried[0].values()} == {0, 5}
    rates = [trial.get(RATE) for trial in tried[0]["mono_forward"]]
    assert len(set(rates)) == 5


def by_rate(arm: str, rate: float) -> float:
    return 0.9 + 0.1 * peak(rate, best=0.02)
