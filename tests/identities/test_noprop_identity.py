"""NoProp: its coefficients carry noise to the label, a perfect denoiser ends there, and denoisers learn alone."""

import math
from random import SystemRandom

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from learners.noprop import ddim, noise_schedule, posterior_mean
from tests.learners.small_jobs import SmallJob, small_job

DRAW = SystemRandom()
SEEDS = [DRAW.randrange(2**31) for _ in range(3)]
MLP = {"kind": "mlp", "hidden": [DRAW.randrange(5, 11) for _ in range(2)], "activation": "tanh"}
OPTIONS = {"num_denoising_steps": 3, "embedding_size": 4}


def job(seed: int, **options: object) -> SmallJob:
    return small_job(MLP, {"kind": "noprop", **OPTIONS, **options}, seed=seed, rows_seed=seed + 1)


def distance_to_the_label(steps: int, *, wrong: bool = False) -> tuple[float, float]:
    """Of z_T from sqrt(A_T) u - by how much of the noise - and from u, where every denoiser knows u."""
    shares = noise_schedule(steps)
    u, noise = (torch.randn(9, dtype=torch.float64, generator=torch.Generator().manual_seed(s)) for s in (1, 2))
    z = math.sqrt(shares[0]) * u + math.sqrt(1 - shares[0]) * noise
    for t in range(steps):
        towards, kept = ddim(shares, t)
        z = towards * u + (math.sqrt(kept) if wrong else kept) * z
    expected = math.sqrt(shares[-1]) * u + math.sqrt(1 - shares[-1]) * noise
    return float((z - expected).norm()), float((z - u).norm() / u.norm())


def test_a_perfect_denoiser_reaches_the_label_with_the_noise_that_training_had() -> None:
    found = [distance_to_the_label(steps) for steps in (10, 20, 40, 80)]
    assert all(exact < 1e-13 for exact, _ in found)
    errors = [error for _, error in found]
    # sqrt(1 - A_T) falls as 1 / T.
    assert all(1.8 < errors[i] / errors[i + 1] < 2.2 for i in range(3))
    assert distance_to_the_label(10, wrong=True)[0] > 1e-2


@pytest.mark.parametrize("steps", [1, 4, 11])
def test_posterior_carries_each_marginal_to_the_next(steps: int) -> None:
    """q(z_t | y) has mean sqrt(A_t) u and variance 1 - A_t: the posterior's step and noise must keep both."""
    shares = noise_schedule(steps)
    mean, variance = math.sqrt(shares[0]), 1 - shares[0]
    for t in range(steps):
        towards, kept = posterior_mean(shares, t)
        fresh = (1 - shares[t + 1]) * (1 - shares[t] / shares[t + 1]) / (1 - shares[t])
        mean, variance = towards + kept * mean, kept**2 * variance + fresh
        assert mean == pytest.approx(math.sqrt(shares[t + 1]), abs=1e-14)
        assert variance == pytest.approx(1 - shares[t + 1], abs=1e-14)
        assert kept**2 * (1 - shares[t]) < 0.99 * (1 - shares[t + 1])  # without its noise the variance shrinks


def test_posterior_mean_with_a_perfect_denoiser_ends_nearer_than_it_began() -> None:
    for steps in (10, 40):
        shares = noise_schedule(steps)
        z = 1.0  # of a label 0: pure noise
        for t in range(steps):
            z *= posterior_mean(shares, t)[1]
        assert 0 < z < math.sqrt(1 - shares[-1])


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("loss", ["cross_entropy", "squared_error"])
def test_no_denoiser_learns_from_anothers_loss(seed: int, loss: str) -> None:
    small = job(seed, denoising_loss=loss)
    before = small.gradients()
    names = ["blocks.0", "own.denoisers.1", "own.denoisers.2"]
    denoisers = [small.training.network, *small.training.own["denoisers"]]  # type: ignore[index,list-item]
    for changed, denoiser in enumerate(denoisers):
        with torch.no_grad():
            for parameter in denoiser.parameters():
                parameter.mul_(1.5).add_(0.1)
        after = small.gradients()
        same = [all(torch.equal(a, b) for a, b in zip(before[n], after[n], strict=True)) for n in names]
        assert same == [index != changed for index in range(3)]
        before = after


@pytest.mark.parametrize("seed", SEEDS)
def test_a_denoisers_gradient_is_that_of_the_papers_loss(seed: int) -> None:
    small = job(seed, denoising_loss="squared_error", label_embedding="learned", denoising_weight=0.7)
    found = small.gradients()
    context, labels = small.training.context, small.training.own["labels"]  # type: ignore[index]
    denoisers = [small.training.network, *small.training.own["denoisers"]]  # type: ignore[index,list-item]
    shares, vectors, readout = noise_schedule(3), labels.vectors, labels.readout  # type: ignore[union-attr]
    x, y, total = small.batch.x, small.batch.y, 0.0
    context.begin(0)
    (_,) = context.passes(small.batch)
    noise = [context.per_row("noise", (4,), "randn", t) for t in range(4)]
    for t, denoiser in enumerate(denoisers):
        z = shares[t] ** 0.5 * vectors.detach()[y] + (1 - shares[t]) ** 0.5 * noise[t]
        cleaned = torch.softmax(denoiser(torch.cat([x, z], 1)), 1) @ vectors
        signal = [share / (1 - share) for share in shares]
        weight = 3 / 2 * 0.7 * (signal[t + 1] - signal[t])
        total = total + weight * (cleaned - vectors[y]).square().sum(1).mean()
    z = shares[3] ** 0.5 * vectors[y] + (1 - shares[3]) ** 0.5 * noise[3]
    total = total + F.cross_entropy(readout(z), y)
    parameters = [p for group in small.training.groups for p in group.parameters]
    expected = dict(zip(map(id, parameters), torch.autograd.grad(total, parameters), strict=True))
    for group in small.training.groups:
        for parameter, gradient in zip(group.parameters, found[group.name], strict=True):
            torch.testing.assert_close(gradient, expected[id(parameter)], rtol=1e-9, atol=1e-13)
    other = job(seed, denoising_loss="squared_error", label_embedding="learned", denoising_weight=0.6).gradients()
    assert not torch.allclose(other["blocks.0"][0], found["blocks.0"][0], rtol=1e-2)


@pytest.mark.parametrize("sampler", ["ddim", "posterior_mean"])
def test_prediction_is_the_chain_of_denoisers(sampler: str) -> None:
    small = job(SEEDS[0], sampler=sampler)
    small.training.eval()
    labels = small.training.own["labels"]  # type: ignore[index]
    shares, vectors = noise_schedule(3), labels.vectors  # type: ignore[union-attr]
    z: Tensor = torch.zeros(len(small.batch.x), 4, dtype=torch.float64)
    for t, denoiser in enumerate([small.training.network, *small.training.own["denoisers"]]):  # type: ignore[index,list-item]
        u = torch.softmax(denoiser(torch.cat([small.batch.x, z], 1)), 1) @ vectors
        now, then = shares[t], shares[t + 1]
        if sampler == "ddim":
            z = then**0.5 * u + (1 - then) ** 0.5 * (z - now**0.5 * u) / (1 - now) ** 0.5
        else:
            r = now / then
            z = (then**0.5 * (1 - r) * u + r**0.5 * (1 - then) * z) / (1 - now)
    expected = labels.readout(z)  # type: ignore[union-attr,operator]
    torch.testing.assert_close(small.training.learner.predict(small.batch.x), expected, rtol=1e-12, atol=1e-13)
