"""A Forward-Forward step beside a backprop step at equal widths.
``OMP_NUM_THREADS=1 python -m benchmarks.forward_forward [ROUNDS]``

784-1000-1000-1000-10, 100 rows, SGD with momentum, one thread. Backprop is the plain loop that a user would write;
Forward-Forward is the product's step with its read-out, also with false labels drawn by that read-out. Interleaved, in
CPU time; a round's ratio is of its own two times.
"""

import itertools
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import TypeAdapter
from torch import Tensor, nn

from benchmarks.measuring import keep, ratios, spread
from learners.build import build, build_network, build_task
from learners.learner import Batch
from learners.streams import Streams
from specs.learners import LearnerSpec
from specs.networks import NetworkSpec
from specs.optimizers import OptimizerSpec
from specs.signature import DataSignature
from specs.training import Precision
from worker.precision import autocast_for

WIDTHS, ROWS, CLASSES, STEPS = (784, 1000, 1000, 1000), 100, 10, 10
DESCENT = {"kind": "sgd", "lr": 1e-3, "momentum": 0.9, "fused": True}
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")
LEARNERS: dict[str, dict[str, Any]] = {
    "forward_forward": {},
    "forward_forward, hard labels": {"negatives": "hard_label", "label_scale": 5.0},
}
Autocast = Callable[[], AbstractContextManager[None]]
Step = Callable[[], None]


def plain_backprop(x: Tensor, y: Tensor, autocast: Autocast) -> Step:
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(WIDTHS):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    net = nn.Sequential(*layers, nn.Linear(WIDTHS[-1], CLASSES))
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        with autocast():
            loss = F.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()

    return step


def forward_forward(x: Tensor, y: Tensor, autocast: Autocast, options: dict[str, Any]) -> Step:
    rule = TypeAdapter(LearnerSpec).validate_python({"kind": "forward_forward", **options})
    architecture = TypeAdapter(NetworkSpec).validate_python({"kind": "mlp", "hidden": list(WIDTHS[1:])})
    signature = DataSignature(task="classification", input_shape=(WIDTHS[0],), outputs=CLASSES, rows_train=ROWS)
    streams = Streams(0)
    network = build_network(architecture, signature, streams, learner=rule, dtype=torch.float32)
    update = TypeAdapter(OptimizerSpec).validate_python(DESCENT)
    training = build(network, build_task(signature), rule, update, streams, planned_steps=None)
    training.train()
    batch, done = Batch.whole(x, y), 0

    def step() -> None:
        nonlocal done
        training.context.begin(done)
        with autocast():
            for part in training.context.passes(batch):
                training.learner.update(part, training.context)
        training.context.finish()
        done += 1

    return step


def seconds(step: Step) -> float:
    started = time.process_time()
    for _ in range(STEPS):
        step()
    return (time.process_time() - started) / STEPS


def main(rounds: int) -> None:
    torch.set_num_threads(1)
    draw = torch.Generator().manual_seed(0)
    x = torch.rand(ROWS, WIDTHS[0], generator=draw)
    y = torch.randint(CLASSES, (ROWS,), generator=draw)
    steps: dict[str, Step] = {}
    for precision in PRECISIONS:
        autocast = autocast_for(precision, torch.device("cpu"))
        steps[f"backprop, {precision}"] = plain_backprop(x, y, autocast)
        for name, options in LEARNERS.items():
            steps[f"{name}, {precision}"] = forward_forward(x, y, autocast, options)
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(rounds + 1):
        for name, step in steps.items():
            spent = seconds(step)
            if number > 0:  # the first round warms up
                taken[name].append(spent)
    figures: dict[str, Any] = {
        "rounds": rounds,
        "widths": WIDTHS,
        "rows": ROWS,
        "milliseconds": {},
        "over_backprop": {},
    }
    for name, times in taken.items():
        figures["milliseconds"][name] = spread([1000 * spent for spent in times])
        for precision in PRECISIONS:
            against = f"backprop, {precision}"
            if name != against and (precision == "float32" or name.endswith(precision)):
                figures["over_backprop"][f"{name} / {against}"] = spread(ratios(times, taken[against]))
    for title in ("milliseconds", "over_backprop"):
        for name, figure in figures[title].items():
            print(f"{title:14s} {name:66s} {figure}")
    print("kept in", keep("forward_forward", figures))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 15)
