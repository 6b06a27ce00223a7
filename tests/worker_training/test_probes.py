"""Probes measure what they say: against explicit Hessians, numpy, and invariances that hold by definition."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from learners.learner import Batch
from learners.streams import Streams
from specs.probes import (
    CkaSpec,
    DepthUtilitySpec,
    EffectiveRankSpec,
    HessianTraceSpec,
    HistogramSpec,
    SharpnessSpec,
)
from tests.worker_training import running
from worker.attempt import trained_layers
from worker.diagnostics.diagnostic import Layer, Scope
from worker.probes.cka import Cka, linear_cka
from worker.probes.curvature import Hessian
from worker.probes.depth_utility import DepthUtility, replaced
from worker.probes.effective_rank import EffectiveRank, effective_rank
from worker.probes.hessian_trace import HessianTrace
from worker.probes.histogram import Histogram, counted
from worker.probes.probe import Trained
from worker.probes.sharpness import Sharpness, lanczos
from worker.storable import storable

IRIS = {"kind": "builtin", "name": "iris"}
SMALL: dict[str, Any] = {
    "dataset": IRIS,
    "network": {"kind": "mlp", "hidden": [5, 4], "activation": "tanh"},
    "learner": {"kind": "backprop"},
    "optimizer": {"kind": "sgd", "lr": 0.1},
    "training": {"epochs": 3, "batch_size": 16, "precision": "float64"},
}
OTHER = f"job_{32 * '0'}"


def trained(folder: Path, **sections: Any) -> Trained:
    """A job that ran to its end, as a probe sees it."""
    attempt = running.train({**SMALL, **sections}, folder).attempt
    course = attempt.loop.course
    layers = tuple(
        Layer(Scope(group.name, place), group.parameters) for place, group in enumerate(trained_layers(course.training))
    )
    return Trained(course.training, layers, attempt.loop.step, course.batches.rows, course.validation)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return trained(tmp_path_factory.mktemp("probes"))


def explicit_hessian(subject: Trained, batch: Batch) -> Tensor:
    """The whole matrix, by torch.func of another statement of the same loss."""
    training = subject.training
    training.eval()
    named = dict(training.network.named_parameters())
    order = [next(name for name, p in named.items() if p is q) for layer in subject.layers for q in layer.parameters]
    sizes = [named[name].numel() for name in order]

    def loss(flat: Tensor) -> Tensor:
        pieces = zip(order, flat.split(sizes), strict=True)
        given = {name: piece.reshape(named[name].shape) for name, piece in pieces}
        scores = torch.func.functional_call(training.network, given, (batch.x,))
        return torch.nn.functional.cross_entropy(scores, batch.y)

    flat = torch.cat([named[name].detach().reshape(-1) for name in order])
    return torch.autograd.functional.hessian(loss, flat)  # type: ignore[no-any-return, no-untyped-call]


def test_ends_of_the_spectrum_are_those_of_the_explicit_hessian(small: Trained) -> None:
    values = torch.linalg.eigvalsh(explicit_hessian(small, small.batch(40)))
    found = Sharpness(SharpnessSpec(rows=40, iterations=200, tolerance=1e-9)).measure(small, None)
    assert found["largest"] == pytest.approx(float(values[-1]), rel=1e-6)
    assert found["smallest"] == pytest.approx(float(values[0]), rel=1e-3)
    assert found["converged"]
    assert found["largest_error"] <= 1e-9 * found["largest"]
    assert found["edge_of_stability"] == pytest.approx(2 / 0.1)
    few = Sharpness(SharpnessSpec(rows=40, iterations=2, tolerance=1e-9)).measure(small, None)
    assert not few["converged"], "two products cannot know it"
    assert few["largest"] < 0.999999 * float(values[-1])


def test_product_is_the_explicit_hessians(small: Trained) -> None:
    matrix = explicit_hessian(small, small.batch(40))
    hessian = Hessian(small, small.batch(40))
    assert len(hessian) == len(matrix)
    vector = torch.randn(len(matrix), dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(hessian.product(vector), matrix @ vector, rtol=1e-9, atol=1e-12)


def test_largest_eigenvalue_is_signed() -> None:
    diagonal = torch.tensor([-9.0, -1.0, 0.5, 2.0], dtype=torch.float64)
    found = lanczos(lambda v: diagonal * v, torch.ones(4, dtype=torch.float64), iterations=9, tolerance=1e-12)
    assert (found.largest, found.smallest) == pytest.approx((2.0, -9.0))
    assert found.products <= 4


def test_trace_is_the_explicit_one_within_its_standard_error(small: Trained) -> None:
    matrix = explicit_hessian(small, small.batch(40))
    found = HessianTrace(HessianTraceSpec(rows=40, samples=200, seed=3)).measure(small, None)
    assert abs(found["trace"] - float(matrix.trace())) < 4 * found["standard_error"]
    assert found["standard_error"] < 0.1 * found["trace"], "an estimate that excludes something"
    at = 0
    for layer in small.layers:
        size = sum(parameter.numel() for parameter in layer.parameters)
        estimate = found["layers"][layer.scope.layer]
        exact = float(matrix[at : at + size, at : at + size].trace())
        assert abs(estimate["value"] - exact) < 4 * estimate["standard_error"]
        at += size
    assert sum(layer["value"] for layer in found["layers"].values()) == pytest.approx(found["trace"])


def test_counts_of_a_histogram_and_what_lies_apart_are_all_numbers() -> None:
    given = [0.0, -0.0, math.nan, math.inf, 1e-20, 1e9, 1.0, -1.0, 9.9e3, 1e-12, -0.5]
    found = counted(torch.tensor(given, dtype=torch.float64))
    apart = {name: found[name] for name in ("zero", "nonfinite", "below", "above")}
    assert apart == {"zero": 2, "nonfinite": 2, "below": 1, "above": 1}
    assert sum(found["counts"]) + sum(apart.values()) == found["numbers"] == len(given)
    assert found["counts"][48] == 2, "log10 |1| = 0, at a quarter of a decade a bin from -12"
    assert found["counts"][63] == found["counts"][0] == found["counts"][46] == 1


def test_histogram_is_of_what_the_learner_writes(small: Trained) -> None:
    before = {name: tensor.clone() for name, tensor in small.training.network.state_dict().items()}
    found = Histogram(HistogramSpec(rows=40)).measure(small, None)
    for layer in small.layers:
        counts = found["layers"][layer.scope.layer]
        apart = counts["zero"] + counts["nonfinite"] + counts["below"] + counts["above"]
        assert sum(counts["counts"]) + apart == sum(p.numel() for p in layer.parameters)
    loss = small.training.learner.reference(small.batch(40))
    assert loss is not None
    layer = small.layers[0]
    expected = torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, layer.parameters)])
    assert found["layers"][layer.scope.layer] == counted(expected)
    for name, tensor in small.training.network.state_dict().items():
        assert torch.equal(tensor, before[name]), "no step is taken"


@pytest.mark.parametrize("directions", [1, 3, 7])
def test_effective_rank_of_equal_directions_is_their_number(directions: int) -> None:
    rows = np.linalg.qr(np.random.default_rng(directions).normal(size=(20, 20)))[0][:, :directions]
    columns = np.linalg.qr(np.random.default_rng(9).normal(size=(9, 9)))[0][:, :directions]
    assert effective_rank(torch.from_numpy(rows @ columns.T)) == pytest.approx(directions, rel=1e-4)


def test_effective_rank_is_numpys() -> None:
    matrix = np.random.default_rng(1).normal(size=(30, 12)) * np.geomspace(1, 1e-3, 12)
    shares = np.linalg.svd(matrix, compute_uv=False)
    shares = shares / shares.sum() + 1e-7
    expected = math.exp(-float(np.sum(shares * np.log(shares))))
    assert effective_rank(torch.from_numpy(matrix)) == pytest.approx(expected, rel=1e-9)
    assert effective_rank(torch.zeros(4, 3, dtype=torch.float64)) is None


def _cka(x: np.ndarray, y: np.ndarray) -> float | None:
    return linear_cka(torch.from_numpy(x), torch.from_numpy(y))


def test_cka_is_numpys_and_blind_to_rotation_scale_and_shift_alone() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(40, 6)), rng.normal(size=(40, 9))
    xc, yc = x - x.mean(0), y - y.mean(0)
    expected = np.linalg.norm(xc.T @ yc) ** 2 / (np.linalg.norm(xc.T @ xc) * np.linalg.norm(yc.T @ yc))
    assert _cka(x, y) == pytest.approx(expected, rel=1e-10)
    rotation = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    assert _cka(x, -7.0 * x @ rotation + 3.0) == pytest.approx(1.0)
    assert _cka(x @ rotation * 1e-3, y) == pytest.approx(expected)
    stretched = _cka(x, x @ np.diag([1, 1, 1, 1, 1, 50.0]))
    assert stretched is not None and stretched < 0.7, "an invertible map that is no rotation is seen"
    assert _cka(x, np.full((40, 3), 0.1)) is None


def test_cka_of_a_job_with_itself_is_one_on_the_diagonal(small: Trained) -> None:
    found = Cka(CkaSpec(job_id=OTHER, rows=60)).measure(small, small)
    assert found["layers"] == found["other_layers"] == ["blocks.0", "blocks.1", "readout"]
    for row, values in enumerate(found["cka"]):
        assert values[row] == pytest.approx(1.0)
        assert all(0 <= value <= 1 + 1e-9 for value in values)
    assert found["cka"][0][2] == pytest.approx(found["cka"][2][0])
    assert found["cka"][0][2] < 0.9999


def test_features_are_the_stages_outputs(small: Trained) -> None:
    outputs = small.training.network.activities(small.batch(30).x, detach=True)
    for (name, found), expected in zip(small.features(30).items(), outputs, strict=True):
        torch.testing.assert_close(found, expected, msg=name)


def test_effective_rank_is_served_by_layer(small: Trained) -> None:
    found = EffectiveRank(EffectiveRankSpec(rows=60)).measure(small, None)
    assert list(found["layers"]) == ["blocks.0", "blocks.1", "readout"]
    assert all(1 <= layer["value"] <= layer["most"] for layer in found["layers"].values())
    assert found["layers"]["blocks.0"]["most"] == 5


def test_layer_that_is_replaced_holds_matched_random_numbers_and_comes_back(small: Trained) -> None:
    stage = small.training.network.stages[0]
    before = {name: parameter.detach().clone() for name, parameter in stage.named_parameters()}
    with replaced(stage, Streams(4), 0):
        weight = max(stage.parameters(), key=lambda parameter: parameter.numel()).detach()
        old = max(before.values(), key=lambda parameter: parameter.numel())
        assert not torch.equal(weight, old)
        assert float(weight.std()) == pytest.approx(float(old.std()), rel=0.6)
    for name, parameter in stage.named_parameters():
        assert torch.equal(parameter, before[name])


def test_depth_utility_tells_layers_that_are_worth_something(tmp_path: Path) -> None:
    learned = trained(tmp_path, training={"epochs": 60, "batch_size": 16}, optimizer={"kind": "adam", "lr": 0.01})
    found = DepthUtility(DepthUtilitySpec(draws=5)).measure(learned, None)
    assert found["split"] == "validation" and found["metrics"]["accuracy"] > 0.8
    assert found["layers"]["blocks.0"]["utility"]["accuracy"] > 0.2
    assert found["layers"]["readout"]["utility"]["loss"] > 0.1
    untouched = DepthUtility(DepthUtilitySpec(draws=1)).measure(learned, None)
    assert untouched["metrics"] == found["metrics"], "the weights are as they were"


PROBES: Sequence[Any] = (
    Histogram(HistogramSpec(rows=16)),
    EffectiveRank(EffectiveRankSpec(rows=16)),
    Cka(CkaSpec(job_id=OTHER, rows=16)),
    DepthUtility(DepthUtilitySpec(rows=16, draws=1)),
    Sharpness(SharpnessSpec(rows=16, iterations=3)),
    HessianTrace(HessianTraceSpec(rows=16, samples=2)),
)
"""Those that make the network one of float64 come last: they share it here, and never in a worker."""
BOUNDED = {"kind": "mlp", "hidden": [12, 8], "activation": "tanh", "dropout": 0.2}


def answered(folder: Path, learner: str, of_network: str, /, **sections: Any) -> dict[str, Any]:
    """What every probe says of a job that has not taken a step, as it would be stored."""
    course = running.attempt(running.job(learner, of_network, **sections), folder).loop.course
    layers = tuple(
        Layer(Scope(group.name, place), group.parameters) for place, group in enumerate(trained_layers(course.training))
    )
    subject = Trained(course.training, layers, 0, course.batches.rows, course.validation)
    answers = {probe.spec.kind: storable(probe.measure(subject, subject)) for probe in PROBES}
    json.dumps(answers, allow_nan=False)
    return answers


HESSIANS = ("sharpness", "hessian_trace")


@pytest.mark.parametrize("learner", sorted(set(running.LEARNERS) - {"e_prop"}))
def test_every_probe_answers_for_every_learner(learner: str, tmp_path: Path) -> None:
    answers = answered(tmp_path, learner, "mlp", network=BOUNDED)
    # Its gradient does not follow the state that settling starts from, which moves with the weights.
    expected = "not_twice_differentiable" if learner == "equilibrium_propagation" else None
    assert [answers[kind].get("reason") for kind in HESSIANS] == [expected, expected]
    assert all(sum(layer["counts"]) > 0 for layer in answers["histogram"]["layers"].values())
    assert {"blocks.0", "blocks.1", "readout"} == set(answers["depth_utility"]["layers"])
    assert answers["effective_rank"]["layers"]["blocks.0"]["value"] > 1
    assert answers["cka"]["cka"][0][0] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        ("cnn bounded", None),
        ("rnn gru", None),
        ("cfc", None),
        ("transformer", None),
        ("resnet", None),
        ("ltc", "not_twice_differentiable"),
        ("spiking", "surrogate_slopes"),
    ],
)
def test_hessian_is_given_where_it_is_one(network: str, reason: str | None, tmp_path: Path) -> None:
    answers = answered(tmp_path, "backprop", network)
    assert [answers[kind].get("reason") for kind in HESSIANS] == [reason, reason]
    if reason is None:
        assert all(answers[kind]["verified"] for kind in HESSIANS)
    assert all(sum(layer["counts"]) > 0 for layer in answers["histogram"]["layers"].values())


def test_hessian_of_a_loss_that_is_not_finite_is_null_with_the_reason(tmp_path: Path) -> None:
    subject = trained(tmp_path)
    with torch.no_grad():
        subject.training.network.stages[-1].synapse.weight.fill_(1e308)
    found = [
        Sharpness(SharpnessSpec()).measure(subject, None),
        HessianTrace(HessianTraceSpec()).measure(subject, None),
    ]
    assert [answer["reason"] for answer in found] == ["not_finite", "not_finite"]
