"""Mono-Forward against its joint control, and the joint control against deep supervision by autograd."""

from random import SystemRandom

import pytest
import torch

from tests.learners.small_jobs import small_job

SEEDS = [SystemRandom().randrange(2**31) for _ in range(3)]
MLP = {"kind": "mlp", "hidden": [8, 7, 6], "activation": "tanh"}


@pytest.mark.parametrize("seed", SEEDS)
def test_detaching_changes_no_loss_and_only_the_lower_blocks(seed: int) -> None:
    local, joint = (
        small_job(MLP, {"kind": "mono_forward", "detach": detach}, seed=seed, rows_seed=seed)
        for detach in (True, False)
    )
    local_gradients, joint_gradients = local.gradients(), joint.gradients()
    assert local_gradients.keys() == joint_gradients.keys()
    for name in ("own.heads.0", "own.heads.1", "readout", "blocks.2"):
        for a, b in zip(local_gradients[name], joint_gradients[name], strict=True):
            torch.testing.assert_close(a, b, rtol=1e-13, atol=1e-16)
    for name in ("blocks.0", "blocks.1"):
        a, b = local_gradients[name][0], joint_gradients[name][0]
        assert float((a - b).norm() / b.norm()) > 1e-2
    (a,), (b,) = local.run(1), joint.run(1)
    assert torch.equal(a.quantities["head_loss"], b.quantities["head_loss"])
    assert torch.equal(a.loss, b.loss)


@pytest.mark.parametrize("seed", SEEDS)
def test_joint_training_is_deep_supervision(seed: int) -> None:
    joint = small_job(MLP, {"kind": "mono_forward", "detach": False}, seed=seed, rows_seed=seed)
    supervised = small_job(MLP, {"kind": "backprop", "auxiliary_heads": {"weight": 1.0}}, seed=seed, rows_seed=seed)
    heads = supervised.training.own
    assert heads is not None and joint.training.own is not None
    with torch.no_grad():
        for index in range(2):
            for mine, theirs in zip(
                heads.linear[index].parameters(),  # type: ignore[union-attr,index]
                joint.training.own.linear[index].parameters(),  # type: ignore[union-attr,index]
                strict=True,
            ):
                mine.copy_(theirs)
        # The last block's auxiliary head doubles the read-out: a head of zeros adds nothing below.
        for parameter in heads.linear[2].parameters():  # type: ignore[union-attr,index]
            parameter.zero_()
    expected, found = supervised.gradients(), joint.gradients()
    for name in ("blocks.0", "blocks.1", "blocks.2", "readout", "own.heads.0", "own.heads.1"):
        for a, b in zip(found[name], expected[name], strict=True):
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("seed", SEEDS)
def test_last_block_and_readout_learn_as_by_backprop(seed: int) -> None:
    local = small_job(MLP, {"kind": "mono_forward"}, seed=seed, rows_seed=seed).gradients()
    exact = small_job(MLP, {"kind": "backprop"}, seed=seed, rows_seed=seed).gradients()
    for name in ("blocks.2", "readout"):
        for a, b in zip(local[name], exact[name], strict=True):
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-15)
    assert not torch.allclose(local["blocks.0"][0], exact["blocks.0"][0], rtol=1e-2)
