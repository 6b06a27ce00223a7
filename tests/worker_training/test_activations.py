"""Statistics of the units' answers to the probe rows, against numbers that are known beforehand."""

from pathlib import Path

import pytest
import torch

from tests.worker_training.running import attempt, job, points, train
from worker.attempt import PROBE_ROWS, Attempt
from worker.link import Link

Series = dict[tuple[str, str | None, str | None], dict[int, float]]


def _measured(made: Attempt) -> Series:
    made.run()
    link: Link = made.loop.course.link
    return points(link.reports)  # type: ignore[attr-defined]


def test_dead_units_are_counted_on_the_probe_rows(tmp_path: Path) -> None:
    made = attempt(job("backprop", "mlp", network={"kind": "mlp", "hidden": [8, 8]}), tmp_path)
    with torch.no_grad():
        made.loop.course.training.network.stages[0].synapse.bias[:6] = -1000.0
    series = _measured(made)
    assert series["dead_share", "blocks.0", "train"][1] >= 6 / 8
    assert series["zero_share", "blocks.0", "train"][1] >= series["dead_share", "blocks.0", "train"][1]
    assert ("dead_share", "readout", "train") not in series
    assert ("activation_std", "readout", "train") in series


@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "hard_sigmoid"])
def test_saturated_units_are_those_whose_slope_is_a_thousandth_of_the_largest(activation: str, tmp_path: Path) -> None:
    network = {"kind": "mlp", "hidden": [8, 8], "activation": activation}
    made = attempt(job("backprop", "mlp", network=network), tmp_path)
    with torch.no_grad():
        synapse = made.loop.course.training.network.stages[0].synapse
        synapse.weight.zero_()
        # Slopes over the largest: of a tanh at 4.2 below 1e-3, at 3.9 above; of a sigmoid at twice that.
        scale = {"tanh": 1.0, "sigmoid": 2.0, "hard_sigmoid": 0.75}[activation]
        synapse.bias.copy_(scale * torch.tensor([4.2, -4.2, 50.0, 3.9, -3.9, 0.0, 1.0, -1.0]))
    series = _measured(made)
    assert series["saturated_share", "blocks.0", "train"][1] == pytest.approx(3 / 8)
    assert series["saturated_share", "blocks.1", "train"][1] == 0


def test_share_that_saturates_is_missing_with_a_reason_where_nothing_saturates(tmp_path: Path) -> None:
    trained = train(job("backprop", "mlp"), tmp_path)
    assert trained.result.diagnostics["missing"]["activations"]["blocks.0"] == {"no_saturating_nonlinearity": 7}


def test_mean_and_spread_are_those_of_the_evaluated_network(tmp_path: Path) -> None:
    made = attempt(job("backprop", "mlp"), tmp_path)
    training = made.loop.course.training
    probe = made.loop.course.batches.rows.slice(0, PROBE_ROWS)
    training.eval()
    with torch.no_grad():
        outputs = training.network.activities(probe.x, detach=True)
    series = _measured(made)
    for name, output in zip(training.network.names, outputs, strict=True):
        values = output.double()
        assert series["activation_mean", name, "train"][1] == pytest.approx(float(values.mean()), abs=1e-6)
        assert series["activation_std", name, "train"][1] == pytest.approx(float(values.std(correction=0)), rel=1e-5)
    assert series["input_mean", None, "train"][1] == pytest.approx(float(probe.x.double().mean()), rel=1e-5)
    assert series["input_std", None, "train"][1] == pytest.approx(float(probe.x.double().std(correction=0)), rel=1e-5)


@pytest.mark.parametrize("learner", ["equilibrium_propagation", "soft_hebb", "hybrid", "noprop"])
def test_rules_that_run_blocks_by_halves_or_on_other_inputs_are_seen_too(learner: str, tmp_path: Path) -> None:
    network = {"kind": "mlp", "hidden": [12, 8], "activation": "hard_sigmoid"}
    series = train(job(learner, "mlp", network=network), tmp_path).series
    for layer in ("blocks.0", "blocks.1"):
        assert series["activation_std", layer, "train"][1] > 0
