"""Predictive coding against its equations by hand, and against backprop where the papers prove them equal."""

from itertools import pairwise
from math import comb
from random import Random, SystemRandom

import pytest
import torch
from torch import Tensor

from learners.learner import Batch
from tests.learners.small_jobs import CLASSES, NETWORKS, SmallJob, small_job

SEEDS = [SystemRandom().randrange(2**31) for _ in range(2)]
Gradients = dict[str, list[Tensor]]


def network(seed: int, depth: int = 3) -> dict[str, object]:
    draw = Random(seed)
    return {"kind": "mlp", "hidden": [draw.randrange(4, 9) for _ in range(depth)], "activation": "tanh"}


def job(seed: int, mode: str, *, depth: int = 3, **options: object) -> SmallJob:
    learner = {"kind": "predictive_coding", "mode": mode, **options}
    return small_job(network(seed, depth), learner, seed=seed, rows_seed=seed + 1)


def backprop(seed: int, *, depth: int = 3) -> Gradients:
    return small_job(network(seed, depth), {"kind": "backprop"}, seed=seed, rows_seed=seed + 1).gradients()


def gap(found: Gradients, expected: Gradients, name: str) -> float:
    """Relative distance of the worst parameter of a group."""
    pairs = zip(found[name], expected[name], strict=True)
    return max(float((a - b).norm() / b.norm()) for a, b in pairs)


def worst(found: Gradients, expected: Gradients) -> float:
    assert found.keys() == expected.keys()
    return max(gap(found, expected, name) for name in found)


def by_hand(small: SmallJob, sweeps: int, rate: float) -> list[list[tuple[Tensor, Tensor]]]:
    """For every time t = 0 ... sweeps: (weight, bias) gradients of all layers at the values of that time."""
    layers = [[p.detach() for p in group.parameters] for group in small.training.groups]
    x, y = small.batch.x, small.batch.y
    target = torch.eye(CLASSES, dtype=x.dtype)[y]
    values = [x]
    for weight, bias in layers[:-1]:
        values.append(torch.tanh(values[-1] @ weight.T + bias))
    times = []
    for _ in range(sweeps + 1):
        predictions = [torch.tanh(v @ w.T + b) for v, (w, b) in zip(values, layers[:-1], strict=False)]
        weight, bias = layers[-1]
        errors = [v - f for v, f in zip(values[1:], predictions, strict=True)]
        pulls = [e * (1 - f**2) for e, f in zip(errors, predictions, strict=True)]
        pulls.append(target - torch.softmax(values[-1] @ weight.T + bias, 1))
        times.append([(-(p.T @ v) / len(x), -p.sum(0) / len(x)) for p, v in zip(pulls, values, strict=True)])
        above = [p @ w for p, (w, _) in zip(pulls[1:], layers[1:], strict=True)]
        values = [x, *(v - rate * (e - a) for v, e, a in zip(values[1:], errors, above, strict=True))]
    return times


@pytest.mark.parametrize("seed", SEEDS)
def test_strict_inference_is_its_equations_by_hand(seed: int) -> None:
    small = job(seed, "strict", inference_steps=5, inference_rate=0.4)
    found = small.gradients()
    times = by_hand(small, 5, 0.4)
    for gradients, expected in zip(found.values(), times[5], strict=True):
        for gradient, right in zip(gradients, expected, strict=True):
            torch.testing.assert_close(gradient, right, rtol=1e-10, atol=1e-14)
    assert not torch.allclose(found["blocks.0"][0], times[4][0][0], rtol=1e-3)


@pytest.mark.parametrize("seed", SEEDS)
def test_zero_divergence_learns_each_block_when_the_error_arrives(seed: int) -> None:
    """Song et al.'s simulation in full: all values move at rate one, layer l is read at time L - l."""
    small = job(seed, "zero_divergence")
    found, exact = small.gradients(), backprop(seed)
    assert worst(found, exact) < 1e-12
    times = by_hand(small, 4, 1.0)
    for layer, gradients in enumerate(found.values()):
        for gradient, right in zip(gradients, times[3 - layer][layer], strict=True):
            torch.testing.assert_close(gradient, right, rtol=1e-10, atol=1e-14)
        assert not torch.allclose(gradients[0], times[4 - layer][layer][0], rtol=1e-3)
    # Read all at the last time, as strict does, the same inference is not backprop.
    assert worst(job(seed, "strict", inference_rate=1.0, inference_steps=3).gradients(), exact) > 1e-2


@pytest.mark.parametrize("seed", SEEDS)
def test_zero_divergence_at_half_the_rate_halves_the_error_per_block(seed: int) -> None:
    found, exact = job(seed, "zero_divergence", inference_rate=0.5).gradients(), backprop(seed)
    for distance, name in enumerate(("readout", "blocks.2", "blocks.1", "blocks.0")):
        for a, b in zip(found[name], exact[name], strict=True):
            torch.testing.assert_close(a, b * 0.5**distance, rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize("mode", ["fixed_prediction", "zero_divergence"])
@pytest.mark.parametrize("name", ["linear", "mlp residual", "mlp batch dropout", "cnn batch", "ltc", "cfc"])
def test_equivalent_modes_are_backprop_on_every_kind_of_block(mode: str, name: str) -> None:
    seed = SEEDS[0]
    found, exact = (
        small_job(NETWORKS[name], learner, seed=seed, rows_seed=seed + 1).gradients()
        for learner in ({"kind": "predictive_coding", "mode": mode}, {"kind": "backprop"})
    )
    for group, gradients in exact.items():
        for a, b in zip(found[group], gradients, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("seed", SEEDS)
def test_simultaneous_sweeps_carry_the_error_one_block_each(seed: int) -> None:
    exact = backprop(seed)
    for sweeps in (1, 2, 3, 5):
        found = job(seed, "fixed_prediction", inference_steps=sweeps).gradients()
        gaps = [gap(found, exact, name) for name in ("readout", "blocks.2", "blocks.1", "blocks.0")]
        arrived = min(sweeps, 3) + 1
        assert max(gaps[:arrived]) < 1e-12
        assert all(missing == pytest.approx(1) for missing in gaps[arrived:])


@pytest.mark.parametrize("rate", [0.1, 0.6])
def test_slow_sweeps_converge_geometrically(rate: float) -> None:
    """A block k below the top holds the share P(Binomial(n, eta) >= k) of backprop's error after n sweeps."""
    seed = SEEDS[0]
    exact = backprop(seed)
    for sweeps in (2, 20, 80):
        found = job(seed, "fixed_prediction", inference_steps=sweeps, inference_rate=rate).gradients()
        for k, name in enumerate(("readout", "blocks.2", "blocks.1", "blocks.0")):
            missing = sum(comb(sweeps, j) * rate**j * (1 - rate) ** (sweeps - j) for j in range(k))
            for a, b in zip(found[name], exact[name], strict=True):
                torch.testing.assert_close(a, b * (1 - missing), rtol=1e-9, atol=1e-14)


def settled(seed: int, mode: str, weight: float, steps: int = 250) -> SmallJob:
    return job(seed, mode, output_weight=weight, inference_steps=steps, inference_rate=0.4, depth=2)


@pytest.mark.parametrize("seed", SEEDS)
def test_settled_gradient_goes_to_backprop_as_the_output_weight_goes_to_zero(seed: int) -> None:
    exact = backprop(seed, depth=2)
    found = [settled(seed, "strict", weight).gradients() for weight in (0.04, 0.02, 0.01)]
    for name in exact:
        gaps = [gap(gradients, exact, name) for gradients in found]
        assert all(1.8 < a / b < 2.2 for a, b in pairwise(gaps))
    # Unsettled, no output weight helps: the error has not arrived.
    assert gap(settled(seed, "strict", 0.01, steps=1).gradients(), exact, "blocks.0") > 0.1


@pytest.mark.parametrize("seed", SEEDS)
def test_errors_of_zero_are_backprop_and_settled_ones_are_strict_predictive_coding(seed: int) -> None:
    exact = backprop(seed, depth=2)
    assert worst(job(seed, "error_based", inference_steps=0, depth=2).gradients(), exact) < 1e-14
    equilibrium = settled(seed, "strict", 1.0).gradients()
    assert worst(settled(seed, "error_based", 1.0).gradients(), equilibrium) < 1e-9
    assert worst(settled(seed, "error_based", 1.0, steps=0).gradients(), equilibrium) > 1e-3
    assert worst(settled(seed, "strict", 1.0, steps=8).gradients(), equilibrium) > 1e-4


@pytest.mark.parametrize("mode", ["strict", "error_based"])
def test_inference_lowers_the_energy_and_comes_to_rest(mode: str) -> None:
    reports = [settled(SEEDS[0], mode, 1.0, steps=steps).run(1)[0] for steps in (1, 5, 250)]
    energies = [float(report.quantities["inference_energy"]) for report in reports]
    assert float(reports[0].quantities["inference_energy_before"]) == pytest.approx(float(reports[0].loss))
    assert float(reports[0].loss) > energies[0] > energies[1] > energies[2]
    residuals = [float(report.quantities["settling_residual"]) for report in reports]
    assert residuals[0] > residuals[1] > 1e-4 and residuals[2] < 1e-9


@pytest.mark.parametrize("mode", ["fixed_prediction", "zero_divergence", "strict"])
def test_error_handed_below_is_the_slope_in_the_input(mode: str) -> None:
    options = {"output_weight": 1e-4, "inference_steps": 250, "inference_rate": 0.4} if mode == "strict" else {}
    small = job(SEEDS[0], mode, depth=2, **options)
    x, y = small.batch.x, small.batch.y
    asking = Batch(x, y, None, 1.0, (0, len(x), len(x)), needs_input_error=True)
    small.training.context.begin(0)
    report = small.training.learner.update(asking, small.training.context)
    leaf = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(small.training.task.loss(small.training.network(leaf), y), leaf)
    assert report.input_error is not None
    apart = float((report.input_error - expected).norm() / expected.norm())
    assert apart < (1e-3 if mode == "strict" else 1e-12)
