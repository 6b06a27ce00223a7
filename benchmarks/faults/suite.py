"""All scenarios: the spoilt runs, and the healthy ones beside which they are judged."""

from typing import Final

from benchmarks.faults import of_backprop, of_others
from benchmarks.faults.bases import BASES, HEALTHY_SEEDS
from benchmarks.faults.scenario import Scenario, faulty, healthy

FAULTY: Final[tuple[Scenario, ...]] = tuple(faulty(BASES, (*of_backprop.FAULTS, *of_others.FAULTS)))
HEALTHY: Final[tuple[Scenario, ...]] = tuple(healthy(BASES, seeds=HEALTHY_SEEDS))
