"""MeZO: the slope is a central difference, directions are replayed from seeds, weights come back."""

import math
from random import SystemRandom

import pytest
import torch
from torch import Tensor

from learners.seeded import SeededGroup
from tests.learners.small_jobs import SmallJob, small_job

NETWORK = {"kind": "mlp", "hidden": [6], "activation": "tanh"}
SEED = SystemRandom().randrange(2**31)


def job(epsilon: float, *, directions: int = 1, seed: int = SEED, **optimizer: object) -> SmallJob:
    learner = {"kind": "mezo", "perturbation_scale": epsilon, "num_directions": directions}
    return small_job(NETWORK, learner, seed=seed, optimizer={"kind": "sgd", "lr": 0.1, **optimizer})


def direction(small: SmallJob, seed: int) -> list[Tensor]:
    """z(seed) for every parameter."""
    streams = small.training.context.streams
    one = torch.ones((), dtype=torch.float64)
    return [z for group in small.training.groups for z in SeededGroup(group, streams, seed).gradients(one)]


def flat(tensors: list[Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors])


def slope(small: SmallJob) -> Tensor:
    """rho at step 0, from what the read point sees: rho z."""
    z = flat(direction(small, 0))
    seen = flat([gradient for group in small.gradients().values() for gradient in group])
    return torch.dot(seen, z) / torch.dot(z, z)


def true_slope(small: SmallJob) -> Tensor:
    loss = small.training.learner.reference(small.batch)
    assert loss is not None
    gradients = torch.autograd.grad(loss, [p for group in small.training.groups for p in group.parameters])
    return torch.dot(flat(list(gradients)), flat(direction(small, 0)))


def test_slope_converges_to_the_directional_derivative_quadratically() -> None:
    # Over many directions: along a single one the third derivative may happen to be next to nothing.
    scales = (4e-2, 2e-2, 1e-2)
    squares = [0.0, 0.0, 0.0]
    for seed in range(SEED, SEED + 8):
        exact = true_slope(job(1e-3, seed=seed))
        for index, epsilon in enumerate(scales):
            squares[index] += float(slope(job(epsilon, seed=seed)) - exact) ** 2
    ratios = [math.sqrt(squares[0] / squares[1]), math.sqrt(squares[1] / squares[2])]
    # A one-sided difference would halve, a wrong direction would stay.
    assert ratios == pytest.approx([4, 4], abs=0.5)


def test_step_is_along_the_same_direction_that_was_probed() -> None:
    small = job(1e-4)
    rho, z = slope(small), flat(direction(small, 0))
    before = flat(list(small.weights().values()))
    small.run(1)
    update = flat(list(small.weights().values())) - before
    torch.testing.assert_close(update, -0.1 * rho * z, rtol=1e-9, atol=1e-12)
    assert not torch.allclose(update, -0.1 * rho * flat(direction(small, 1)), rtol=1e-2)


def test_weights_are_rebuilt_from_a_log_of_seeds_and_slopes() -> None:
    small = job(1e-3, directions=2)
    log = []
    for step in range(4):
        small.step = step
        zs = torch.stack([flat(direction(small, 2 * step + d)) for d in range(2)])
        seen = flat([gradient for group in small.gradients().values() for gradient in group])
        log.append((2 * step, torch.linalg.lstsq(zs.T, seen.unsqueeze(1)).solution.flatten()))
        small.run(1)
    rebuilt = job(1e-3, directions=2)
    names = [group.name for group in rebuilt.training.groups]
    for step, (seed, scalars) in enumerate(log):
        rebuilt.training.context.begin(step)
        rebuilt.training.context.apply_seeded(names, seed, scalars)
    torch.testing.assert_close(
        flat(list(rebuilt.weights().values())), flat(list(small.weights().values())), rtol=1e-10, atol=1e-12
    )


def test_plus_minus_plus_brings_the_weights_back() -> None:
    small = job(1e-3)
    context, names = small.training.context, [group.name for group in small.training.groups]
    before = flat(list(small.weights().values()))
    for scale in (1e-3, -2e-3, 1e-3):
        context.add_seeded(names, 3, scale)
    assert float((flat(list(small.weights().values())) - before).abs().max()) < 1e-15
    for scale in (1e-3, -1.9e-3, 1e-3):
        context.add_seeded(names, 3, scale)
    assert float((flat(list(small.weights().values())) - before).abs().max()) > 1e-5


def test_clipping_and_decay_act_as_on_a_stored_gradient() -> None:
    plain, small = job(1e-3), job(1e-3, clip_grad_norm=0.01, weight_decay=0.3)
    gradient = flat([g for group in plain.gradients().values() for g in group])
    before = flat(list(small.weights().values()))
    small.run(1)
    clipped = gradient * min(1.0, 0.01 / (float(gradient.norm()) + 1e-6))
    expected = before - 0.1 * (clipped + 0.3 * before)
    torch.testing.assert_close(flat(list(small.weights().values())), expected, rtol=1e-9, atol=1e-10)
    assert float(gradient.norm()) > 0.01


def test_no_backward_pass_is_taken(monkeypatch: object) -> None:
    small = job(1e-3)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a backward pass was taken")

    patch = monkeypatch
    patch.setattr(torch.autograd, "grad", refuse)  # type: ignore[attr-defined]
    patch.setattr(Tensor, "backward", refuse)  # type: ignore[attr-defined]
    small.run(2)
