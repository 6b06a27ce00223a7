"""Similarity matching against its closed form; with detach and without; prediction alone is Mono-Forward's loss."""

from random import SystemRandom

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.learners.small_jobs import CLASSES, SmallJob, small_job

DRAW = SystemRandom()
SEEDS = [DRAW.randrange(2**31) for _ in range(3)]
MLP = {"kind": "mlp", "hidden": [DRAW.randrange(5, 11) for _ in range(3)], "activation": "tanh", "bias": False}
CNN = {"kind": "cnn", "channels": [3, 4], "hidden": [6], "activation": "tanh"}


def job(seed: int, network: dict[str, object] = MLP, **options: object) -> SmallJob:
    return small_job(network, {"kind": "local_loss", **options}, seed=seed, rows_seed=seed + 1)


def similarity_gradient(h: Tensor, wanted: Tensor) -> Tensor:
    """d mean((S(h) - T)^2) / d h, written out: through the product, the length and the mean of each row."""
    centred = h - h.mean(1, keepdim=True)
    length = centred.square().sum(1, keepdim=True).sqrt()
    n = centred / length
    on_n = 4 / len(h) ** 2 * (n @ n.T - wanted) @ n
    on_centred = (on_n - n * (n * on_n).sum(1, keepdim=True)) / length
    return on_centred - on_centred.mean(1, keepdim=True)


def by_hand(small: SmallJob) -> dict[str, Tensor]:
    """Gradients of every tanh block and of its map under loss sim, without autograd."""
    y = small.batch.y
    same = (y[:, None] == y[None, :]).double()
    wanted = same - (1 - same) / (CLASSES - 1)
    a, found = small.batch.x, {}
    for index, block in enumerate(small.training.network.stages[:3]):
        below = a
        a = torch.tanh(below @ block.synapse.weight.detach().T)  # type: ignore[union-attr]
        v = small.training.own["similarities"].linear[index].weight.detach()  # type: ignore[index,union-attr]
        on_h = similarity_gradient(a @ v.T, wanted)
        found[f"own.similarities.{index}"] = on_h.T @ a
        found[f"blocks.{index}"] = ((on_h @ v) * (1 - a.square())).T @ below
    return found


@pytest.mark.parametrize("seed", SEEDS)
def test_gradient_of_similarity_matching_is_the_closed_form(seed: int) -> None:
    small = job(seed, loss="sim")
    found, expected = small.gradients(), by_hand(small)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name][0], gradient, rtol=1e-9, atol=1e-14)
    mutated = job(seed, loss="sim", detach=False).gradients()
    for name in ("blocks.0", "blocks.1"):
        assert not torch.allclose(mutated[name][0], expected[name], rtol=1e-3)


@pytest.mark.parametrize("seed", SEEDS)
def test_an_images_channels_are_compared_by_their_spread(seed: int) -> None:
    small = job(seed, CNN, loss="sim")
    block = small.training.network.stages[0]
    kernel = small.training.own["similarities"].linear[0].weight  # type: ignore[index,union-attr]
    labels = F.one_hot(small.batch.y, CLASSES).double()
    wanted = torch.corrcoef(labels)
    weights = tuple(block.parameters())
    mapped = F.conv2d(block(small.batch.x)[0], kernel, padding=1)
    variance = mapped.square().mean((2, 3)) - mapped.mean((2, 3)).square()
    for spread, holds in ((variance.sqrt(), True), (mapped.mean((2, 3)), False)):
        loss = (torch.corrcoef(spread) - wanted).square().mean()
        expected = torch.autograd.grad(loss, weights, retain_graph=True)
        for a, b in zip(small.gradients()["blocks.0"], expected, strict=True):
            assert torch.allclose(a, b, rtol=1e-9, atol=1e-14) == holds


@pytest.mark.parametrize("seed", SEEDS)
def test_prediction_alone_is_mono_forwards_loss(seed: int) -> None:
    mine = job(seed, similarity_weight=0.0)
    theirs = small_job(MLP, {"kind": "mono_forward"}, seed=seed, rows_seed=seed + 1)
    with torch.no_grad():
        for index in range(2):
            heads = mine.training.own["heads"].linear[index], theirs.training.own.linear[index]  # type: ignore[index,union-attr]
            for a, b in zip(*(head.parameters() for head in heads), strict=True):
                a.copy_(b)
    found, expected = mine.gradients(), theirs.gradients()
    for name in ("blocks.0", "blocks.1", "own.heads.0", "own.heads.1"):
        for a, b in zip(found[name], expected[name], strict=True):
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-16)
    # The last block learns from a head of its own here, and from the read-out there.
    assert not torch.allclose(found["blocks.2"][0], expected["blocks.2"][0], rtol=1e-2)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_two_losses_add_by_their_weight(seed: int) -> None:
    beta = DRAW.uniform(0.1, 0.9)
    mixed, predicting, matching = (job(seed, similarity_weight=b).gradients() for b in (beta, 0.0, 1.0))
    for index in range(3):
        name = f"blocks.{index}"
        expected = (1 - beta) * predicting[name][0] + beta * matching[name][0]
        torch.testing.assert_close(mixed[name][0], expected, rtol=1e-10, atol=1e-15)
        assert not torch.allclose(mixed[name][0], matching[name][0], rtol=1e-3)


@pytest.mark.parametrize("loss", ["sim", "predsim"])
def test_without_detach_it_is_autograds_gradient_of_all_losses(loss: str) -> None:
    seed = SEEDS[0]
    small = job(seed, loss=loss, detach=False, similarity_weight=0.6)
    network, own = small.training.network, small.training.own
    wanted = torch.corrcoef(F.one_hot(small.batch.y, CLASSES).double())
    *hidden, scores = network.activities(small.batch.x, detach=False)
    total = F.cross_entropy(scores, small.batch.y)
    for index, y in enumerate(hidden):
        match = (torch.corrcoef(own["similarities"].linear[index](y)) - wanted).square().mean()  # type: ignore[index,union-attr]
        if loss == "predsim":
            guess = F.cross_entropy(own["heads"].linear[index](y), small.batch.y)  # type: ignore[index,union-attr]
            match = 0.4 * guess + 0.6 * match
        total = total + match
    groups = [g for g in small.training.groups if g.parameters]
    parameters = [p for g in groups for p in g.parameters]
    expected = dict(zip(map(id, parameters), torch.autograd.grad(total, parameters), strict=True))
    found, local = small.gradients(), job(seed, loss=loss, similarity_weight=0.6).gradients()
    for group in groups:
        for parameter, gradient in zip(group.parameters, found[group.name], strict=True):
            torch.testing.assert_close(gradient, expected[id(parameter)], rtol=1e-9, atol=1e-14)
    assert not torch.allclose(local["blocks.0"][0], found["blocks.0"][0], rtol=1e-2)
