"""Forward gradients: a slope along v is <g, v>, a basis sums to backpropagation, the mean converges as theory says."""

import math
from random import SystemRandom

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad

from learners.forward_gradient import ForwardGradient
from learners.seeded import SeededGroup
from tests.learners.small_jobs import SmallJob, small_job

RANDOM = SystemRandom()
SEEDS = [RANDOM.randrange(2**31) for _ in range(3)]
WIDTHS = [RANDOM.randrange(3, 7), RANDOM.randrange(3, 7)]
TANH = {"kind": "mlp", "hidden": WIDTHS, "activation": "tanh"}
CNN = {"kind": "cnn", "channels": [2], "hidden": [3], "activation": "tanh"}


def job(network: dict[str, object], seed: int, **fields: object) -> SmallJob:
    learner = {"kind": "forward_gradient", "perturb": "weights", **fields}
    return small_job(network, learner, seed=seed, rows_seed=seed + 1)


def flat(tensors: list[Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors])


def exact(small: SmallJob) -> dict[str, list[Tensor]]:
    loss = small.training.learner.reference(small.batch)
    assert loss is not None
    groups = [group for group in small.training.groups if not group.name.startswith("own.")]
    found = iter(torch.autograd.grad(loss, [p for group in groups for p in group.parameters]))
    return {group.name: [next(found) for _ in group.parameters] for group in groups}


def slope_along(small: SmallJob, tangents: list[Tensor]) -> Tensor:
    """dL/dtheta . v by the learner's own forward pass."""
    learner, batch = small.training.learner, small.batch
    assert isinstance(learner, ForwardGradient)
    parameters = [p for group in small.training.groups for p in group.parameters]
    with torch.no_grad(), forward_ad.dual_level():
        scores, slopes = learner.along(batch, dict(zip(parameters, tangents, strict=True)))
    return (small.training.task.error(scores, batch.y) * slopes).sum()


@pytest.mark.parametrize("network", [TANH, CNN], ids=["mlp", "cnn"])
@pytest.mark.parametrize("seed", SEEDS)
def test_estimate_is_the_slope_times_the_direction(network: dict[str, object], seed: int) -> None:
    small = job(network, seed)
    gradient = exact(small)
    v = {group.name: SeededGroup(group, small.training.context.streams, 0).draw() for group in small.training.groups}
    slope = sum(torch.dot(flat(gradient[name]), flat(v[name])) for name in v)
    for name, found in small.gradients().items():
        for one, direction in zip(found, v[name], strict=True):
            torch.testing.assert_close(one, slope * direction, rtol=1e-11, atol=1e-14)
    small.step = 1
    assert not torch.allclose(flat(small.gradients()["readout"]), slope * flat(v["readout"]), rtol=1e-2)


@pytest.mark.parametrize("seed", SEEDS)
def test_slopes_along_an_orthonormal_basis_sum_to_backpropagation(seed: int) -> None:
    small = job(TANH, seed)
    shapes = [p.shape for group in small.training.groups for p in group.parameters]
    sizes = [shape.numel() for shape in shapes]
    draw = torch.Generator().manual_seed(seed)
    basis, _ = torch.linalg.qr(torch.randn(sum(sizes), sum(sizes), generator=draw, dtype=torch.float64))
    total = torch.zeros(sum(sizes), dtype=torch.float64)
    for column in basis.T:
        tangents = [part.reshape(shape) for part, shape in zip(column.split(sizes), shapes, strict=True)]
        total += slope_along(small, tangents) * column
    gradient = flat([g for own in exact(small).values() for g in own])
    torch.testing.assert_close(total, gradient, rtol=1e-10, atol=1e-13)
    # One direction short of a basis must not do.
    last = basis[:, -1]
    assert float((total - torch.dot(gradient, last) * last - gradient).norm() / gradient.norm()) > 1e-4


def test_error_of_the_mean_falls_as_theory_says() -> None:
    """Relative error sqrt((D + 1) / K) for a mean over K normal directions in D dimensions."""
    small = job({"kind": "mlp", "hidden": [3], "activation": "tanh"}, SEEDS[0], num_directions=64)
    gradient = flat([g for own in exact(small).values() for g in own])
    dimensions = len(gradient)
    squares = []
    for step in range(12):
        small.step = step
        squares.append(float((flat([g for own in small.gradients().values() for g in own]) - gradient).square().sum()))
    found = sum(squares) / len(squares) / float(gradient.square().sum())
    expected = (dimensions + 1) / 64
    assert 0.6 < found / expected < 1.6
    spec = small.training.learner.spec  # type: ignore[attr-defined]
    assert spec.expected_alignment(size=dimensions, noise=1.0) == pytest.approx(1 / math.sqrt(1 + expected))


@pytest.mark.parametrize("network", [TANH, CNN], ids=["mlp", "cnn"])
def test_activities_give_the_gradient_in_the_mean_and_the_readout_exactly(network: dict[str, object]) -> None:
    errors = []
    for steps, directions in ((60, 4), (12, 64)):
        small = job(network, SEEDS[1], perturb="activities", num_directions=directions)
        gradient = exact(small)
        squares = []
        for step in range(steps):
            small.step = step
            found = small.gradients()
            for one, true in zip(found["readout"], gradient["readout"], strict=True):
                torch.testing.assert_close(one, true, rtol=1e-11, atol=1e-14)
            squares.append(float((flat(found["blocks.0"]) - flat(gradient["blocks.0"])).square().sum()))
        errors.append(sum(squares) / steps)
    # Sixteen times as many directions, a sixteenth of the squared error: nothing stays that is not noise.
    assert 9 < errors[0] / errors[1] < 28


def test_rows_of_their_own_slopes_are_less_noisy_than_weights() -> None:
    misses = []
    for perturb in ("weights", "activities"):
        small = job({"kind": "mlp", "hidden": [6], "activation": "tanh"}, SEEDS[2], perturb=perturb, num_directions=16)
        gradient = flat(exact(small)["blocks.0"])
        misses.append(0.0)
        for step in range(12):
            small.step = step
            misses[-1] += float((flat(small.gradients()["blocks.0"]) - gradient).square().sum())
    assert misses[1] < misses[0]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_local_guess_is_the_projection_of_the_true_error(seed: int) -> None:
    """One hidden layer: no other guess moves, so a single direction gives the projection without noise."""
    network = {"kind": "mlp", "hidden": [WIDTHS[0]], "activation": "tanh"}
    small = job(network, seed, perturb="activities", guess="local")
    first, readout, head = (group.parameters for group in small.training.groups)
    x, y, task = small.batch.x, small.batch.y, small.training.task
    with torch.no_grad():
        a = torch.tanh(x @ first[0].T + first[1])
        error = task.error(a @ readout[0].T + readout[1], y) @ readout[0] * (1 - a**2)
        local = task.error(a @ head[0].T + head[1], y)
        guess = local @ head[0] * (1 - a**2)
        guess = guess / guess.norm(dim=1, keepdim=True)
        projected = (error * guess).sum(1, keepdim=True) * guess
    found = small.gradients()
    torch.testing.assert_close(found["blocks.0"][0], projected.T @ x, rtol=1e-10, atol=1e-13)
    torch.testing.assert_close(found["blocks.0"][1], projected.sum(0), rtol=1e-10, atol=1e-13)
    torch.testing.assert_close(found["own.heads.0"][0], local.T @ a, rtol=1e-10, atol=1e-13)
    # A projection, not the gradient itself.
    assert not torch.allclose(found["blocks.0"][0], error.T @ x, rtol=1e-2)
