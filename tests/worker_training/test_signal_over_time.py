"""The signal on its way back through time, against single steps and closed forms."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from learners.networks.ltc import LtcBlock
from tests.worker_training.running import EVENTS, Listener, attempt, job, points, train
from worker.attempt import Attempt
from worker.diagnostics.diagnostic import Scope
from worker.diagnostics.signal_over_time import ROWS, SignalOverTime, slope

LEAKY = {"kind": "rnn", "cell": "leaky", "activation": "tanh", "hidden": [6]}
STEPS = {"kind": "steps", "value": 1}


def made_of(tmp_path: Path, **sections: Any) -> Attempt:
    training = {"budget": STEPS, "batch_size": 80, "precision": "float64"}
    return attempt({**job("backprop", "cfc", dataset=EVENTS, **sections), "training": training}, tmp_path)


def series_of(made: Attempt) -> dict[tuple[str, str | None, str | None], dict[int, float]]:
    made.run()
    link = made.loop.course.link
    assert isinstance(link, Listener)
    return points(link.reports)


def test_norms_are_those_of_the_states_of_a_loop_over_single_steps(tmp_path: Path) -> None:
    made = made_of(tmp_path, network=LEAKY)
    training, rows = made.loop.course.training, made.loop.course.batches.rows
    block, readout = training.network.stages
    x, y = rows.x[:ROWS], rows.y[:ROWS]
    state, states = None, []
    for t in range(x.shape[1]):
        _, state = block.step(x[:, t], state)
        states.append(state)
    loss = training.task.loss(readout(state[1].unsqueeze(1))[0], y)
    flat = [tensor for pair in states[:-1] for tensor in pair]
    found = torch.autograd.grad(loss, flat)
    series = series_of(made)
    for t in range(len(states) - 1):
        norm = math.hypot(*(float(gradient.norm()) for gradient in found[2 * t : 2 * t + 2]))
        assert series[f"time_signal_{t + 1}", "blocks.0", "train"][1] == pytest.approx(norm, rel=1e-6)


@pytest.mark.parametrize(("gain", "sign"), [(0.05, 1), (6.0, -1)])
def test_small_weights_let_the_signal_vanish_and_large_ones_explode(gain: float, sign: int, tmp_path: Path) -> None:
    made = made_of(tmp_path, network={**LEAKY, "leak": 0.0, "activation": "identity"})
    with torch.no_grad():
        torch.nn.init.orthogonal_(made.loop.course.training.network.stages[0].recurrent.weight).mul_(gain)
    series = series_of(made)
    # An orthogonal matrix times a gain changes the norm by the gain in every step.
    assert series["time_signal_slope", "blocks.0", "train"][1] == pytest.approx(-math.log10(gain), rel=1e-5)
    assert math.copysign(1, series["time_signal_slope", "blocks.0", "train"][1]) == sign


@pytest.mark.parametrize("network", ["ltc", "cfc", "spiking"])
def test_every_recurrent_network_has_a_signal_in_time(network: str, tmp_path: Path) -> None:
    series = train(job("backprop", network), tmp_path).series
    assert 0 < series["time_signal_ratio", "blocks.0", "train"][1] <= 1


def test_network_without_steps_says_so(tmp_path: Path) -> None:
    missing = train(job("backprop", "mlp"), tmp_path).result.diagnostics["missing"]
    assert missing["signal_over_time"] == {"network": {"no_recurrent_block": 7}}


def test_time_constants_are_capacity_over_conductance(tmp_path: Path) -> None:
    made = attempt(job("backprop", "ltc"), tmp_path)
    block = made.loop.course.training.network.stages[0]
    assert isinstance(block, LtcBlock)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.zero_()
        shortest, longest = block.time_constants()
    # All capacities and conductances are softplus(0): what is left is a count of synapses.
    most = block.sensory.source_HS.shape[1] + block.between.source_HS.shape[1]
    assert float(longest) == pytest.approx(1.0, rel=1e-3)
    assert 1 / (1 + most) - 1e-3 <= float(shortest) <= 0.5
    assert 1 / float(shortest) == pytest.approx(round(1 / float(shortest)), rel=1e-3)
    series = train(job("backprop", "ltc"), tmp_path).series
    assert 0 < series["tau_min", "blocks.0", "train"][1] < series["tau_max", "blocks.0", "train"][1]


def test_slope_of_a_straight_line() -> None:
    assert slope([(1, 5.0), (2, 7.0), (4, 11.0)]) == pytest.approx(2.0)


def test_norm_that_overflowed_is_told_and_left_out_of_the_slope(tmp_path: Path) -> None:
    measures = made_of(tmp_path, network=LEAKY).loop.course.panel._made["signal_over_time"]
    assert isinstance(measures, SignalOverTime)
    found = {
        p.quantity: p.value for p in measures._points(Scope("blocks.0", 0), [1, 2, 3, 4], [math.inf, 1e3, 1e2, 10])
    }
    assert found["time_signal_1"] == math.inf
    assert found["time_signal_slope"] == pytest.approx(-1)
