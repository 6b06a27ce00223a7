"""MNIST accuracy of every learning rule after a fixed time: ``python -m benchmarks.learners DATA_DIR [KIND ...]``.

Each row is an ordinary job through the service, one at a time, on one thread unless it says two, with a budget in
seconds of training. Printed and kept: the median over seeds beside the goal, and what the same time gave the controls.
"""

import argparse
import statistics
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from afterprop.client import Client
from benchmarks.measuring import keep
from benchmarks.stack import fresh_stack

MNIST = {"kind": "published", "name": "mnist", "split": {"validation": 0}}


@dataclass(frozen=True)
class Row:
    """One setting: what is trained, for how many seconds (a float) or epochs (an int), and what it is to reach: an
    accuracy, the accuracy of another row, or nothing that was promised."""

    learner: dict[str, Any]
    budget: float | int
    goal: float | str | None
    hidden: tuple[int, ...] = (256, 256)
    network: dict[str, Any] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=lambda: {"kind": "adam", "lr": 0.001})
    batch_size: int = 100
    threads: int = 1
    precision: str = "float32"

    def job(self, seed: int) -> dict[str, Any]:
        """The body of the POST."""
        budget = {"kind": "epochs" if isinstance(self.budget, int) else "seconds", "value": self.budget}
        return {
            "dataset": MNIST,
            "network": {"kind": "mlp", "hidden": list(self.hidden), **self.network},
            "learner": self.learner,
            "optimizer": self.optimizer,
            "training": {"budget": budget, "batch_size": self.batch_size, "seed": seed, "precision": self.precision},
            "resources": {"threads": self.threads},
        }


BOUNDED = {"activation": "hard_sigmoid"}
FORWARD_FORWARD = {
    "kind": "forward_forward",
    "negatives": "hard_label",
    "label_scale": 5.0,
    "goodness_scale": 30.0,
    "predict": "readout",
}
FALLING = {"kind": "adam", "lr": 0.004, "schedule": {"kind": "linear", "steps": 2000, "final_factor": 0.05}}
IN_A_MINUTE = Row(FORWARD_FORWARD, 60.0, 0.97, hidden=(512, 512), optimizer=FALLING, precision="bfloat16")
SLOWLY_FALLING = {"kind": "adam", "lr": 0.002, "schedule": {"kind": "linear", "steps": 7000}}
DESCENT = {"kind": "sgd", "lr": 0.1}
FINE_TUNING: dict[str, Any] = {
    "kind": "hybrid",
    "phases": [
        {"until": {"kind": "epochs", "value": 2}, "segments": [{"learner": {"kind": "backprop"}}]},
        {"segments": [{"learner": {"kind": "mezo"}}], "optimizer": {"kind": "sgd", "lr": 1e-5}},
    ],
}
ROWS: dict[str, Row] = {
    "backprop": Row({"kind": "backprop"}, 10.0, 0.978),
    "readout_only": Row({"kind": "readout_only"}, 20.0, None, hidden=(1000,), optimizer={"kind": "adam", "lr": 0.003}),
    "mono_forward": Row({"kind": "mono_forward"}, 15.0, 0.973),
    "local_loss": Row({"kind": "local_loss"}, 30.0, None),
    "direct_feedback_alignment": Row({"kind": "feedback_alignment", "route": "direct"}, 20.0, 0.97),
    "feedback_alignment": Row({"kind": "feedback_alignment", "route": "sequential"}, 20.0, None),
    "equilibrium_propagation": Row(
        {"kind": "equilibrium_propagation"},
        60.0,
        0.97,
        hidden=(512,),
        network=BOUNDED,
        optimizer={"kind": "adam", "lr": 0.002},
        batch_size=50,
    ),
    "predictive_coding": Row({"kind": "predictive_coding"}, 60.0, 0.965),
    "forward_forward": IN_A_MINUTE,
    # What each part of that setting is worth, and the setting before it.
    "forward_forward_even_labels": replace(IN_A_MINUTE, learner={**FORWARD_FORWARD, "negatives": "wrong_label"}),
    "forward_forward_by_goodness": replace(IN_A_MINUTE, learner={**FORWARD_FORWARD, "predict": "goodness"}),
    "forward_forward_small_labels": Row(
        {"kind": "forward_forward"}, 60.0, 0.97, hidden=(512, 512), optimizer=SLOWLY_FALLING, threads=2
    ),
    "forward_forward_long": Row(
        FORWARD_FORWARD,
        30,
        0.985,
        hidden=(1000, 1000, 1000),
        optimizer={"kind": "adam", "lr": 0.002, "schedule": {"kind": "linear"}},
        precision="bfloat16",
    ),
    "forward_forward_dropout": Row(
        FORWARD_FORWARD,
        220.0,
        0.985,
        hidden=(1000, 1000),
        network={"dropout": 0.2},
        optimizer={"kind": "adam", "lr": 0.003, "schedule": {"kind": "linear", "steps": 4000, "final_factor": 0.05}},
        precision="bfloat16",
    ),
    "forward_forward_dropout_long": Row(
        FORWARD_FORWARD,
        40,
        0.985,
        hidden=(1000, 1000),
        network={"dropout": 0.2},
        optimizer={"kind": "adamw", "lr": 0.002, "weight_decay": 0.001, "schedule": {"kind": "linear"}},
        precision="bfloat16",
    ),
    "pepita": Row(
        {"kind": "pepita"},
        60.0,
        0.96,
        hidden=(512,),
        network={"dropout": 0.1},
        optimizer={**DESCENT, "momentum": 0.9},
        batch_size=64,
    ),
    "noprop": Row({"kind": "noprop"}, 60.0, 0.95, hidden=(256,), batch_size=128),
    "evolution_strategies": Row(
        {"kind": "evolution_strategies", "rank": 1, "population_size": 128},
        60.0,
        0.90,
        hidden=(128,),
        optimizer={"kind": "adam", "lr": 0.002},
        batch_size=256,
    ),
    "forward_gradient": Row({"kind": "forward_gradient"}, 60.0, None, hidden=(128,), batch_size=256),
    "soft_hebb": Row(
        {"kind": "soft_hebb"}, 20.0, "readout_only", hidden=(1000,), optimizer={"kind": "adam", "lr": 0.003}
    ),
    "backprop_before_mezo": Row({"kind": "backprop"}, 2, None, optimizer=DESCENT),
    "mezo": Row(FINE_TUNING, 3, "backprop_before_mezo", optimizer=DESCENT),
}


def measure(client: Client, row: Row, seeds: int) -> dict[str, Any]:
    """Accuracies and bills of one row over its seeds."""
    jobs = [client.jobs.wait(client.jobs.create(row.job(seed))["id"]) for seed in range(seeds)]
    failed = [job["error"] for job in jobs if job["status"] != "succeeded"]
    accuracies = [job["result"]["metrics"]["test"]["accuracy"] for job in jobs if job["status"] == "succeeded"]
    return {
        "job": row.job(0),
        "goal": row.goal,
        "accuracy_median": statistics.median(accuracies) if accuracies and not failed else None,
        "accuracies": accuracies,
        "failed": failed,
        "wall_s": [job["result"]["cost"]["wall_s"] for job in jobs if job["result"]],
        "epochs": [job["progress"]["epoch"] for job in jobs],
        "peak_bytes": [job["result"]["cost"]["peak_bytes"] for job in jobs if job["result"]],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("kinds", nargs="*", choices=[*ROWS, []])
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    medians: dict[str, float | None] = {}
    with fresh_stack(given.data_dir) as url:
        client = Client(url)
        for name in given.kinds or ROWS:
            found = measure(client, ROWS[name], given.seeds)
            medians[name] = found["accuracy_median"]
            goal = ROWS[name].goal
            found["goal_value"] = medians.get(goal) if isinstance(goal, str) else goal
            print(f"{name:26s} {found['wall_s']} s, goal {found['goal_value']}: {medians[name]} {found['accuracies']}")
            path = keep(f"learners/{name}", found)
    print("kept in", path)


if __name__ == "__main__":
    main()
