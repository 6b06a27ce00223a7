"""SoftHebb against its equation written out, labels that must not matter, and lengths that go to one."""

from dataclasses import replace
from random import SystemRandom
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.learners.small_jobs import CLASSES, SmallJob, small_job

RANDOM = SystemRandom()
SEEDS = [RANDOM.randrange(2**31) for _ in range(3)]
MLP = {"kind": "mlp", "hidden": [RANDOM.randrange(5, 9), RANDOM.randrange(4, 8)]}
CNN = {"kind": "cnn", "channels": [RANDOM.randrange(3, 6)], "stride": RANDOM.randrange(1, 3), "pooling": "none"}
STRONG = {"initial_norm": 1.7, "inverse_temperature": 3.0, "triangle_power": 1.5}


def job(network: dict[str, Any], seed: int, /, optimizer: dict[str, Any] | None = None, **options: Any) -> SmallJob:
    return small_job(
        network, {"kind": "soft_hebb", **STRONG, **options}, seed=seed, rows_seed=seed + 1, optimizer=optimizer
    )


def by_hand(x_NI: Tensor, weight_OI: Tensor, *, exponent: float = 0.5, forgetting: float = 1.0) -> Tensor:
    """-mean over n of |1 - |w_k||^q y_nk (x_n - u_nk w_k), term by term."""
    u_NO = torch.einsum("ni,oi->no", x_NI, weight_OI)
    y_NO = torch.exp(3.0 * u_NO) / torch.exp(3.0 * u_NO).sum(1, keepdim=True)
    towards = torch.einsum("no,ni->oi", y_NO, x_NI)
    decay = torch.einsum("no,no,oi->oi", y_NO, u_NO, weight_OI)
    rate_O = (1 - (weight_OI**2).sum(1).sqrt()).abs() ** exponent
    return -rate_O[:, None] * (towards - forgetting * decay) / len(x_NI)


def entering(x_BD: Tensor, length: float) -> Tensor:
    """Rows without their mean, of this root of their summed squares."""
    x_BD = x_BD - x_BD.mean(1, keepdim=True)
    return length * x_BD / (x_BD**2).sum(1, keepdim=True).sqrt()


@pytest.mark.parametrize("seed", SEEDS)
def test_change_of_every_block_is_the_equation(seed: int) -> None:
    small = job(MLP, seed)
    found, x = small.gradients(), small.batch.x
    for index, block in enumerate(small.training.network.stages[:2]):
        weight = block.synapse.weight.detach()  # type: ignore[union-attr]
        x = entering(x, 1.0)
        torch.testing.assert_close(found[f"blocks.{index}"][0], by_hand(x, weight), rtol=1e-10, atol=1e-14)
        for wrong in (by_hand(x, weight, exponent=1.0), by_hand(x, weight, forgetting=0.5)):
            assert not torch.allclose(found[f"blocks.{index}"][0], wrong, rtol=1e-2)
        u = x @ weight.T
        x = torch.relu(u - u.mean(1, keepdim=True)) ** 1.5


@pytest.mark.parametrize("seed", SEEDS)
def test_convolution_is_the_same_rule_on_every_patch(seed: int) -> None:
    small = job(CNN, seed)
    (block, _) = small.training.network.stages
    synapse = block.synapse  # type: ignore[union-attr]
    weight = synapse.weight.detach().flatten(1)  # type: ignore[union-attr]
    rows = small.batch.x
    patches, pixels = weight.shape[1], rows[0].numel()
    x = entering(rows.flatten(1), (pixels / patches) ** 0.5).reshape(rows.shape)
    unfolded = F.unfold(x, 3, padding=1, stride=CNN["stride"]).transpose(1, 2).flatten(0, 1)  # type: ignore[arg-type]
    found = small.gradients()["blocks.0"][0]
    torch.testing.assert_close(found.flatten(1), by_hand(unfolded, weight), rtol=1e-10, atol=1e-14)
    assert not torch.allclose(found.flatten(1), by_hand(unfolded.flip(1), weight), rtol=1e-2)


@pytest.mark.parametrize("network", [MLP, CNN])
def test_labels_reach_the_readout_and_no_block(network: dict[str, Any]) -> None:
    true, permuted = (job(network, SEEDS[0]) for _ in range(2))
    permuted.batch = replace(permuted.batch, y=(permuted.batch.y + 1) % CLASSES)
    for one in (true, permuted):
        one.run(5)
    ours, theirs = true.weights(), permuted.weights()
    blocks = [name for name in ours if name.startswith("blocks.")]
    assert blocks and all(torch.equal(ours[name], theirs[name]) for name in blocks)
    assert not torch.allclose(ours["readout.0"], theirs["readout.0"], rtol=1e-3)


@pytest.mark.parametrize("length", [0.4, 2.5])
@pytest.mark.parametrize("seed", SEEDS)
def test_length_of_every_weight_vector_goes_to_one(seed: int, length: float) -> None:
    """All units must win now and then to move at all, so the competition is soft here."""
    one = {"kind": "mlp", "hidden": [4]}
    soft = {"initial_norm": length, "inverse_temperature": 2.0, "rate_exponent": 0.0, "hebbian_rate": 1.0}
    small = job(one, seed, {"kind": "sgd", "lr": 1.0}, **soft)

    def apart() -> float:
        weight = small.training.network.stages[0].synapse.weight.detach()  # type: ignore[union-attr]
        return float((weight.norm(dim=1) - 1).abs().max())

    assert apart() == pytest.approx(abs(length - 1))
    small.run(3)
    middle = apart()
    small.run(147)
    assert apart() < 1e-3 < middle
