"""Backpropagation against the chain rule by hand, clipping and optimizer steps against their closed forms."""

from random import SystemRandom

import pytest
import torch
from torch import Tensor

from learners.learner import ParameterGroup
from learners.optimizers import Optimizers
from specs.optimizers import AdamWSpec, RmspropSpec, SgdSpec, Update
from tests.learners.small_jobs import CLASSES, small_job

SEEDS = [SystemRandom().randrange(2**31) for _ in range(3)]
TANH = {"kind": "mlp", "hidden": [7, 5], "activation": "tanh"}


def by_hand(layers: list[tuple[Tensor, Tensor]], x: Tensor, y: Tensor, *, with_slope: bool = True) -> list[Tensor]:
    """Gradients of the mean cross-entropy of a tanh network, layer by layer from the top."""
    outputs = [x]
    for weight, bias in layers[:-1]:
        outputs.append(torch.tanh(outputs[-1] @ weight.T + bias))
    weight, bias = layers[-1]
    scores = outputs[-1] @ weight.T + bias
    error = (torch.softmax(scores, 1) - torch.eye(CLASSES, dtype=x.dtype)[y]) / len(x)
    gradients: list[Tensor] = []
    for (weight, _), below in zip(reversed(layers), reversed(outputs), strict=True):
        gradients = [error.T @ below, error.sum(0), *gradients]
        error = error @ weight * ((1 - below**2) if with_slope else 1)
    return gradients


@pytest.mark.parametrize("seed", SEEDS)
def test_gradient_is_the_chain_rule_by_hand(seed: int) -> None:
    small = small_job(TANH, {"kind": "backprop"}, seed=seed, rows_seed=seed + 1)
    layers = [tuple(p.detach() for p in group.parameters) for group in small.training.groups]
    found = [gradient for group in small.gradients().values() for gradient in group]
    expected = by_hand(layers, small.batch.x, small.batch.y)  # type: ignore[arg-type]
    wrong = by_hand(layers, small.batch.x, small.batch.y, with_slope=False)  # type: ignore[arg-type]
    for gradient, right in zip(found, expected, strict=True):
        torch.testing.assert_close(gradient, right, rtol=1e-12, atol=1e-15)
    assert not torch.allclose(found[0], wrong[0], rtol=1e-3)


@pytest.mark.parametrize("seed", SEEDS)
def test_clipping_keeps_the_direction_and_bounds_the_norm(seed: int) -> None:
    small = small_job(TANH, {"kind": "backprop"}, seed=seed, optimizer={"kind": "sgd", "lr": 1.0})
    gradient = torch.cat([g.flatten() for group in small.gradients().values() for g in group])
    limit = float(gradient.norm()) / 3
    clipped = small_job(
        TANH, {"kind": "backprop"}, seed=seed, optimizer={"kind": "sgd", "lr": 1.0, "clip_grad_norm": limit}
    )
    before = torch.cat([w.flatten() for w in clipped.weights().values()])
    clipped.run(1)
    update = before - torch.cat([w.flatten() for w in clipped.weights().values()])
    assert float(update.norm()) == pytest.approx(limit, rel=1e-5)
    assert float(torch.dot(update, gradient) / (update.norm() * gradient.norm())) == pytest.approx(1, abs=1e-12)
    ((groups, coefficient),) = clipped.training.context.clippings
    assert [group.name for group in groups] == ["blocks.0", "blocks.1", "readout"]
    assert float(coefficient) == pytest.approx(1 / 3, rel=1e-5)


def one_step(spec: Update, weight: Tensor, gradient: Tensor) -> Tensor:
    parameter = torch.nn.Parameter(weight.clone())
    group = ParameterGroup("blocks.0", (parameter,), 0)
    optimizers = Optimizers(spec, [group], commits=False, planned_steps=None)
    parameter.grad = gradient.clone()
    optimizers.prepare(0)
    optimizers.units[0].optimizer.step()
    return parameter.detach()


@pytest.mark.parametrize("fused", [True, False])
def test_first_step_of_adamw_is_its_closed_form(fused: bool) -> None:
    weight, gradient = torch.randn(2, 4, 3, dtype=torch.float64)
    spec = AdamWSpec(lr=0.01, weight_decay=0.1, eps=1e-6, fused=fused)
    # Bias correction makes both averages the gradient itself at the first step.
    expected = weight * (1 - 0.01 * 0.1) - 0.01 * gradient / (gradient.abs() + 1e-6)
    torch.testing.assert_close(one_step(spec, weight, gradient), expected, rtol=1e-12, atol=1e-14)
    coupled = weight - 0.01 * (gradient + 0.1 * weight).sign()
    assert not torch.allclose(one_step(spec, weight, gradient), coupled, rtol=1e-6)


def test_first_step_of_rmsprop_is_its_closed_form() -> None:
    weight, gradient = torch.randn(2, 4, 3, dtype=torch.float64)
    spec = RmspropSpec(lr=0.01, alpha=0.9, eps=1e-6)
    expected = weight - 0.01 * gradient / ((0.1 * gradient**2).sqrt() + 1e-6)
    torch.testing.assert_close(one_step(spec, weight, gradient), expected, rtol=1e-12, atol=1e-14)


def test_sgd_with_momentum_sums_its_past() -> None:
    weight, gradient = torch.randn(2, 4, dtype=torch.float64)
    parameter = torch.nn.Parameter(weight.clone())
    spec = SgdSpec(lr=0.1, momentum=0.5)
    optimizers = Optimizers(spec, [ParameterGroup("readout", (parameter,), None)], commits=False, planned_steps=None)
    for _ in range(3):
        parameter.grad = gradient.clone()
        optimizers.units[0].optimizer.step()
    torch.testing.assert_close(parameter.detach(), weight - 0.1 * (1 + 1.5 + 1.75) * gradient)
