"""What training without a backward pass costs: ``OMP_NUM_THREADS=1 python -m benchmarks.gradient_free [ROUNDS]``.

784-500-500-10 ReLU, batches of 128 random rows, population 64, one thread, CPU time, interleaved in one process. The
unit of evolution strategies is one generation of evotorch's SupervisedNE with PGPE, where that package is installed,
else the loop that a user would write: noise on every parameter by ``torch.func.vmap``. The unit of MeZO and of forward
gradients is one backpropagation step of the product, all with plain SGD. Evaluations per second are no measure of
progress: low-rank noise is another estimator; ``gradient_free_curves`` draws loss against seconds.

Two goals are missed: 25 times evotorch for rank 1 in bfloat16, and 0.65 backprop steps for one pair of rank 1. Products
take 0.48 of a backprop step for such a pair; the rest is a hundred small operations. A pass in bfloat16 spends more on
activations, casts and single losses than on products, and on memory that the allocator gave back: told to keep it
(``MALLOC_TRIM_THRESHOLD_``, ``MALLOC_MMAP_THRESHOLD_``), it took a generation in 37 ms for 41, in float32 65 for 69.
"""

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from pydantic import TypeAdapter
from torch import nn
from torch.func import functional_call, vmap

from benchmarks.measuring import keep, ratios, spread
from learners.build import build, build_network, build_task
from learners.learner import Batch
from learners.streams import Streams
from specs.learners import LearnerSpec
from specs.networks.mlp import MlpSpec
from specs.optimizers import SgdSpec
from specs.signature import DataSignature

ROWS, POPULATION, SIGMA = 128, 64, 0.02
X, Y = torch.randn(ROWS, 784), torch.randint(10, (ROWS,))
SIGNATURE = DataSignature(task="classification", input_shape=(784,), outputs=10, rows_train=ROWS)


def product(learner: dict[str, Any], *, bfloat16: bool = False) -> Callable[[], None]:
    """One step of the product's learner on the same rows."""
    rule, streams = TypeAdapter(LearnerSpec).validate_python(learner), Streams(0)
    network = build_network(MlpSpec(hidden=(500, 500)), SIGNATURE, streams, learner=rule)
    training = build(network, build_task(SIGNATURE), rule, SgdSpec(lr=1e-4), streams, planned_steps=None)
    training.train()
    context, batch = training.context, Batch.whole(X, Y)

    def step() -> None:
        context.begin(context.step + 1)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16):
            for part in context.passes(batch):
                training.learner.update(part, context)
        context.finish()

    return step


def plain_network() -> nn.Module:
    return nn.Sequential(nn.Linear(784, 500), nn.ReLU(), nn.Linear(500, 500), nn.ReLU(), nn.Linear(500, 10))


def vmap_generation() -> Callable[[], None]:
    """Antithetic noise on every parameter, all members by vmap."""
    network, loss = plain_network(), nn.functional.cross_entropy
    parameters = {name: p.detach() for name, p in network.named_parameters()}

    def generation() -> None:
        half = {name: torch.randn(POPULATION // 2, *p.shape) for name, p in parameters.items()}
        noise = {name: torch.cat([e, -e]) for name, e in half.items()}
        moved = {name: p + SIGMA * noise[name] for name, p in parameters.items()}
        with torch.no_grad():
            losses = vmap(lambda one: loss(functional_call(network, one, (X,)), Y))(moved)
        for name, p in parameters.items():
            p.sub_(torch.tensordot(losses, noise[name], 1), alpha=1e-4 / (POPULATION * SIGMA))

    return generation


def evotorch_generation() -> Callable[[], None] | None:
    """SupervisedNE with PGPE, as its documentation trains a classifier; None where it is not installed."""
    try:
        from evotorch.algorithms import PGPE  # type: ignore[import-not-found]
        from evotorch.neuroevolution import SupervisedNE  # type: ignore[import-not-found]
    except ImportError:
        return None
    rows = torch.utils.data.TensorDataset(X, Y)
    problem = SupervisedNE(rows, plain_network, nn.CrossEntropyLoss(), minibatch_size=ROWS)
    search = PGPE(problem, popsize=POPULATION, center_learning_rate=1e-4, stdev_learning_rate=0.1, stdev_init=SIGMA)

    def generation() -> None:
        search.step()

    return generation


def main(rounds: int) -> None:
    torch.set_num_threads(1)
    dense = {"kind": "evolution_strategies", "population_size": POPULATION, "perturbation_scale": SIGMA}
    generations: dict[str, Callable[[], None]] = {
        "vmap loop": vmap_generation(),
        "es dense, raw": product({**dense, "shaping": "raw"}),
        "es dense, rank shaping": product(dense),
        "es low rank 1": product({**dense, "rank": 1}),
        "es low rank 4": product({**dense, "rank": 4}),
        "es low rank 1, bfloat16": product({**dense, "rank": 1}, bfloat16=True),
    }
    peer = evotorch_generation()
    if peer is not None:
        generations["evotorch SupervisedNE+PGPE"] = peer
    steps = {
        "backprop": product({"kind": "backprop"}),
        "mezo": product({"kind": "mezo"}),
        "es low rank 1, one pair": product({**dense, "rank": 1, "population_size": 2, "shaping": "raw"}),
        "forward gradient, weights": product({"kind": "forward_gradient", "perturb": "weights"}),
        "forward gradient, activities": product({"kind": "forward_gradient"}),
        "forward gradient, local guess": product({"kind": "forward_gradient", "guess": "local"}),
    }
    found: dict[str, list[float]] = {name: [] for name in (*generations, *steps)}
    for round_ in range(rounds + 1):
        for name, run in (*generations.items(), *steps.items()):
            times = 1 if name in generations else 10
            started = time.process_time()
            for _ in range(times):
                run()
            if round_:  # the first warms up
                found[name].append((time.process_time() - started) / times)
    unit = "vmap loop" if peer is None else "evotorch SupervisedNE+PGPE"
    figures: dict[str, Any] = {"unit": unit, "rounds": rounds, "times_as_fast": {}, "backprop_steps": {}}
    for name in generations:
        faster = ratios(found[unit], found[name])
        print(f"{name:32s} {POPULATION / statistics.median(found[name]):8.0f} evaluations/s  {spread(faster)} x {unit}")
        figures["times_as_fast"][name] = spread(faster)
    for name in steps:
        slower = ratios(found[name], found["backprop"])
        print(f"{name:32s} {1e3 * statistics.median(found[name]):8.2f} ms/step  {spread(slower)} x a backprop step")
        figures["backprop_steps"][name] = spread(slower)
    print(f"kept in {keep('gradient_free', figures)}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
