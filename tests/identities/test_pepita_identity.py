"""PEPITA: products of activities by hand; to first order in F it is feedback alignment by the weights W_l ... W_1 F."""

from random import SystemRandom

import pytest
import torch
from torch import Tensor

from tests.learners.small_jobs import SmallJob, small_job

DRAW = SystemRandom()
SEEDS = [DRAW.randrange(2**31) for _ in range(3)]
MLP = {"kind": "mlp", "hidden": [DRAW.randrange(5, 11) for _ in range(2)], "activation": "tanh"}
CNN = {"kind": "cnn", "channels": [3, 4], "activation": "tanh", "pooling": "average"}


def job(seed: int, network: dict[str, object] = MLP, *, scale: float = 0.05, dropout: float = 0.0) -> SmallJob:
    learner = {"kind": "pepita", "feedback_scale": scale}
    return small_job({**network, "dropout": dropout}, learner, seed=seed, rows_seed=seed + 1)


def passes(small: SmallJob) -> tuple[list[Tensor], list[Tensor], Tensor, Tensor]:
    """Activities of both passes, inputs first, and the error per row of each."""
    feedback = small.training.own.weight_IK  # type: ignore[union-attr]
    x, y, found, errors = small.batch.x, small.batch.y, [], []
    for _ in range(2):
        h = x if not errors else x + (errors[0] @ feedback.T).reshape(x.shape)
        activities = [h]
        for block in small.training.network.stages:
            h = block(h)[0].detach()
            activities.append(h)
        errors.append(torch.softmax(h, 1) - torch.eye(h.shape[1], dtype=h.dtype)[y])
        found.append(activities)
    return found[0], found[1], errors[0], errors[1]


@pytest.mark.parametrize("seed", SEEDS)
def test_every_layers_gradient_is_the_product_of_its_activities(seed: int) -> None:
    small = job(seed, scale=2.0)
    found = list(small.gradients().values())
    clean, modulated, first_error, last_error = passes(small)
    rows = len(small.batch.x)
    for index in range(3):
        difference = last_error if index == 2 else clean[index + 1] - modulated[index + 1]
        weight, bias = found[index]
        torch.testing.assert_close(weight, difference.T @ modulated[index] / rows, rtol=1e-10, atol=1e-14)
        torch.testing.assert_close(bias, difference.mean(0), rtol=1e-10, atol=1e-14)
    # With the first pass's error, or the first pass's inputs, the products are others.
    assert not torch.allclose(found[2][0], first_error.T @ modulated[2] / rows, rtol=1e-2)
    assert not torch.allclose(found[0][0], (clean[1] - modulated[1]).T @ clean[0] / rows, rtol=1e-2)


def by_feedback_alignment(small: SmallJob) -> list[Tensor]:
    """-(f'(z_l) W_l ... f'(z_1) W_1 F e) h_(l-1)^T: the weights that carry F e upwards stand for the feedback."""
    clean, _, error, _ = passes(small)
    carried = error @ small.training.own.weight_IK.T  # type: ignore[union-attr]
    found = []
    for index, block in enumerate(small.training.network.stages[:2]):
        carried = (carried @ block.synapse.weight.detach().T) * (1 - clean[index + 1].square())  # type: ignore[union-attr]
        found.append(-carried.T @ clean[index] / len(carried))
    return found


@pytest.mark.parametrize("seed", SEEDS)
def test_it_converges_to_adaptive_feedback_alignment_as_f_vanishes(seed: int) -> None:
    apart: list[list[float]] = []
    for scale in (4e-4, 2e-4, 1e-4):
        small = job(seed, scale=scale)
        found, expected = small.gradients(), by_feedback_alignment(small)
        pairs = [(found[f"blocks.{i}"][0], expected[i]) for i in range(2)]
        apart.append([float((a - b).norm() / b.norm()) for a, b in pairs])
        assert all(float((a + b).norm() / b.norm()) > 1.9 for a, b in pairs)  # the other sign
    for layer in range(2):
        errors = [step[layer] for step in apart]
        assert errors[0] < 1e-2
        # First order in F: each halving of F halves the distance.
        assert all(1.8 < errors[i] / errors[i + 1] < 2.2 for i in range(2))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_convolution_learns_from_its_unfolded_product(seed: int) -> None:
    small = job(seed, CNN, scale=2.0)
    kernel, bias = small.gradients()["blocks.0"]
    clean, modulated, *_ = passes(small)
    difference = (clean[1] - modulated[1]) / len(small.batch.x)
    # Average pooling hands each place of a 2 x 2 window a quarter of the difference.
    spread = difference.repeat_interleave(2, 2).repeat_interleave(2, 3) / 4
    patches = torch.nn.functional.unfold(modulated[0], 3, padding=1)
    expected = torch.einsum("bop,bkp->ok", spread.flatten(2), patches).reshape(kernel.shape)
    torch.testing.assert_close(kernel, expected, rtol=1e-9, atol=1e-14)
    torch.testing.assert_close(bias, spread.sum((0, 2, 3)), rtol=1e-9, atol=1e-14)
    unpooled = difference.repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert not torch.allclose(bias, unpooled.sum((0, 2, 3)), rtol=1e-2)


def test_both_passes_drop_the_same_units() -> None:
    small = job(SEEDS[0], scale=1e-9, dropout=0.5)
    (report,) = small.run(1)
    # Without input modulation equal masks leave no difference; other masks would leave one of order 1.
    assert torch.all(report.quantities["modulation"] < 1e-6)
    assert torch.all(report.quantities["modulation"] > 0)


def test_feedback_is_drawn_within_its_bounds_and_stays() -> None:
    small = job(SEEDS[0], scale=0.5)
    feedback = small.training.own.weight_IK  # type: ignore[union-attr]
    bound = 0.5 * (6 / feedback.shape[0]) ** 0.5
    before = feedback.clone()
    small.run(2)
    assert torch.equal(feedback, before)
    assert bound / 2 < float(feedback.abs().max()) <= bound
