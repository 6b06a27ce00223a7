"""The bill of a prediction: what it costs, and which parameters it takes. Measuring it changes nothing."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter

from specs.compatibility import kind_of, refusals
from specs.learners import LEARNER_SPECS
from specs.networks import NetworkSpec
from tests.worker_training import running
from worker.meters.energy import EnergyMeter
from worker.meters.inference import inference_bill

BOUNDED = {"kind": "mlp", "hidden": [12, 8], "activation": "hard_sigmoid"}  # relaxing rules train it too
MLP: Any = TypeAdapter(NetworkSpec).validate_python(BOUNDED)
TRAIN_IT = [kind_of(rule) for rule in LEARNER_SPECS if not refusals(rule(), MLP)]
WIDE, CLASSES, PIXELS = 16, 10, 64


def cost(learner: str, folder: Path, **fields: Any) -> dict[str, Any]:
    network = {"kind": "mlp", "hidden": [WIDE, WIDE]}
    job = {**running.job(learner, "mlp"), "network": network, "learner": {"kind": learner, **fields}}
    return running.train({**job, "diagnostics": running.NOTHING_MEASURED}, folder).result.cost


def chained(*widths: int) -> int:
    return sum(below * above + above for below, above in itertools.pairwise(widths))


def test_backprop_predicts_in_one_pass_with_all_that_it_trained(tmp_path: Path) -> None:
    found = cost("backprop", tmp_path)
    products = PIXELS * WIDE + WIDE * WIDE + WIDE * CLASSES
    assert found["inference"]["flops_per_row"] == 2 * products
    assert found["inference"]["seconds_per_row"] > 0
    assert found["parameters_deployed"] == found["parameters"] == chained(PIXELS, WIDE, WIDE, CLASSES)
    assert found["parameters_training_only"] == 0


def test_heads_that_no_prediction_reaches_only_train(tmp_path: Path) -> None:
    found = cost("backprop", tmp_path, auxiliary_heads={"weight": 0.3})
    assert found["parameters_deployed"] == chained(PIXELS, WIDE, WIDE, CLASSES)
    assert found["parameters_training_only"] == 2 * chained(WIDE, CLASSES)


def test_frozen_trunk_is_deployed_with_what_was_trained_on_it(tmp_path: Path) -> None:
    found = cost("readout_only", tmp_path)
    assert found["parameters"] == chained(WIDE, CLASSES)
    assert found["parameters_deployed"] == chained(PIXELS, WIDE, WIDE, CLASSES)
    assert (found["parameters_frozen"], found["parameters_training_only"]) == (chained(PIXELS, WIDE, WIDE), 0)


@pytest.mark.parametrize("learner", TRAIN_IT)
def test_parameters_add_up(learner: str, tmp_path: Path) -> None:
    trained = running.train({**running.job(learner, "mlp"), "network": BOUNDED}, tmp_path)
    found, training = trained.result.cost, trained.attempt.loop.course.training
    held = found["parameters"] + found["parameters_frozen"]
    assert held == found["parameters_deployed"] + found["parameters_training_only"]
    assert held >= sum(parameter.numel() for parameter in training.network.parameters())
    frozen = [name for name, parameter in training.network.named_parameters() if not parameter.requires_grad]
    assert bool(frozen) <= (found["parameters_frozen"] > 0), "what was frozen is frozen again"


def test_goodness_is_billed_for_each_class(tmp_path: Path) -> None:
    goodness, readout = (cost("forward_forward", tmp_path, predict=way) for way in ("goodness", "readout"))
    assert goodness["inference"]["flops_per_row"] > 5 * readout["inference"]["flops_per_row"]


def test_joules_are_null_with_the_reason_where_there_is_no_counter(tmp_path: Path) -> None:
    trained = running.train(running.job("backprop", "mlp"), tmp_path)
    course = trained.attempt.loop.course
    found = inference_bill(
        course.training, course.batches.rows, EnergyMeter(None, "no counter here"), autocast=course.autocast
    )
    assert (found["inference"]["joules_per_row"], found["inference"]["joules_reason"]) == (None, "no counter here")


@pytest.mark.parametrize("learner", TRAIN_IT)
def test_measuring_changes_no_weight_no_mode_and_no_generator(learner: str, tmp_path: Path) -> None:
    trained = running.train({**running.job(learner, "mlp"), "network": BOUNDED}, tmp_path)
    course = trained.attempt.loop.course
    before = {name: tensor.clone() for name, tensor in trained.weights.items()}
    generator = torch.random.get_rng_state()
    found = inference_bill(course.training, course.batches.rows, EnergyMeter(None, "none"), autocast=course.autocast)
    assert torch.equal(generator, torch.random.get_rng_state())
    assert all(torch.equal(before[name], tensor) for name, tensor in trained.weights.items())
    assert course.training.network.training
    assert found["parameters_deployed"] > 0
    assert found["parameters_training_only"] >= 0
    assert found["inference"]["flops_per_row"] > 0


def test_relaxing_rule_deploys_the_whole_network(tmp_path: Path) -> None:
    job = {**running.job("equilibrium_propagation", "mlp"), "network": BOUNDED}
    found = running.train(job, tmp_path).result.cost
    assert found["parameters_deployed"] == chained(PIXELS, 12, 8, CLASSES)
