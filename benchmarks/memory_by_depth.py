"""What training keeps in memory by depth, as ratios: ``python -m benchmarks.memory_by_depth [--width W] [--rows R]``.

Per rule and depth, on a multi-layer perceptron: bytes that autograd saves at once; the peak of all that operations make
in a step, against a prediction of the same rows; and what a process of its own grows by while it trains, from the
operating system (optimizer state included, so only many rows show the outputs). Ratios are to the shallowest network
of the same rule.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter

from benchmarks.measuring import keep
from benchmarks.saved_bytes import SavedBytes
from learners.build import Training, build, build_network, build_task
from learners.learner import Batch
from learners.streams import Streams
from specs.compatibility import refusals
from specs.learners import LearnerSpec
from specs.networks import NetworkSpec
from specs.optimizers import AdamSpec, SgdSpec
from specs.signature import DataSignature
from worker.meters.live import LiveBytes

DEPTHS = (4, 8, 16, 32)
RULES: dict[str, dict[str, Any]] = {
    "backprop": {"learner": {"kind": "backprop"}},
    "backprop, checkpointing sqrt": {"learner": {"kind": "backprop"}, "checkpointing": "sqrt"},
    "forward_forward": {"learner": {"kind": "forward_forward"}},
    "mono_forward": {"learner": {"kind": "mono_forward"}},
    "mono_forward, joint": {"learner": {"kind": "mono_forward", "detach": False}},
    "local_loss": {"learner": {"kind": "local_loss"}},
    "predictive_coding": {"learner": {"kind": "predictive_coding"}},
    "noprop": {"learner": {"kind": "noprop"}},
    "mezo": {"learner": {"kind": "mezo"}},
}


def training(rule: dict[str, Any], depth: int, *, width: int, rows: int) -> tuple[Training, Batch]:
    """A rule on a network of ``depth`` equal layers, and one batch."""
    learner = TypeAdapter(LearnerSpec).validate_python(rule["learner"])
    network = TypeAdapter(NetworkSpec).validate_python({"kind": "mlp", "hidden": [width] * depth})
    assert not refusals(learner, network)
    signature = DataSignature(task="classification", input_shape=(width,), outputs=10, rows_train=rows)
    streams = Streams(0)
    built = build_network(
        network, signature, streams, learner=learner, activation_checkpointing=rule.get("checkpointing", "none")
    )
    optimizer = SgdSpec(lr=1e-3) if learner.optimizers is not None else AdamSpec(lr=1e-3)
    made = build(built, build_task(signature), learner, optimizer, streams, planned_steps=None)
    draw = torch.Generator().manual_seed(0)
    x, y = torch.randn(rows, width, generator=draw), torch.randint(10, (rows,), generator=draw)
    return made, Batch.whole(x, y)


def step(made: Training, batch: Batch, number: int) -> None:
    made.train()
    made.context.begin(number)
    for part in made.context.passes(batch):
        made.learner.update(part, made.context)
    made.context.finish()


def bytes_of(rule: dict[str, Any], depth: int, *, width: int, rows: int) -> dict[str, float]:
    made, batch = training(rule, depth, width=width, rows=rows)
    step(made, batch, 0)  # afterwards optimizers have their state
    weights = [parameter for group in made.groups for parameter in group.parameters]
    with SavedBytes(without=weights) as saved:
        step(made, batch, 1)
    with LiveBytes() as peak:
        step(made, batch, 2)
    made.eval()
    with LiveBytes() as inference, torch.no_grad():
        made.learner.predict(batch.x)
    return {"saved": saved.peak, "peak": peak.peak, "inference": inference.peak}


def grown_by(rule: str, depth: int, *, width: int, rows: int) -> int:
    """KiB by which a fresh process grows beyond its weights in three steps."""
    command = [sys.executable, "-m", "benchmarks.memory_by_depth", "--process", rule, str(depth)]
    sizes = ["--width", str(width), "--rows", str(rows)]
    # glibc does not fill the hole of a freed block with an aligned one of the same size: without this, a process whose
    # live bytes are flat still grows by an output a layer.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    ran = subprocess.run([*command, *sizes], check=True, capture_output=True, text=True, env=environment)
    return int(ran.stdout)


def in_this_process(rule: dict[str, Any], depth: int, *, width: int, rows: int) -> int:
    step(*training(rule, 1, width=8, rows=8), 0)  # code and thread pools are loaded
    made, batch = training(rule, depth, width=width, rows=rows)
    before = _most_resident_kib()
    for number in range(3):
        step(made, batch, number)
    return _most_resident_kib() - before


def _most_resident_kib() -> int:
    """Linux's own mark of this process; rusage would give the parent's where that is higher."""
    found = re.search(r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found, "no VmHWM: not Linux"
    return int(found.group(1))


def run(*, width: int, rows: int) -> dict[str, Any]:
    figures: dict[str, Any] = {"width": width, "rows": rows, "depths": DEPTHS, "rules": {}}
    for name, rule in RULES.items():
        found = [bytes_of(rule, depth, width=width, rows=rows) for depth in DEPTHS]
        grown = [grown_by(name, depth, width=width, rows=rows) for depth in (DEPTHS[0], DEPTHS[-1])]
        figures["rules"][name] = {
            "saved_bytes": [one["saved"] for one in found],
            "saved_over_shallowest": [_ratio(one["saved"], found[0]["saved"]) for one in found],
            "peak_over_shallowest": [_ratio(one["peak"], found[0]["peak"]) for one in found],
            "peak_over_inference": [_ratio(one["peak"], one["inference"]) for one in found],
            "process_growth_over_shallowest": _ratio(grown[1], grown[0]),
            "process_growth_kib": grown,
        }
        print(f"{name:30s}", json.dumps(figures["rules"][name]), flush=True)
    return figures


def _ratio(above: float, below: float) -> float | None:
    return round(above / below, 3) if below else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--rows", type=int, default=2048)
    parser.add_argument("--process", nargs=2, metavar=("RULE", "DEPTH"), help="one figure, in this process")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.process:
        rule, depth = given.process
        print(in_this_process(RULES[rule], int(depth), width=given.width, rows=given.rows))
    else:
        print("kept in", keep("memory_by_depth", run(width=given.width, rows=given.rows)))


if __name__ == "__main__":
    main()
