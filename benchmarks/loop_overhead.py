"""What the loop costs beside the learner, per step: ``OMP_NUM_THREADS=1 python -m benchmarks.loop_overhead [ROUNDS]``.

Interleaved in one process, in CPU time: the product's loop with default diagnostics, the same with none, and the plain
loop that a user would write (rows indexed out of a tensor, forward, loss, backward, fused Adam), on the same rows,
widths and batch size. The digits network is so small that a step is nearly all overhead.
"""

import itertools
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from specs.job import JobSpec
from worker.attempt import Attempt, WorkOrder
from worker.batches import load_rows
from worker.link import Silence
from worker.prepare import prepare

CASES: dict[str, dict[str, Any]] = {
    "digits 64-64-10, batch 64": {
        "dataset": {"kind": "builtin", "name": "digits", "split": {"validation": 0}},
        "network": {"kind": "mlp", "hidden": [64]},
        "training": {"epochs": 40, "batch_size": 64},
    },
    "mnist 784-256-256-10, batch 128": {
        "dataset": {"kind": "published", "name": "mnist", "split": {"validation": 0}},
        "network": {"kind": "mlp", "hidden": [256, 256]},
        "training": {"epochs": 1, "batch_size": 128},
    },
}
OFF = {"every_steps": None, "alignment_every_steps": None}


def job(case: dict[str, Any], **sections: Any) -> JobSpec:
    learner = {"learner": {"kind": "backprop"}, "optimizer": {"kind": "adam", "lr": 0.001}}
    return JobSpec.model_validate({**case, **learner, **sections})


def loop_seconds(spec: JobSpec, prepared: dict[str, Any], folder: Path) -> tuple[float, int]:
    attempt = Attempt(WorkOrder.parse({"spec": spec.resolved(), "dataset": prepared}), Silence(), folder=folder)
    started = time.process_time()
    attempt.loop.run()
    return time.process_time() - started, attempt.loop.step


def plain_seconds(spec: JobSpec, prepared: dict[str, Any]) -> tuple[float, int]:
    rows = load_rows(Path(prepared["folder"]), "train", device=torch.device("cpu"))
    x, y = rows.x.flatten(1), rows.y
    widths = [x.shape[1], *spec.network.hidden]  # type: ignore[union-attr]
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    net = nn.Sequential(*layers, nn.Linear(widths[-1], 10))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.001, fused=True)
    assert spec.training.epochs is not None
    started, steps = time.process_time(), 0
    for _ in range(spec.training.epochs):
        for chosen in torch.randperm(len(x)).split(int(spec.training.batch_size)):
            optimizer.zero_grad()
            F.cross_entropy(net(x[chosen]), y[chosen]).backward()
            optimizer.step()
            steps += 1
    return time.process_time() - started, steps


def main(rounds: int) -> None:
    torch.set_num_threads(1)
    data_dir = os.environ.get("AFTERPROP_DATA_DIR")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for title, case in CASES.items():
            spec = job(case)
            order = {"dataset": spec.resolved()["dataset"], "precision": "float32"}
            prepared = prepare({**order, "data_dir": data_dir, "prepared_dir": str(folder / "prepared")})
            if "error" in prepared:
                print(f"{title}: skipped, {prepared['error']['message']}")
                continue
            found: dict[str, list[float]] = {"plain": [], "loop, no diagnostics": [], "loop, defaults": []}
            for round_ in range(rounds + 1):
                taken = {
                    "plain": plain_seconds(spec, prepared),
                    "loop, no diagnostics": loop_seconds(job(case, diagnostics=OFF), prepared, folder),
                    "loop, defaults": loop_seconds(spec, prepared, folder),
                }
                for kind, (seconds, steps) in taken.items():
                    if round_:  # the first warms up
                        found[kind].append(1e6 * seconds / steps)
            print(title)
            for kind, values in found.items():
                over = [value - plain for value, plain in zip(values, found["plain"], strict=True)]
                ratio = [value / plain for value, plain in zip(values, found["plain"], strict=True)]
                print(
                    f"  {kind:22s} {statistics.median(values):8.1f} us/step"
                    f"  over plain {statistics.median(over):+7.1f} us [{min(over):+.1f}, {max(over):+.1f}]"
                    f"  ratio {statistics.median(ratio):.3f} [{min(ratio):.3f}, {max(ratio):.3f}]"
                )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
