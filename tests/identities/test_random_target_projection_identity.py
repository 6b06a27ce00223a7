"""Direct random target projection against its equation, written out for a chain of tanh layers."""

from random import SystemRandom

import pytest
import torch
import torch.nn.functional as F

from tests.learners.small_jobs import CLASSES, small_job

SEEDS = [SystemRandom().randrange(2**31) for _ in range(3)]
WIDTHS = [SystemRandom().randint(3, 9) for _ in range(2)]
NETWORK = {"kind": "mlp", "hidden": WIDTHS, "activation": "tanh"}


@pytest.mark.parametrize("seed", SEEDS)
def test_gradients_are_the_papers_outer_products(seed: int) -> None:
    small = small_job(NETWORK, {"kind": "random_target_projection"}, seed=seed, rows_seed=seed)
    found = small.gradients()
    own = small.training.own
    assert own is not None
    target_BK = F.one_hot(small.batch.y, CLASSES).double() / len(small.batch.y)
    h_BD = small.batch.x
    for index, projection_KD in enumerate(own.matrices):  # type: ignore[arg-type]
        weight, bias = small.training.groups[index].parameters
        y_BD = torch.tanh(h_BD @ weight.T + bias).detach()
        signal_BD = -(1 - y_BD**2) * (target_BK @ projection_KD)
        torch.testing.assert_close(found[f"blocks.{index}"][0], signal_BD.T @ h_BD, rtol=1e-12, atol=1e-15)
        torch.testing.assert_close(found[f"blocks.{index}"][1], signal_BD.sum(0), rtol=1e-12, atol=1e-15)
        h_BD = y_BD
    exact = small_job(NETWORK, {"kind": "backprop"}, seed=seed, rows_seed=seed).gradients()
    for mine, theirs in zip(found["readout"], exact["readout"], strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-15)
    # The error instead of the target would be direct feedback alignment, backprop's another way back: both differ.
    assert not torch.allclose(found["blocks.0"][0], exact["blocks.0"][0], rtol=1e-2)


@pytest.mark.parametrize("seed", SEEDS)
def test_hidden_blocks_do_not_hear_of_the_output(seed: int) -> None:
    small = small_job(NETWORK, {"kind": "random_target_projection"}, seed=seed, rows_seed=seed)
    before = small.gradients()
    with torch.no_grad():
        for parameter in small.training.groups[-1].parameters:
            parameter.mul_(-3)
    after = small.gradients()
    assert torch.equal(before["blocks.1"][0], after["blocks.1"][0])
    assert not torch.allclose(before["readout"][0], after["readout"][0])
