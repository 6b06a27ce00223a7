"""Equilibrium propagation against backprop through the relaxation: it errs by beta, or by beta squared."""

from itertools import pairwise
from random import Random, SystemRandom
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.learners.small_jobs import CLASSES, SmallJob, small_job

SEEDS = [SystemRandom().randrange(2**31) for _ in range(2)]
BETAS = (0.02, 0.01, 0.005)
Gradients = dict[str, list[Tensor]]


def mlp(seed: int) -> dict[str, Any]:
    draw = Random(seed)
    return {"kind": "mlp", "hidden": [draw.randrange(4, 9), draw.randrange(4, 9)], "activation": "sigmoid"}


CNN = {"kind": "cnn", "channels": [3, 4], "hidden": [6], "activation": "sigmoid"}


def job(seed: int, network: dict[str, Any], beta: float = 0.1, **options: object) -> SmallJob:
    settled = {"num_free_steps": 80, "num_nudged_steps": 80, "nudging_strength": beta}
    learner = {"kind": "equilibrium_propagation", **settled, **options}
    return small_job(network, learner, seed=seed, rows_seed=seed + 1)


def true_gradients(small: SmallJob) -> Gradients:
    """Backprop through every step of the free phase."""
    loss = small.training.learner.reference(small.batch)
    assert loss is not None
    groups = small.training.groups
    found = iter(torch.autograd.grad(loss, [p for group in groups for p in group.parameters]))
    return {group.name: [next(found) for _ in group.parameters] for group in groups}


def gaps(found: Gradients, expected: Gradients) -> list[float]:
    """Relative distance, parameter by parameter."""
    return [
        float((a - b).norm() / b.norm()) for name in expected for a, b in zip(found[name], expected[name], strict=True)
    ]


def ratios(seed: int, network: dict[str, Any], betas: tuple[float, ...] = BETAS, **options: object) -> list[float]:
    """How much closer every parameter's gradient comes to the true one each time beta is halved."""
    exact = true_gradients(job(seed, network, **options))
    by_beta = [gaps(job(seed, network, beta, **options).gradients(), exact) for beta in betas]
    return [a / b for before, after in pairwise(by_beta) for a, b in zip(before, after, strict=True)]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("readout", ["relaxing", "apart"])
def test_one_sided_nudge_errs_by_beta_and_symmetric_by_its_square(readout: str, seed: int) -> None:
    # Smaller ones here: where a parameter's first-order error is small, its second-order one must be smaller still.
    one_sided = ratios(seed, mlp(seed), (0.002, 0.001, 0.0005), nudge="one_sided", readout=readout)
    symmetric = ratios(seed, mlp(seed), nudge="symmetric", readout=readout)
    assert all(1.7 < ratio < 2.4 for ratio in one_sided)
    assert all(3.7 < ratio < 4.3 for ratio in symmetric)


@pytest.mark.parametrize("readout", ["relaxing", "apart"])
def test_the_square_law_holds_through_convolution_and_pooling(readout: str) -> None:
    assert all(3.7 < ratio < 4.3 for ratio in ratios(SEEDS[0], CNN, readout=readout))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("cut", [{"num_free_steps": 1, "nudge": "one_sided"}, {"num_nudged_steps": 2}])
def test_phases_cut_short_stay_wrong_for_every_beta(cut: dict[str, Any], seed: int) -> None:
    exact = true_gradients(job(seed, mlp(seed)))
    worst = [max(gaps(job(seed, mlp(seed), beta, **cut).gradients(), exact)) for beta in BETAS]
    assert min(worst) > 1e-2
    assert all(a / b < 1.5 for a, b in pairwise(worst))


@pytest.mark.parametrize("seed", SEEDS)
def test_backprop_through_the_forward_pass_is_another_gradient(seed: int) -> None:
    """Without feedback there is no relaxation: the reference must not be the network's own forward pass."""
    small = job(seed, mlp(seed), readout="apart")
    loss = small.training.task.loss(small.training.network(small.batch.x), small.batch.y)
    exact = true_gradients(small)
    found = iter(torch.autograd.grad(loss, [p for group in small.training.groups for p in group.parameters]))
    forward = {group.name: [next(found) for _ in group.parameters] for group in small.training.groups}
    assert max(gaps(forward, exact)) > 1e-2
    assert max(gaps(job(seed, mlp(seed), 0.01, readout="apart").gradients(), exact)) < 1e-3


@pytest.mark.parametrize("seed", SEEDS)
def test_prediction_is_the_rest_of_the_equations_by_hand(seed: int) -> None:
    small = job(seed, mlp(seed))
    (w1, b1), (w2, b2), (w3, b3) = ([p.detach() for p in group.parameters] for group in small.training.groups)
    x = small.batch.x
    s1, s2, s3 = (torch.zeros(len(x), len(w), dtype=x.dtype) for w in (w1, w2, w3))
    for _ in range(200):
        s1, s2, s3 = (
            torch.sigmoid(x @ w1.T + b1 + s2 @ w2),
            torch.sigmoid(s1 @ w2.T + b2 + s3 @ w3),
            torch.sigmoid(4 * (s2 @ w3.T + b3 - 0.5)),
        )
    with torch.no_grad():
        scores = small.training.learner.predict(x)
    torch.testing.assert_close(torch.sigmoid(scores), s3, rtol=1e-10, atol=1e-12)
    label = torch.eye(CLASSES, dtype=x.dtype)[small.batch.y]
    expected = 0.5 * (s3 - label).square().sum(1).mean()
    torch.testing.assert_close(small.training.learner.reference(small.batch), expected)
    forward = torch.sigmoid(small.training.network(x))
    assert not torch.allclose(torch.sigmoid(scores), forward, rtol=1e-3)


def test_tolerance_stops_rows_one_by_one() -> None:
    seed = SEEDS[0]
    exact, stopped = job(seed, mlp(seed)), job(seed, mlp(seed), tolerance=1e-5)
    predict = stopped.training.learner.predict
    x = stopped.batch.x
    with torch.no_grad():
        together, alone = predict(x), torch.cat([predict(row[None]) for row in x])
        apart = float((together - exact.training.learner.predict(x)).abs().max())
    torch.testing.assert_close(together, alone, rtol=1e-11, atol=1e-13)
    assert 0 < apart < 1e-3
    (long,), (short,) = exact.run(1), stopped.run(1)
    assert short.forwards < 0.6 * long.forwards
    assert float(short.quantities["settling_residual_free"]) < 1e-5
    assert float(long.quantities["settling_residual_free"]) < 1e-12
