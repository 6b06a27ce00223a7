"""Alignment is judged against what a correct rule reaches, and not at all where the reference is rounding."""

from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import torch
from torch import Tensor

from learners.learner import UpdateContext
from learners.population import DensePopulation
from tests.worker_training.running import Listener, attempt, job, points, train
from worker.attempt import Attempt

SETTLES = {"kind": "mlp", "hidden": [12, 8], "activation": "hard_sigmoid"}


def _run(made: Attempt) -> dict[tuple[str, str | None, str | None], dict[int, float]]:
    made.run()
    link = made.loop.course.link
    assert isinstance(link, Listener)
    return points(link.reports)


@pytest.mark.parametrize("learner", ["backprop", "feedback_alignment"])
def test_reference_that_is_nothing_but_rounding_is_null_with_the_reason(learner: str, tmp_path: Path) -> None:
    """The degenerate case of arXiv 2606.21126: a residual net that ends in a layer norm, and a read-out that weighs all
    its outputs alike. Their sum is a constant, so below the norm the true gradient is zero; what is found is rounding.
    """
    network = {"kind": "transformer", "width": 16, "heads": 2, "layers": 2, "feedforward": 16, "patch_size": 2}
    made = attempt(job(learner, "mlp", network=network), tmp_path)
    with torch.no_grad():
        weight = made.loop.course.training.network.stages[-1].synapse.weight
        weight.copy_(weight[:, :1].expand_as(weight))
    series = _run(made)
    for layer in ("blocks.0", "blocks.1"):
        assert 1 not in series["alignment_cosine", layer, "train"]
        assert series["alignment_cosine", layer, "train"].keys() == set(range(2, 8))  # the read-out has moved
    assert series["alignment_cosine", "readout", "train"][1] == pytest.approx(1, abs=1e-6)
    missing = made.loop.course.panel.summary(1.0)["missing"]["alignment"]
    assert missing == {layer: {"reference_below_floor": 1} for layer in ("blocks.0", "blocks.1")}
    if learner == "backprop":
        # What the cosine would have hidden: the gradient is far above underflow, and equals its reference.
        norm = series["grad_norm", "blocks.0", "train"][1]
        assert 1e-30 < norm < 1e-4 * series["grad_norm", "blocks.0", "train"][2]


@pytest.mark.parametrize(
    ("learner", "sections"),
    [
        ("backprop", {}),
        ("backprop", {"training": {"precision": "bfloat16"}}),
        ("backprop", {"training": {"activation_checkpointing": "every_k", "micro_batch_size": 50}}),
        ("equilibrium_propagation", {"network": SETTLES}),
    ],
)
def test_healthy_references_pass(learner: str, sections: dict[str, Any], tmp_path: Path) -> None:
    trained = train(job(learner, "mlp", **sections), tmp_path)
    assert "alignment" not in trained.result.diagnostics["missing"]
    for layer in ("blocks.0", "blocks.1", "readout", None):
        found = trained.series["alignment_cosine", layer, "train"]
        assert found.keys() == set(range(1, 8))
        assert found[1] > 0.98  # later, equilibrium propagation settles less fully


class ShiftedPopulation(DensePopulation):
    """Gives every perturbation the weight of its neighbour."""

    def write(self, context: UpdateContext, weight_M: Tensor) -> None:
        super().write(context, weight_M.roll(1))


class HalfBlindPopulation(DensePopulation):
    """Forgets every second perturbation, and counts the rest twice."""

    def write(self, context: UpdateContext, weight_M: Tensor) -> None:
        kept = torch.arange(len(weight_M)) % 2 == 0
        super().write(context, 2 * weight_M * kept)


@pytest.mark.parametrize(
    ("population", "low", "high"),
    [(DensePopulation, 0.8, 1.25), (ShiftedPopulation, -0.3, 0.3), (HalfBlindPopulation, 0.5, 0.8)],
)
def test_only_a_correct_evolution_strategy_reaches_its_expected_cosine(
    population: type[DensePopulation], low: float, high: float, tmp_path: Path
) -> None:
    fields = job(
        "evolution_strategies",
        "mlp",
        network={"kind": "mlp", "hidden": [12, 8]},
        learner={"kind": "evolution_strategies", "population_size": 64},
        optimizer={"kind": "sgd", "lr": 1e-4},
        training={"budget": {"kind": "steps", "value": 40}},
        diagnostics={"every_steps": 40, "alignment_every_steps": 1, "budget_percent": None},
    )
    made = attempt(fields, tmp_path)
    training = made.loop.course.training
    scale = fields["learner"].get("perturbation_scale", 0.02)
    training.learner._population = population(  # type: ignore[attr-defined]
        training.network, training.task, (1.0, -1.0), scale
    )
    series = _run(made)
    for layer in ("blocks.0", "blocks.1", "readout"):
        cosine, expected = (series[name, layer, "train"] for name in ("alignment_cosine", "alignment_expected"))
        assert len(cosine) == 40
        ratio = fmean(cosine.values()) / fmean(expected.values())
        assert low <= ratio <= high, (layer, ratio)


def test_first_order_decrease_is_what_a_small_step_takes_off_the_loss(tmp_path: Path) -> None:
    fields = job(
        "backprop",
        "mlp",
        network={"kind": "mlp", "hidden": [12, 8], "activation": "tanh"},
        optimizer={"kind": "sgd", "lr": 1e-3},
        training={"budget": {"kind": "steps", "value": 1}, "batch_size": 80, "precision": "float64"},
    )
    made = attempt(fields, tmp_path)
    batch = made.loop.course.batches.at(0)
    learner = made.loop.course.training.learner
    before = learner.reference(batch).item()
    series = _run(made)
    decrease = before - learner.reference(batch).item()
    found = series["first_order_decrease", None, "train"][1]
    assert found == pytest.approx(decrease, rel=1e-3)
    layers = sum(series["first_order_decrease", layer, "train"][1] for layer in ("blocks.0", "blocks.1", "readout"))
    assert layers == pytest.approx(found, rel=1e-5)
    # Plain descent: the squared norm of the gradient times the rate.
    assert found == pytest.approx(1e-3 * series["grad_norm", None, "train"][1] ** 2, rel=1e-5)


def test_signs_agree_with_oneself_and_by_half_with_noise(tmp_path: Path) -> None:
    own = train(job("backprop", "mlp"), tmp_path).series["alignment_sign_agreement", None, "train"]
    assert set(own.values()) == {1.0}
    noise = train(job("mezo", "mlp"), tmp_path).series["alignment_sign_agreement", None, "train"]
    assert fmean(noise.values()) == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("sign", [1, -1])
def test_reference_that_overflows_ends_no_job_and_is_null_with_the_reason(sign: int, tmp_path: Path) -> None:
    """Infinite slopes of both signs, as of a true gradient that explodes above a rule that does not follow it."""
    made = attempt(job("feedback_alignment", "mlp"), tmp_path)
    learner = made.loop.course.training.learner
    first, second = (block.synapse.bias for block in learner.network.stages[:2])  # type: ignore[attr-defined]
    reference = learner.reference

    def overflowing(batch: Any) -> Tensor:
        loss = reference(batch)
        assert loss is not None
        return loss + (first[0] - first[0].detach()).sqrt() + sign * (second[0] - second[0].detach()).sqrt()

    learner.reference = overflowing  # type: ignore[method-assign]
    series = _run(made)
    missing = made.loop.course.panel.summary(1.0)["missing"]["alignment"]
    assert missing == {layer: {"reference_not_finite": 7} for layer in ("blocks.0", "blocks.1", "network")}
    assert len(series["alignment_cosine", "readout", "train"]) == 7
