"""What recomputed activations save and cost: ``OMP_NUM_THREADS=1 python -m benchmarks.checkpointing [ROUNDS]``.

One forward and backward pass of a residual network of 32 blocks, and of a plain one of 100, with each way to group its
blocks, interleaved in one process. ``activation_bytes`` is the most that was alive at once in a pass that goes back to
the input alone: activations, recomputed ones, working memory; ``bytes`` with the weights' gradients, which are there in
any case. Both are shares of what is alive without checkpointing; ``time`` is the median ratio of CPU times within a
round.
"""

import sys
import time
from typing import Any

import torch

from benchmarks.measuring import keep, median, ratios, spread
from learners.build import build_network
from learners.networks.block_network import BlockNetwork
from learners.networks.checkpointing import Checkpointing
from learners.streams import Streams
from specs.architecture import Architecture
from specs.networks.mlp import MlpSpec
from specs.networks.resnet import ResnetSpec
from specs.signature import DataSignature
from worker.meters.live import LiveBytes

CASES: dict[str, tuple[Architecture, tuple[int, ...], int]] = {
    "residual mlp, 32 blocks of 256": (
        MlpSpec(hidden=(256,) * 32, residual=True, norm="layer", activation="gelu"),
        (256,),
        1024,
    ),
    "plain mlp, 100 blocks of 256": (MlpSpec(hidden=(256,) * 100), (256,), 1024),
    "resnet, 33 blocks of 8 channels": (ResnetSpec(channels=(8,), blocks_per_stage=32), (3, 16, 16), 64),
}
WAYS: dict[str, tuple[Checkpointing, int]] = {
    "none": ("none", 1),
    "every block": ("every_k", 1),
    "sqrt": ("sqrt", 1),
    "auto": ("auto", 1),
}


def passed(network: BlockNetwork, x: torch.Tensor) -> None:
    """A forward and a backward pass."""
    with network.passing(0, 0, (0, len(x), len(x)), "batch"):
        torch.autograd.grad(network(x).square().mean(), list(network.parameters()))


def alive(network: BlockNetwork, x: torch.Tensor, *, gradients: bool) -> int:
    """The most bytes alive at once in a pass, with or without the weights' gradients."""
    x = x.detach().requires_grad_()
    wanted = list(network.parameters()) if gradients else [x]
    with network.passing(0, 0, (0, len(x), len(x)), "batch"), LiveBytes() as count:
        torch.autograd.grad(network(x).square().mean(), wanted)
    return count.peak


def measured(spec: Architecture, shape: tuple[int, ...], rows: int, rounds: int) -> dict[str, Any]:
    signature = DataSignature(task="classification", input_shape=shape, outputs=10, rows_train=rows)
    x = torch.randn(rows, *shape, generator=torch.Generator().manual_seed(0))
    networks = {}
    for way, (mode, every_k) in WAYS.items():
        made = build_network(spec, signature, Streams(0), activation_checkpointing=mode, every_k=every_k)
        networks[way] = made.train()
    activations = {way: alive(network, x, gradients=False) for way, network in networks.items()}
    everything = {way: alive(network, x, gradients=True) for way, network in networks.items()}
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for network in networks.values():  # the first pass warms up
        passed(network, x)
    for _ in range(rounds):
        for way, network in networks.items():
            started = time.process_time()
            passed(network, x)
            seconds[way].append(time.process_time() - started)
    found: dict[str, Any] = {}
    for way, network in networks.items():
        taken = ratios(seconds[way], seconds["none"])
        groups = network._checkpointed
        found[way] = {
            "groups": None if groups is None else [len(group) for group in groups],
            "activation_bytes": round(activations[way] / activations["none"], 4),
            "bytes": round(everything[way] / everything["none"], 4),
            "time": round(median(taken), 3),
        }
        print(
            f"  {way:12s} activation bytes {found[way]['activation_bytes']:.3f}  bytes {found[way]['bytes']:.3f}"
            f"  time {spread(taken)}"
        )
    return found


def main(rounds: int) -> None:
    torch.set_num_threads(1)
    figures = {}
    for title, (spec, shape, rows) in CASES.items():
        print(title)
        figures[title] = measured(spec, shape, rows, rounds)
    print(keep("checkpointing", figures))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 9)
