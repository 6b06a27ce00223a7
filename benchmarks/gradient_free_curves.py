"""Loss against seconds, no backward pass: ``OMP_NUM_THREADS=1 python -m benchmarks.gradient_free_curves DATA_DIR``.

MNIST on 784-500-500-10 ReLU from random weights, batches of 128, population 64, one thread, CPU seconds of the updates
alone, backpropagation beside them. Every row is the best of three learning rates by its loss at the end, on 2,000
test images: evaluations per second are no measure of progress, because noise of low rank is another estimator.
"""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from benchmarks.gradient_free import POPULATION, ROWS, SIGMA
from benchmarks.measuring import keep
from benchmarks.plain_loops import mnist
from learners.build import build, build_network, build_task
from learners.learner import Batch
from learners.streams import Streams
from specs.learners import LearnerSpec
from specs.networks.mlp import MlpSpec
from specs.optimizers import AdamSpec, SgdSpec
from specs.signature import DataSignature

MARKS = (0.5, 1.0, 2.0, 4.0)
DENSE = {"kind": "evolution_strategies", "population_size": POPULATION, "perturbation_scale": SIGMA}
RULES: dict[str, tuple[dict[str, Any], bool]] = {
    "es dense": (DENSE, False),
    "es low rank 1": ({**DENSE, "rank": 1}, False),
    "es low rank 1, bfloat16": ({**DENSE, "rank": 1}, True),
    "mezo": ({"kind": "mezo"}, False),
    "backprop": ({"kind": "backprop"}, False),
}
ADAM_RATES, SGD_RATES = (5e-4, 2e-3, 8e-3), (1e-4, 1e-3, 1e-2)

Course = tuple[Callable[[], None], Callable[[Tensor], Tensor]]
"""One update, and the scores of rows."""


def rows_of(x: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    while True:
        for chosen in torch.randperm(len(x), generator=generator).split(ROWS)[:-1]:
            yield x[chosen], y[chosen]


def ours(learner: dict[str, Any], rate: float, x: Tensor, y: Tensor, *, bfloat16: bool) -> Course:
    signature = DataSignature(task="classification", input_shape=(784,), outputs=10, rows_train=len(x))
    rule, streams, task = TypeAdapter(LearnerSpec).validate_python(learner), Streams(0), build_task(signature)
    network = build_network(MlpSpec(hidden=(500, 500)), signature, streams, learner=rule)
    optimizer = SgdSpec(lr=rate) if learner["kind"] == "mezo" else AdamSpec(lr=rate)
    training = build(network, task, rule, optimizer, streams, planned_steps=None)
    training.train()
    context, batches = training.context, rows_of(x, y)

    def update() -> None:
        context.begin(context.step + 1)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16):
            for part in context.passes(Batch.whole(*next(batches))):
                training.learner.update(part, context)
        context.finish()

    return update, training.learner.predict


def curve(course: Course, x: Tensor, y: Tensor) -> list[float]:
    """The loss at every mark."""
    update, scores = course
    spent, losses = 0.0, []
    for mark in MARKS:
        while spent < mark:
            started = time.process_time()
            update()
            spent += time.process_time() - started
        with torch.no_grad():
            losses.append(float(nn.functional.cross_entropy(scores(x), y)))
    return losses


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    images, labels, test_images, test_labels = mnist(folder)
    x, test_x = ((one.flatten(1).float() / 255 - 0.1307) / 0.3081 for one in (images, test_images[:2000]))
    y, test_y = labels.long(), test_labels[:2000].long()
    tried: dict[str, dict[float, list[float]]] = {}
    for name, (learner, bfloat16) in RULES.items():
        rates = SGD_RATES if name == "mezo" else ADAM_RATES
        tried[name] = {rate: curve(ours(learner, rate, x, y, bfloat16=bfloat16), test_x, test_y) for rate in rates}
        shown(name, tried[name])
    best = {name: min(rates.items(), key=lambda item: item[1][-1]) for name, rates in tried.items()}
    figures = {
        "cpu_seconds": list(MARKS),
        "test_loss": {
            name: {"rate": rate, "loss": [round(one, 4) for one in loss]} for name, (rate, loss) in best.items()
        },
    }
    print(f"kept in {keep('gradient_free_curves', figures)}")


def shown(name: str, rates: dict[float, list[float]]) -> None:
    rate, losses = min(rates.items(), key=lambda item: item[1][-1])
    at = "  ".join(f"{loss:.3f} at {mark:g} s" for mark, loss in zip(MARKS, losses, strict=True))
    print(f"{name:28s} {at}  (learning rate {rate:g})", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]) / "mnist")
