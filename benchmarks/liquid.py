"""Liquid networks beside the authors' package: ``OMP_NUM_THREADS=1 python -m benchmarks.liquid [ROUNDS]``.

Forward and backward of one batch, interleaved in one process on one thread: ours with copied sizes and wiring, and the
package ``ncps`` (1.0.1), on the same rows at regular times, because the package cannot batch irregular ones. nn.GRU of
as many units stands beside them as what a user would take otherwise. A ratio above 1 means that ours is faster.

A dense CfC of 128 units stays below its goal: at 99 GFLOP/s the products alone, which both must take, leave no more
than 2.9 times; what is left is elementwise work and memory touched for the first time, which the allocator may have
given back since the last pass, so that the ratio moves with what else ran in the process.
"""

import sys
import time
from collections.abc import Callable
from typing import Any

import ncps.torch
import ncps.wirings
import torch
from torch import Tensor, nn

from benchmarks.measuring import keep, ratios, spread
from learners.networks.cfc import CfcBlock
from learners.networks.ltc import LtcBlock
from learners.networks.wiring import Wiring, wire
from specs.networks.cfc import CfcSpec
from specs.networks.ltc import LtcSpec

ROWS, INPUTS = 64, 16
SIZES = {"32 units, 32 steps": (32, 32), "32 units, 128 steps": (32, 128), "128 units, 32 steps": (128, 32)}
GOALS = {"CfC": 2.0, "LTC": 3.0}


def theirs(units: int) -> ncps.wirings.Wiring:
    made = ncps.wirings.AutoNCP(units, units // 4, seed=1)
    made.build(INPUTS)
    return made


def ours(wiring: ncps.wirings.Wiring) -> Wiring:
    """The same wiring, so that both compute the same synapses."""
    layers = [wiring.get_neurons_of_layer(index) for index in range(wiring.num_layers)]
    return Wiring(
        torch.tensor(wiring.adjacency_matrix).float(),
        torch.tensor(wiring.sensory_adjacency_matrix).float(),
        tuple(range(min(layer), max(layer) + 1) for layer in layers),
        wiring.output_dim,
    )


def cases(units: int, steps: int) -> dict[str, Callable[[], Tensor]]:
    """One call of each: the outputs of a batch."""
    wiring = theirs(units)
    x, dt = torch.randn(ROWS, steps, INPUTS), torch.ones(ROWS, steps)
    dense = CfcSpec(hidden=(units,))
    wired = CfcSpec(hidden=(units,), wiring="auto_ncp")
    spec = LtcSpec()
    modules: dict[str, nn.Module] = {
        "GRU": nn.GRU(INPUTS, units, batch_first=True),
        "CfC ncps": ncps.torch.CfC(INPUTS, units),
        "CfC ours": CfcBlock(INPUTS, wire(dense, 0, INPUTS), dense),
        "CfC AutoNCP ncps": ncps.torch.CfC(INPUTS, wiring),
        "CfC AutoNCP ours": CfcBlock(INPUTS, ours(wiring), wired),
        "LTC AutoNCP ncps": ncps.torch.LTC(INPUTS, wiring),
        "LTC AutoNCP ours": LtcBlock(ours(wiring), ode_unfolds=spec.ode_unfolds, epsilon=spec.epsilon),
    }

    def call(name: str, module: nn.Module) -> Callable[[], Tensor]:
        if name.endswith("ours"):
            return lambda: module(x, None, dt)[0]
        return lambda: module(x)[0]

    return {name: call(name, module) for name, module in modules.items()}


def seconds(call: Callable[[], Tensor]) -> float:
    started = time.process_time()
    call().square().mean().backward()
    return time.process_time() - started


def main(rounds: int) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    figures: dict[str, Any] = {}
    for title, (units, steps) in SIZES.items():
        calls = cases(units, steps)
        taken: dict[str, list[float]] = {name: [] for name in calls}
        for round_ in range(rounds + 1):
            for name, call in calls.items():
                measured = seconds(call)
                if round_:  # the first warms up
                    taken[name].append(measured)
        print(title)
        for kind in ("CfC", "CfC AutoNCP", "LTC AutoNCP"):
            mine, of = taken[f"{kind} ours"], taken[f"{kind} ncps"]
            faster, beside_gru = ratios(of, mine), ratios(mine, taken["GRU"])
            goal = GOALS[kind.split()[0]]
            print(
                f"  {kind:12s} ours {1e3 * min(mine):8.1f} ms, ncps {1e3 * min(of):8.1f} ms (least);"
                f" ncps / ours {spread(faster)} (goal {goal:g}); ours / GRU {spread(beside_gru)}"
            )
            figures[f"{kind}, {title}"] = {"ncps_over_ours": faster, "ours_over_gru": beside_gru}
    print("kept in", keep("liquid", figures))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
