"""Forward-Forward against its closed form, block by block; what a block may see and what it may not."""

from random import SystemRandom

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.learners.small_jobs import CLASSES, SmallJob, small_job

SEEDS = [SystemRandom().randrange(2**31) for _ in range(3)]
MLP = {"kind": "mlp", "hidden": [9, 6], "bias": False}


def job(seed: int, **options: object) -> SmallJob:
    learner = {"kind": "forward_forward", "negatives": "all_wrong", **options}
    return small_job(MLP, learner, seed=seed, rows_seed=seed + 1)


def normalised(h: Tensor) -> Tensor:
    return h / (h.square().mean(1, keepdim=True) + 1e-8).sqrt()


def labelled(x: Tensor, labels: Tensor) -> Tensor:
    one = torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype)], 1)
    one = one / one.square().mean(1, keepdim=True).sqrt()
    return torch.cat([one[:, :-1], labels, one[:, -1:]], 1)


def by_hand(small: SmallJob, *, scale: float = 4.0, threshold: float = 1.0, label_scale: float = 1.0) -> list[Tensor]:
    """dL_i/dW_i = sum over rows of c s' (2 a / n) 1[a > 0] x^T, for real and for all wrong labels."""
    x, y = small.batch.x, small.batch.y
    eye = torch.eye(CLASSES, dtype=x.dtype)
    labels = label_scale * torch.cat([eye[y], *(eye[(y + k) % CLASSES] for k in range(1, CLASSES))])
    h = labelled(x.repeat(CLASSES, 1), labels)
    side = torch.cat([torch.full((len(x),), -1.0), torch.ones(len(h) - len(x))]).double()
    share = torch.cat([torch.full((len(x),), 1 / len(x)), torch.full((len(h) - len(x),), 1 / (len(h) - len(x)))])
    gradients = []
    for block in small.training.network.stages[:2]:
        weight = block.synapse.weight.detach()  # type: ignore[union-attr]
        a = torch.relu(h @ weight.T)
        excess = scale * (a.square().mean(1) - threshold)
        slope = share.double() * scale * side * torch.sigmoid(side * excess)
        gradients.append((slope[:, None] * 2 * a / a.shape[1]).T @ h)
        h = normalised(a)
    return gradients


@pytest.mark.parametrize("seed", SEEDS)
def test_gradient_of_every_block_is_the_closed_form(seed: int) -> None:
    small = job(seed)
    found = small.gradients()
    for index, expected in enumerate(by_hand(small)):
        torch.testing.assert_close(found[f"blocks.{index}"][0], expected, rtol=1e-9, atol=1e-13)
    assert not torch.allclose(found["blocks.1"][0], by_hand(small, threshold=0.9)[1], rtol=1e-3)
    larger = job(seed, label_scale=5.0).gradients()
    for index, expected in enumerate(by_hand(small, label_scale=5.0)):
        torch.testing.assert_close(larger[f"blocks.{index}"][0], expected, rtol=1e-9, atol=1e-13)
    without = job(seed, normalize_between_layers=False).gradients()
    assert not torch.allclose(without["blocks.1"][0], by_hand(small)[1], rtol=1e-3)


@pytest.mark.parametrize("seed", SEEDS)
def test_no_block_learns_from_another_blocks_loss(seed: int) -> None:
    small = job(seed)
    before = small.gradients()
    with torch.no_grad():
        small.training.network.stages[1].synapse.weight.mul_(-2).add_(0.1)  # type: ignore[union-attr,operator]
        small.training.learner.readout.weight.mul_(3)  # type: ignore[attr-defined]
    after = small.gradients()
    assert torch.equal(before["blocks.0"][0], after["blocks.0"][0])
    assert not torch.allclose(before["blocks.1"][0], after["blocks.1"][0])


@pytest.mark.parametrize("seed", SEEDS)
def test_goodness_of_a_block_does_not_pass_on(seed: int) -> None:
    found = []
    for normalised in (True, False):
        small = job(seed, normalize_between_layers=normalised)
        with torch.no_grad():  # activities so large that the norm's epsilon is nothing beside them
            small.training.network.stages[0].synapse.weight.mul_(100)  # type: ignore[union-attr,operator]
        before = small.gradients()["blocks.1"][0]
        with torch.no_grad():
            small.training.network.stages[0].synapse.weight.mul_(3)  # type: ignore[union-attr,operator]
        found.append(float((small.gradients()["blocks.1"][0] - before).norm() / before.norm()))
    scaled, control = found
    assert scaled < 1e-6
    assert control > 1e-2


def labels_of_the_stack(small: SmallJob) -> Tensor:
    """The classes of real and false rows in one step."""
    seen: list[Tensor] = []
    block = small.training.network.stages[0]
    # Batch normalisation makes the whole stack, real, false and neutral rows, one pass through the block.
    handle = block.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    small.run(1)
    handle.remove()
    rows = len(small.batch.x)
    (stack,) = [x for x in seen if len(x) == 3 * rows]
    return stack[: 2 * rows, -CLASSES - 1 : -1].argmax(1)


def test_false_labels_are_every_wrong_one_and_never_the_true_one() -> None:
    small = small_job({**MLP, "norm": "batch"}, {"kind": "forward_forward"}, rows=64)
    counts = torch.zeros(CLASSES, CLASSES)
    for _ in range(40):
        labels = labels_of_the_stack(small)
        assert torch.equal(labels[:64], small.batch.y)
        counts.index_put_((small.batch.y, labels[64:]), torch.ones(64), accumulate=True)
    assert torch.all(counts.diagonal() == 0)
    wrong = counts[~torch.eye(CLASSES, dtype=torch.bool)].reshape(CLASSES, CLASSES - 1)
    share = wrong / wrong.sum(1, keepdim=True)
    assert torch.all((share - 1 / (CLASSES - 1)).abs() < 0.1)


def test_hard_labels_are_wrong_ones_by_the_readouts_probabilities() -> None:
    rule = {"kind": "forward_forward", "negatives": "hard_label"}
    small = small_job({**MLP, "norm": "batch"}, rule, rows=64, optimizer={"kind": "sgd", "lr": 1e-9})
    with torch.no_grad():  # classes 0 and 1 nearly as likely as each other, class 2 four times less
        readout = small.training.learner.readout  # type: ignore[attr-defined]
        readout.weight.zero_()
        readout.bias.copy_(torch.tensor([4.0, 4.0, 1.0]).log())
    counts = torch.zeros(CLASSES, CLASSES)
    for _ in range(60):
        labels = labels_of_the_stack(small)
        assert torch.equal(labels[:64], small.batch.y)
        counts.index_put_((small.batch.y, labels[64:]), torch.ones(64), accumulate=True)
    assert torch.all(counts.diagonal() == 0)
    share = counts / counts.sum(1, keepdim=True)
    expected = torch.tensor([[0.0, 0.8, 0.2], [0.8, 0.0, 0.2], [0.5, 0.5, 0.0]])
    assert torch.all((share - expected).abs() < 0.08)


@pytest.mark.parametrize("negatives", ["wrong_label", "hard_label", "all_wrong"])
@pytest.mark.parametrize("bias", [False, True])
def test_rows_that_share_their_first_product_have_the_gradients_of_stacked_rows(negatives: str, bias: bool) -> None:
    rule = {"kind": "forward_forward", "negatives": negatives, "label_scale": 3.0}
    shared, stacked, control = (small_job({**MLP, "bias": bias}, rule, seed=SEEDS[0]) for _ in range(3))
    # A rule for products that changes nothing: all rows must then go through the block as they are.
    with stacked.training.network.synapses(lambda synapse, x: synapse.operate(x, synapse.weight, synapse.bias)):
        expected = stacked.gradients()
    with torch.no_grad():
        control.training.network.stages[0].synapse.weight[:, -2] += 0.1  # type: ignore[union-attr,index,operator]
    found, other = shared.gradients(), control.gradients()
    for name, gradients in expected.items():
        for index, gradient in enumerate(gradients):
            torch.testing.assert_close(found[name][index], gradient, rtol=1e-9, atol=1e-13)
    assert not torch.allclose(other["blocks.0"][0], expected["blocks.0"][0], rtol=1e-3)


def test_committed_blocks_step_as_one_optimizer_would() -> None:
    """Commits are locality and freed memory, never another result: the same gradients, the same Adam."""
    small = small_job(MLP, {"kind": "forward_forward"})
    weights = [p.detach().clone().requires_grad_() for group in small.training.groups for p in group.parameters]
    by_torch = torch.optim.Adam(weights, lr=0.01, fused=True)
    for _ in range(5):
        gradients = [g for group in small.gradients().values() for g in group]
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.grad = gradient
        by_torch.step()
        small.run(1)
        trained = [p for group in small.training.groups for p in group.parameters]
        assert all(torch.equal(a, b) for a, b in zip(weights, trained, strict=True))


def test_prediction_by_goodness_sums_the_later_blocks() -> None:
    small = job(SEEDS[0])
    small.training.eval()
    x = small.batch.x
    with torch.no_grad():
        scores = small.training.learner.predict(x)
        for k in range(CLASSES):
            h = labelled(x, F.one_hot(torch.full((len(x),), k), CLASSES).to(x.dtype))
            for block in small.training.network.stages[:2]:
                a, _ = block(h)
                h = normalised(a)
            torch.testing.assert_close(scores[:, k], 4.0 * a.square().mean(1), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("schedule", ["sequential", "greedy"])
def test_only_the_scheduled_block_learns(schedule: str) -> None:
    small = job(SEEDS[0], schedule=schedule, steps_per_block=2)
    moved = []
    for _ in range(5):
        before = small.weights()
        small.run(1)
        moved.append(
            [i for i in range(2) if not torch.equal(before[f"blocks.{i}.0"], small.weights()[f"blocks.{i}.0"])]
        )
    expected = {"sequential": [[0], [1], [0], [1], [0]], "greedy": [[0], [0], [1], [1], [1]]}
    assert moved == expected[schedule]
