"""What every learner keeps on every network that it may train."""

import pytest
import torch

from tests.learners.small_jobs import (
    LEARNERS,
    NETWORKS,
    SmallJob,
    fitting,
    learner_spec,
    network_spec,
    one_of_each_layout,
    pairs,
    small_job,
)

PAIRS = pytest.mark.parametrize(("learner", "network"), pairs())


def job(learner: str, network: str, **settings: object) -> SmallJob:
    return small_job(NETWORKS[network], LEARNERS[learner], **settings)  # type: ignore[arg-type]


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@PAIRS
def test_every_parameter_of_the_groups_moves_and_every_other_stays(learner: str, network: str) -> None:
    small = job(learner, network)
    before = small.weights()
    trained = {id(p) for group in small.training.groups for p in group.parameters}
    frozen = [(p, p.detach().clone()) for p in small.training.network.parameters() if id(p) not in trained]
    small.run(3)
    assert [name for name, weight in small.weights().items() if torch.equal(weight, before[name])] == []
    assert all(torch.equal(p, was) for p, was in frozen)
    assert all(torch.isfinite(weight).all() for weight in small.weights().values())


@PAIRS
def test_prediction_of_the_whole_is_that_of_its_pieces(learner: str, network: str) -> None:
    small = job(learner, network)
    small.run(2)
    small.training.eval()
    x, dt = small.batch.x, small.batch.dt
    predict = small.training.learner.predict
    with torch.no_grad():
        whole = predict(x, dt)
        pieces = [predict(x[i : i + 3], None if dt is None else dt[i : i + 3]) for i in range(0, len(x), 3)]
        # A row must not be all alike, or this would hold for a constant.
        assert whole.std(0).max() > 0
    torch.testing.assert_close(torch.cat(pieces), whole, rtol=1e-11, atol=1e-12)


@PAIRS
def test_same_seed_gives_same_bits_and_leaves_the_global_generator_alone(learner: str, network: str) -> None:
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    first = job(learner, network, dtype=torch.float32)
    first.run(1)
    other = job(learner, network, dtype=torch.float32, seed=1)
    other.run(1)
    assert not equal(first.weights(), other.weights())
    first.run(1)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(8)
    second = job(learner, network, dtype=torch.float32)
    second.run(2)
    assert equal(first.weights(), second.weights())


@pytest.mark.parametrize(("learner", "network"), [p for p in pairs() if network_spec(NETWORKS[p[1]]).depth > 0])
def test_checkpointed_activations_change_no_bit(learner: str, network: str) -> None:
    plain, checkpointed = (job(learner, network, checkpointing=mode) for mode in ("none", "every_k"))
    plain.run(3)
    checkpointed.run(3)
    assert equal(plain.weights(), checkpointed.weights())
    buffers = (dict(one.training.network.named_buffers()) for one in (plain, checkpointed))
    assert equal(*buffers)


@PAIRS
def test_resumed_training_equals_the_uninterrupted(learner: str, network: str) -> None:
    whole = job(learner, network, dtype=torch.float32)
    whole.run(2)
    state = {name: tensor.clone() for name, tensor in whole.training.network.state_dict().items()}
    own = None if whole.training.own is None else {k: v.clone() for k, v in whole.training.own.state_dict().items()}
    optimizer = {name: tensor.clone() for name, tensor in whole.training.optimizers.state_tensors().items()}
    whole.run(2)
    resumed = job(learner, network, dtype=torch.float32)
    resumed.run(1)
    resumed.training.network.load_state_dict(state)
    if resumed.training.own is not None:
        assert own is not None
        resumed.training.own.load_state_dict(own)
    resumed.training.optimizers.load_state_tensors(optimizer)
    resumed.step = 2
    resumed.run(2)
    assert equal(whole.weights(), resumed.weights())


@PAIRS
def test_micro_batches_sum_to_the_whole_batch(learner: str, network: str) -> None:
    # Plain descent: Adam divides by the gradient's size, and so makes rounding of a vanishing gradient visible.
    descent = {"kind": "sgd", "lr": 0.01}
    whole, split = (job(learner, network, optimizer=descent, micro_batch_size=size) for size in (None, 3))
    mixes = whole.training.network.mixes_rows or "self_contrastive" in learner
    for small in (whole, split):
        small.run(3)
    ours, theirs = whole.weights(), split.weights()
    apart = max(float((ours[name] - theirs[name]).abs().max()) for name in ours)
    if mixes:
        # Rows of a pass depend on each other here, so splitting them must show.
        assert apart > 1e-8 or learner == "readout_only"
    else:
        assert apart < 1e-12


@PAIRS
def test_bfloat16_products_leave_float32_weights(learner: str, network: str) -> None:
    exact, rounded = job(learner, network, dtype=torch.float32), job(learner, network, dtype=torch.float32)
    (expected,) = exact.run(1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (found,) = rounded.run(1)
    assert all(weight.dtype == torch.float32 and weight.isfinite().all() for weight in rounded.weights().values())
    torch.testing.assert_close(found.loss, expected.loss, rtol=0.05, atol=0.05)
    before = rounded.weights()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded.run(1)
    assert [name for name, weight in rounded.weights().items() if torch.equal(weight, before[name])] == []


@pytest.mark.parametrize(
    ("learner", "network"),
    [
        (learner, network)
        for learner, rule in LEARNERS.items()
        if "regression" in learner_spec(rule).tasks
        for network in one_of_each_layout(fitting(rule))
    ],
)
def test_regression_trains_too(learner: str, network: str) -> None:
    small = job(learner, network, task="regression")
    (first,) = small.run(1)
    if learner_spec(LEARNERS[learner]).exactness == "exact":
        assert float(small.run(24)[-1].loss) < float(first.loss)
        return
    # Another direction than the gradient's may lose at first what it wins later: more steps, for a clear win.
    rounds = (float(small.run(20)[-1].loss) for _ in range(10))
    assert any(loss < 0.9 * float(first.loss) for loss in rounds)


@PAIRS
def test_the_reference_differentiates_the_network(learner: str, network: str) -> None:
    small = job(learner, network)
    small.training.train()
    with small.training.network.passing(0, 0, small.batch.rows, "batch"):
        loss = small.training.learner.reference(small.batch)
    assert loss is not None
    parameters = [p for p in small.training.network.parameters() if p.requires_grad]
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    assert any(gradient is not None and gradient.abs().sum() > 0 for gradient in found)
