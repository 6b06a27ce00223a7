"""The context: one writer, schedules, commits, read point, per-row noise, streams."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import Parameter

from learners.context import write_gradients
from learners.learner import Batch, ParameterGroup
from learners.optimizers import Optimizers, schedule_factor
from learners.streams import Streams
from specs.optimizers import (
    AdamSpec,
    ConstantSchedule,
    CosineSchedule,
    ExponentialSchedule,
    LinearSchedule,
    Schedule,
    StepSchedule,
)
from tests.learners.small_jobs import SmallJob, small_job

MLP = {"kind": "mlp", "hidden": [6, 5]}


def mono() -> SmallJob:
    return small_job(MLP, {"kind": "mono_forward"})


def test_written_gradients_add_up_by_weight_and_never_share_memory() -> None:
    a, b = Parameter(torch.zeros(3)), Parameter(torch.zeros(3))
    shared = torch.tensor([1.0, 2.0, 3.0])
    write_gradients([a, b], [shared, shared], 1.0)
    assert a.grad is not None and b.grad is not None
    assert a.grad.data_ptr() != b.grad.data_ptr()
    write_gradients([a], [shared], 0.5)
    assert a.grad.tolist() == [1.5, 3.0, 4.5]
    assert b.grad.tolist() == shared.tolist() == [1.0, 2.0, 3.0]


def test_a_written_gradient_is_laid_out_as_its_parameter() -> None:
    parameter = Parameter(torch.zeros(2, 3))
    write_gradients([parameter], [torch.arange(6.0).reshape(3, 2).T], 1.0)
    assert parameter.grad is not None
    assert parameter.grad.stride() == parameter.stride()
    assert parameter.grad.tolist() == [[0, 2, 4], [1, 3, 5]]


def test_a_parameter_that_took_no_part_is_an_error() -> None:
    context = mono().training.context
    used, unused = Parameter(torch.ones(2)), Parameter(torch.ones(2))
    with pytest.raises(RuntimeError, match="not have been used"):
        context.backward(used.sum(), [used, unused])


def test_read_point_sees_groups_before_clipping_and_may_withhold_the_step() -> None:
    small = small_job(MLP, {"kind": "backprop"}, optimizer={"kind": "sgd", "lr": 1.0, "clip_grad_norm": 1e-6})
    before = small.weights()
    norms = [float(g.norm()) for group in small.gradients().values() for g in group]
    assert max(norms) > 1e-3
    assert all(torch.equal(weight, before[name]) for name, weight in small.weights().items())
    small.run(1)
    assert not all(torch.equal(weight, before[name]) for name, weight in small.weights().items())


def test_a_group_finished_twice_is_an_error() -> None:
    small = mono()
    context = small.training.context
    context.begin(0)
    for part in context.passes(small.batch):
        small.training.learner.update(part, context)
        with pytest.raises(RuntimeError, match="finished twice"):
            context.commit("blocks.0", "own.heads.0")


def test_a_commit_names_whole_blocks() -> None:
    small = mono()
    small.training.context.begin(0)
    with pytest.raises(ValueError, match="whole blocks"):
        small.training.context.commit("blocks.0")


def test_commits_wait_for_the_last_part() -> None:
    small = small_job(MLP, {"kind": "mono_forward"}, micro_batch_size=3)
    context, seen = small.training.context, []
    context.begin(0)
    first = next(iter(small.training.groups)).parameters[0]
    for part in context.passes(small.batch):
        before = first.detach().clone()
        small.training.learner.update(part, context)
        seen.append(torch.equal(first, before))
    assert seen == [True, True, False]


def test_a_scaled_context_writes_its_share_and_finishes_nothing() -> None:
    whole = mono().gradients()["blocks.0"][0]
    small = mono()
    context = small.training.context
    context.begin(0)
    for part in context.passes(small.batch):
        small.training.learner.update(part, context.scaled(0.25))
    found = small.training.groups[0].parameters[0].grad
    assert found is not None
    torch.testing.assert_close(found, 0.25 * whole)


def test_noise_belongs_to_rows_not_to_parts() -> None:
    whole = small_job(MLP, {"kind": "backprop"})
    split = small_job(MLP, {"kind": "backprop"}, micro_batch_size=3)
    drawn: list[list[Tensor]] = []
    for small in (whole, split):
        context = small.training.context
        context.begin(5)
        drawn.append([context.per_row("noise", (2,), "randn", 7) for _ in context.passes(small.batch)])
    assert torch.equal(torch.cat(drawn[0]), torch.cat(drawn[1]))
    assert len(drawn[1]) == 3


def test_splitting_keeps_rows_and_weights() -> None:
    batch = Batch.whole(torch.arange(7.0).reshape(7, 1), torch.arange(7), torch.ones(7, 2))
    parts = batch.split(3)
    assert [part.rows for part in parts] == [(0, 3, 7), (3, 6, 7), (6, 7, 7)]
    assert sum(part.weight for part in parts) == pytest.approx(1)
    assert torch.equal(torch.cat([part.x for part in parts]), batch.x)
    assert batch.split(None) == [batch]


@pytest.mark.parametrize("fused", [True, False])
def test_one_optimizer_steps_as_one_per_block(fused: bool) -> None:
    found = []
    for commits in (True, False):
        draw = torch.Generator().manual_seed(3)
        groups = [
            ParameterGroup(f"blocks.{i}", (Parameter(torch.randn(4, 5, generator=draw)),), i, lr_factor=1.0 + i % 2)
            for i in range(4)
        ]
        optimizers = Optimizers(AdamSpec(fused=fused), groups, commits=commits, planned_steps=None)
        assert len(optimizers.units) == (4 if commits else 1)
        for step in range(5):
            optimizers.prepare(step)
            for group in groups:
                group.parameters[0].grad = torch.randn(4, 5, generator=draw)
            for unit in optimizers.units:
                unit.optimizer.step()
        found.append(torch.stack([group.parameters[0].detach() for group in groups]))
    assert torch.equal(found[0], found[1])


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (ConstantSchedule(), [1, 1, 1]),
        (ConstantSchedule(warmup_steps=4), [0.25, 0.75, 1]),
        (LinearSchedule(final_factor=0.5), [1, 0.9, 0.5]),
        (CosineSchedule(), [1, 0.5 * (1 + math.cos(0.2 * math.pi)), 0]),
        (CosineSchedule(steps=4), [1, 0.5, 0]),
        (StepSchedule(every_steps=2, factor=0.5), [1, 0.5, 0.5**5]),
        (ExponentialSchedule(factor=0.25, every_steps=4), [1, 0.5, 0.25**2.5]),
    ],
)
def test_schedules_are_functions_of_the_step(schedule: Schedule, expected: list[float]) -> None:
    assert [schedule_factor(schedule, step, 10) for step in (0, 2, 10)] == pytest.approx(expected)


def test_the_schedule_reaches_the_optimizer() -> None:
    optimizer = {"kind": "sgd", "lr": 0.5, "schedule": {"kind": "linear", "steps": 4}}
    small = small_job(MLP, {"kind": "backprop"}, optimizer=optimizer)
    rates = []
    for _ in range(5):
        small.run(1)
        rates.append(small.training.optimizers.rate("readout"))
    assert rates == pytest.approx([0.5, 0.375, 0.25, 0.125, 0.0])


def test_streams_are_functions_of_seed_name_and_counters() -> None:
    def drawn(*path: object, seed: int = 1, counter: int = 0) -> list[float]:
        return torch.rand(2, generator=Streams(seed).child("a").generator(str(path), counter)).tolist()

    assert drawn("x") == drawn("x")
    assert len({tuple(values) for values in (drawn("x"), drawn("y"), drawn("x", seed=2), drawn("x", counter=1))}) == 4


def test_initialising_leaves_the_global_generator_as_it_was() -> None:
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    with Streams(1).initialising("a"):
        first = torch.rand(3)
    assert torch.equal(torch.random.get_rng_state(), before)
    with Streams(1).initialising("a"):
        assert torch.equal(torch.rand(3), first)
    with Streams(2).initialising("a"):
        assert not torch.equal(torch.rand(3), first)
