"""Backpropagation against itself, through real training: ``python -m benchmarks.aa [--comparisons 200]``.

How often a comparison says "better" or "worse" where there is no difference: two arms that are the same job on other
seeds, paired as a comparison pairs them. Then how often it finds a gap of two deviations over seeds, laid on the second
arm, at the number of seeds that the power estimate asks for. Every run is a whole job of the trainer; only processes,
queue and database are left out.
"""

import argparse
import statistics as plain
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.measuring import keep
from specs.comparison_plan import ALPHA, GAP
from specs.job import JobSpec
from specs.power import seeds_for
from worker.attempt import Attempt, WorkOrder
from worker.comparison.statistics import difference, verdicts
from worker.link import Silence
from worker.prepare import prepare

SEEDS = 5
MARGIN = 0.5
JOB: dict[str, Any] = {
    "dataset": {"kind": "builtin", "name": "digits"},
    "network": {"kind": "mlp", "hidden": [16]},
    "learner": {"kind": "backprop"},
    "optimizer": {"kind": "adam", "lr": 0.01},
    "training": {"epochs": 2, "batch_size": 64},
    "diagnostics": {"every_steps": None, "alignment_every_steps": None},
}


def accuracies(folder: Path, *, runs: int) -> list[float]:
    """Test accuracies in points, a run for each seed."""
    spec = JobSpec.model_validate(JOB).resolved()
    order = {"precision": spec["training"]["precision"], "data_dir": None, "prepared_dir": str(folder / "prepared")}
    dataset = prepare({"dataset": spec["dataset"], **order})
    found = []
    for seed in range(runs):
        fields = {"spec": {**spec, "training": {**spec["training"], "seed": seed}}, "dataset": dataset}
        metrics = Attempt(WorkOrder.parse(fields), Silence(), folder=folder).run().metrics
        accuracy = metrics["test"]["accuracy"]
        assert accuracy is not None
        found.append(100 * accuracy)
    return found


def decided(scores: list[float], *, seeds: int, gap: float) -> tuple[int, int]:
    """How many comparisons of neighbouring groups of seeds decide, and how many there are."""
    decisions = []
    for start in range(0, len(scores) - 2 * seeds + 1, 2 * seeds):
        one, other = scores[start : start + seeds], scores[start + seeds : start + 2 * seeds]
        found = difference(
            {seed: score - gap for seed, score in enumerate(other)}, dict(enumerate(one)), margin=MARGIN, alpha=ALPHA
        )
        assert found is not None
        decisions.append(verdicts({"other": found}, alpha=ALPHA)["other"].decision in ("better", "worse"))
    return sum(decisions), len(decisions)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comparisons", type=int, default=200)
    parser.add_argument("--keep", action="store_true", help="write the figures into benchmarks/results")
    options = parser.parse_args()
    torch.set_num_threads(1)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        scores = accuracies(Path(folder), runs=2 * SEEDS * options.comparisons)
    deviation = plain.stdev(scores)
    false, count = decided(scores, seeds=SEEDS, gap=0.0)
    needed = seeds_for(gap=GAP, alpha=ALPHA)
    assert needed is not None
    found, tried = decided(scores, seeds=needed, gap=GAP * deviation)
    figures = {
        "runs": len(scores),
        "seconds": round(time.monotonic() - begun, 1),
        "accuracy": f"{plain.mean(scores):.2f} points, deviation {deviation:.2f}",
        "false_decisions": f"{false} of {count} ({false / count:.1%}) at {SEEDS} seeds",
        "gap_of_two_deviations_found": f"{found} of {tried} ({found / tried:.1%}) at {needed} seeds",
    }
    for name, value in figures.items():
        print(f"{name:28} {value}")
    if options.keep:
        print(keep("aa", figures))


if __name__ == "__main__":
    main()
