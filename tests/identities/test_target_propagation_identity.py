"""Target propagation with exact inverses: backpropagation for orthogonal weights, Gauss-Newton for any others."""

from itertools import pairwise
from random import SystemRandom
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.learners.small_jobs import SmallJob, small_job

RANDOM = SystemRandom()
SEEDS = [RANDOM.randrange(2**31) for _ in range(3)]
WIDTH = RANDOM.randrange(4, 8)
LINEAR = {"kind": "mlp", "hidden": [WIDTH] * 3, "activation": "identity"}
TANH = {**LINEAR, "activation": "tanh"}


def job(network: dict[str, Any], seed: int, **options: Any) -> SmallJob:
    return small_job(network, {"kind": "target_propagation", **options}, seed=seed, rows_seed=seed + 1)


def backprop(network: dict[str, Any], seed: int) -> dict[str, list[Tensor]]:
    return small_job(network, {"kind": "backprop"}, seed=seed, rows_seed=seed + 1).gradients()


def gap(found: list[Tensor], expected: list[Tensor]) -> float:
    """The largest relative distance of two parameters' gradients."""
    return max(float((a - b).norm() / b.norm()) for a, b in zip(found, expected, strict=True))


def gauss_newton(small: SmallJob) -> dict[str, list[Tensor]]:
    """Gradients of the blocks for the error J^-1 dL/dh_last, row by row, with J = dh_last/dh_i from autograd."""
    network, batch = small.training.network, small.batch
    *blocks, readout = network.stages
    outputs = [batch.x]
    for block in blocks:
        outputs.append(block(outputs[-1].detach())[0])
    top = outputs[-1].detach().requires_grad_()
    (error,) = torch.autograd.grad(small.training.task.loss(readout(top)[0], batch.y), top)

    def above(index: int, h: Tensor) -> Tensor:
        for block in blocks[index + 1 :]:
            h = block(h.unsqueeze(0))[0].squeeze(0)
        return h

    expected = {}
    for index, block in enumerate(blocks):
        seeds = []
        for row, wanted in zip(outputs[index + 1].detach(), error, strict=True):
            jacobian = torch.autograd.functional.jacobian(lambda h, index=index: above(index, h), row)
            seeds.append(torch.linalg.solve(jacobian, wanted))
        gradients = torch.autograd.grad(outputs[index + 1], tuple(block.parameters()), torch.stack(seeds))
        expected[f"blocks.{index}"] = list(gradients)
    return expected


def orthogonal(small: SmallJob) -> SmallJob:
    """The job with its square weights made orthogonal, to the last bit of float64."""
    for block in small.training.network.stages[1:3]:
        weight = block.synapse.weight  # type: ignore[union-attr]
        weight.data = torch.linalg.qr(weight.data).Q.contiguous()  # type: ignore[union-attr]
    return small


@pytest.mark.parametrize("rate", [0.3, 3.0])
@pytest.mark.parametrize("seed", SEEDS)
def test_orthogonal_weights_and_exact_inverses_make_backpropagation(seed: int, rate: float) -> None:
    found = orthogonal(job(LINEAR, seed, inverse="exact", target_rate=rate)).gradients()
    expected = orthogonal(small_job(LINEAR, {"kind": "backprop"}, seed=seed, rows_seed=seed + 1)).gradients()
    assert found.keys() == expected.keys()
    assert max(gap(found[name], expected[name]) for name in expected) < 1e-11
    found, expected = job(LINEAR, seed, inverse="exact", target_rate=rate).gradients(), backprop(LINEAR, seed)
    assert gap(found["readout"], expected["readout"]) < 1e-13
    assert gap(found["blocks.2"], expected["blocks.2"]) < 1e-11
    assert gap(found["blocks.1"], expected["blocks.1"]) > 1e-2
    assert gap(found["blocks.0"], expected["blocks.0"]) > 1e-2


@pytest.mark.parametrize("seed", SEEDS)
def test_any_invertible_weights_and_exact_inverses_make_gauss_newton(seed: int) -> None:
    small = job(LINEAR, seed, inverse="exact", target_rate=0.5)
    found, expected = small.gradients(), gauss_newton(small)
    # Relative to the condition of the weights, which are drawn at random.
    assert max(gap(found[name], expected[name]) for name in expected) < 1e-8


@pytest.mark.parametrize("seed", SEEDS)
def test_targets_of_a_tanh_network_go_to_gauss_newton_linearly_in_the_rate(seed: int) -> None:
    small = job({**TANH, "init": "orthogonal"}, seed, inverse="exact")
    expected = gauss_newton(small)

    def error(rate: float) -> float:
        found = job({**TANH, "init": "orthogonal"}, seed, inverse="exact", target_rate=rate).gradients()
        return gap(found["blocks.0"], expected["blocks.0"])

    errors = [error(rate) for rate in (4e-4, 2e-4, 1e-4)]
    assert all(1.8 < a / b < 2.2 for a, b in pairwise(errors))
    # The slopes of tanh are not those of an orthogonal matrix: backpropagation is another direction.
    assert gap(backprop({**TANH, "init": "orthogonal"}, seed)["blocks.0"], expected["blocks.0"]) > 1e-2


@pytest.mark.parametrize("seed", SEEDS)
def test_learned_inverses_set_to_the_exact_ones_give_the_exact_targets(seed: int) -> None:
    learned, exact = job(LINEAR, seed, inverse="learned"), job(LINEAR, seed, inverse="exact").gradients()
    assert gap(learned.gradients()["blocks.0"], exact["blocks.0"]) > 1e-2
    blocks = learned.training.network.stages[1:3]
    assert learned.training.own is not None
    with torch.no_grad():
        for inverse, block in zip(learned.training.own, blocks, strict=True):  # type: ignore[call-overload]
            weight, bias = block.synapse.weight, block.synapse.bias  # type: ignore[union-attr]
            inverse.linear.weight.copy_(torch.linalg.inv(weight))  # type: ignore[arg-type]
            inverse.linear.bias.copy_(-torch.linalg.solve(weight, bias))  # type: ignore[arg-type]
    found = learned.gradients()
    assert max(gap(found[name], exact[name]) for name in exact) < 1e-8
    # A perfect inverse has nothing to learn, whatever the noise.
    assert max(float(g.abs().max()) for name in found if name.startswith("own") for g in found[name]) < 1e-8


@pytest.mark.parametrize("seed", SEEDS)
def test_inverse_descends_its_reconstruction_of_the_noisy_input(seed: int) -> None:
    small = job(LINEAR, seed, noise_scale=0.0)
    assert small.training.own is not None
    network, found = small.training.network, small.gradients()
    h = network.stages[0](small.batch.x)[0].detach()
    for index, inverse in enumerate(small.training.own, 1):  # type: ignore[call-overload,arg-type]
        below, h = h, network.stages[index](h)[0].detach()
        linear = inverse.linear
        wrong = h @ linear.weight.detach().T + linear.bias.detach() - below
        expected = [wrong.T @ h / len(h), wrong.mean(0)]
        torch.testing.assert_close(found[f"own.inverses.{index}"], expected, rtol=1e-11, atol=1e-15)
    noisy = job(LINEAR, seed, noise_scale=0.5).gradients()
    assert not torch.allclose(noisy["own.inverses.1"][0], found["own.inverses.1"][0], rtol=1e-2)
    assert torch.equal(noisy["blocks.0"][0], found["blocks.0"][0])


@pytest.mark.parametrize("seed", SEEDS)
def test_inverses_learn_to_rebuild_what_went_in(seed: int) -> None:
    small = job(TANH, seed)
    assert small.training.own is not None

    def rebuilt() -> float:
        (report,) = small.run(1)
        small.step -= 1
        return float(report.quantities["reconstruction_loss"])

    before = rebuilt()
    # The blocks stand still, so that what is to be rebuilt does not move away.
    for _ in range(150):
        found = small.gradients()
        with torch.no_grad():
            for index, inverse in enumerate(small.training.own, 1):  # type: ignore[call-overload,arg-type]
                for parameter, gradient in zip(inverse.parameters(), found[f"own.inverses.{index}"], strict=True):
                    parameter -= 0.5 * gradient
    assert rebuilt() < 0.7 * before
