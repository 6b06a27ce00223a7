"""Backpropagation against itself, through real training: ``python -m benchmarks.aa [--comparisons 200]``.

How often a comparison says "better" or "worse" where there is no difference: the reference on even seeds, and the same
job on odd ones in a learner's place. The controls that every comparison tests are tested beside it, on the reference's
seeds, with Holm's correction over all of them, as a comparison does. Then how often it finds a gap of two deviations
over seeds, laid on that arm, at the number of seeds that the plan of this comparison asks for. Every run is a whole job
of the trainer; only processes, queue and database are left out.

A count over 200 comparisons has a deviation of 1.5 % itself, so the same runs are also put into other groups, again and
again: that rate is known to a tenth of it.
"""

import argparse
import json
import random
import statistics as plain
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from benchmarks.measuring import keep
from specs.comparison_plan import ALPHA, GAP, plan
from specs.comparisons import ComparisonSpec
from worker.attempt import Attempt, WorkOrder
from worker.comparison.statistics import Difference, difference, verdicts
from worker.link import Silence
from worker.prepare import prepare

AGAIN = "again"
REGROUPINGS = 100
COMPARISON: dict[str, Any] = {
    "dataset": {"kind": "builtin", "name": "digits"},
    "network": {"kind": "mlp", "hidden": [16]},
    "learners": [{"name": AGAIN, "learner": {"kind": "backprop"}, "optimizer": {"kind": "adam", "lr": 0.01}}],
    "seeds": 5,
    "training": {"epochs": 2, "batch_size": 64},
    "diagnostics": {"every_steps": None, "alignment_every_steps": None},
    "tuning": None,
}


class Runs:
    """Runs of one arm of the comparison, each a whole job."""

    def __init__(self, folder: Path, job: dict[str, Any]) -> None:
        self._folder = folder
        self._job = job
        order = {"precision": job["training"]["precision"], "data_dir": None, "prepared_dir": str(folder / "prepared")}
        self._dataset = prepare({"dataset": job["dataset"], **order})

    def accuracies(self, seeds: Iterable[int]) -> dict[int, float]:
        """Test accuracies in points, by seed."""
        return {seed: self._accuracy(seed) for seed in seeds}

    def _accuracy(self, seed: int) -> float:
        spec = {**self._job, "training": {**self._job["training"], "seed": seed}}
        order = WorkOrder.parse({"spec": spec, "dataset": self._dataset})
        accuracy = Attempt(order, Silence(), folder=self._folder).run().metrics["test"]["accuracy"]
        assert accuracy is not None
        return 100 * accuracy


def decided(
    scores: Mapping[int, float], controls: Mapping[str, Mapping[int, float]], *, seeds: int, gap: float, margin: float
) -> tuple[int, int]:
    """How many comparisons of the reference with itself decide, and how many there are."""
    decisions = []
    for start in range(0, len(scores) // 2 - seeds + 1, seeds):
        pairs = range(start, start + seeds)
        reference = {pair: scores[2 * pair] for pair in pairs}
        arms = {name: {pair: of[2 * pair] for pair in pairs} for name, of in controls.items()}
        arms[AGAIN] = {pair: scores[2 * pair + 1] - gap for pair in pairs}
        found: dict[str, Difference] = {}
        for name, of in arms.items():
            against = difference(of, reference, margin=margin, alpha=ALPHA)
            assert against is not None
            found[name] = against
        decisions.append(verdicts(found, alpha=ALPHA)[AGAIN].decision in ("better", "worse"))
    return sum(decisions), len(decisions)


def regrouped(scores: Mapping[int, float], *, seeds: int, margin: float) -> float:
    """The share of false decisions where the runs are put into groups at random."""
    values, false, count = list(scores.values()), 0, 0
    for turn in range(REGROUPINGS):
        random.Random(turn).shuffle(values)
        decisions, comparisons = decided(dict(enumerate(values)), {}, seeds=seeds, gap=0.0, margin=margin)
        false, count = false + decisions, count + comparisons
    return false / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comparisons", type=int, default=200)
    parser.add_argument("--keep", action="store_true", help="write the figures into benchmarks/results")
    options = parser.parse_args()
    torch.set_num_threads(1)
    begun = time.monotonic()
    spec = ComparisonSpec.model_validate_json(json.dumps(COMPARISON))
    planned, seeds = plan(spec), len(spec.seeds)
    jobs = {arm["name"]: arm["job"] for arm in planned["arms"]}
    tested = [arm["name"] for arm in planned["arms"] if arm["role"] == "control" and arm["tuned_as"] is None]
    pairs = seeds * options.comparisons
    with tempfile.TemporaryDirectory() as folder:
        scores = Runs(Path(folder), jobs[AGAIN]).accuracies(range(2 * pairs))
        controls = {name: Runs(Path(folder), jobs[name]).accuracies(range(0, 2 * pairs, 2)) for name in tested}
    deviation = plain.stdev(scores.values())
    false, count = decided(scores, controls, seeds=seeds, gap=0.0, margin=spec.margin)
    needed = planned["power"]["seeds_for_80_percent"]
    found, tried = decided(scores, controls, seeds=needed, gap=GAP * deviation, margin=spec.margin)
    figures = {
        "runs": len(scores) + sum(map(len, controls.values())),
        "seconds": round(time.monotonic() - begun, 1),
        "accuracy": f"{plain.mean(scores.values()):.2f} points, deviation {deviation:.2f}",
        "false_decisions": f"{false} of {count} ({false / count:.1%}) at {seeds} seeds",
        "false_decisions_regrouped": f"{regrouped(scores, seeds=seeds, margin=spec.margin):.2%}, without controls",
        "gap_of_two_deviations_found": f"{found} of {tried} ({found / tried:.1%}) at {needed} seeds",
    }
    for name, value in figures.items():
        print(f"{name:34} {value}")
    if options.keep:
        print(keep("aa", figures))


if __name__ == "__main__":
    main()
