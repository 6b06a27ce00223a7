"""What every network keeps: a chain of functions, the same in every pass of a step."""

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad

from learners.build import build_network
from learners.networks.block import PlainBlock, RecurrentBlock
from learners.networks.block_network import DoesNotFit
from learners.networks.scope import BatchNorm
from learners.networks.synapses import Synapse
from learners.streams import Streams
from specs.networks.cnn import CnnSpec
from specs.networks.ltc import LtcSpec
from specs.networks.mlp import MlpSpec
from specs.signature import DataSignature
from tests.learners.small_jobs import NETWORKS, SmallJob, small_job

ALL = pytest.mark.parametrize("network", list(NETWORKS))
BACKPROP = {"kind": "backprop"}


def job(network: str, **settings: object) -> SmallJob:
    return small_job(NETWORKS[network], BACKPROP, **settings)  # type: ignore[arg-type]


@ALL
def test_forward_is_the_chain_of_its_stages(network: str) -> None:
    small = job(network)
    net, batch = small.training.network, small.batch
    net.eval()
    activities = net.activities(batch.x, batch.dt, detach=True)
    assert torch.equal(activities[-1], net(batch.x, batch.dt))
    assert [tuple(y.shape[1:]) for y in activities] == net.shapes()
    assert net.names == [f"blocks.{i}" for i in range(len(net.blocks))] + ["readout"]
    for stage in net.stages:
        assert any(True for _ in stage.parameters())


@ALL
def test_detached_activities_end_their_graphs_at_the_blocks(network: str) -> None:
    small = job(network)
    net, batch = small.training.network, small.batch
    with net.passing(0, 0, batch.rows, "batch"):
        detached = net.activities(batch.x, batch.dt, detach=True)[-1]
        attached = net.activities(batch.x, batch.dt, detach=False)[-1]
    first = list(net.stages[0].parameters())
    last = list(net.stages[-1].parameters())
    assert all(g is not None for g in torch.autograd.grad(detached.sum(), last, retain_graph=True))
    if len(net.stages) > 1:
        assert all(g is None for g in torch.autograd.grad(detached.sum(), first, allow_unused=True))
        assert all(g is not None for g in torch.autograd.grad(attached.sum(), first))


@ALL
def test_a_plain_block_activates_its_drive(network: str) -> None:
    net = job(network).training.network.eval()
    plain = 0
    for stage, shape in zip(net.stages, [net.input_shape, *net.shapes()], strict=False):
        if isinstance(stage, PlainBlock):
            plain += 1
            x = torch.randn(4, *shape, dtype=torch.float64)
            z = stage.drive(x)
            assert torch.equal(stage.activate(z), stage(x)[0])
            assert z.shape == stage(x)[0].shape
            assert len([m for m in stage.modules() if isinstance(m, Synapse)]) == 1
    assert plain > 0


@pytest.mark.parametrize("network", [name for name, spec in NETWORKS.items() if spec["kind"] in ("ltc", "cfc")])
def test_a_recurrent_block_is_its_step_over_time(network: str) -> None:
    small = job(network)
    block, x, dt = small.training.network.stages[0], small.batch.x, small.batch.dt
    assert isinstance(block, RecurrentBlock) and dt is not None
    block.eval()
    whole, after = block(x, None, dt)
    state, outputs = block.initial(len(x)), []
    for t in range(x.shape[1]):
        y, state = block.step(x[:, t], state, dt[:, t])  # type: ignore[assignment]
        outputs.append(y)
    torch.testing.assert_close(torch.stack(outputs, 1), whole, rtol=1e-12, atol=1e-14)
    for a, b in zip(state, after, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)
    # Times matter: other times, another answer.
    assert not torch.allclose(block(x, None, 2 * dt)[0], whole)


# PyTorch's own formulas for forward mode are scripted, which it warns of itself.
@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")
@ALL
def test_forward_mode_differentiation_works(network: str) -> None:
    small = job(network)
    net, batch = small.training.network, small.batch
    parameters = list(net.parameters())
    tangents = [torch.randn_like(p) for p in parameters]

    with net.passing(0, 0, batch.rows, "batch"):
        gradients = torch.autograd.grad(small.training.task.loss(net(batch.x, batch.dt), batch.y), parameters)
        with forward_ad.dual_level():
            duals = {
                name: forward_ad.make_dual(p.detach(), tangent)
                for (name, p), tangent in zip(net.named_parameters(), tangents, strict=True)
            }
            scores = torch.func.functional_call(net, duals, (batch.x, batch.dt))
            slope = forward_ad.unpack_dual(small.training.task.loss(scores, batch.y)).tangent
    expected = sum((g * t).sum() for g, t in zip(gradients, tangents, strict=True))
    torch.testing.assert_close(slope, expected, rtol=1e-9, atol=1e-12)


@ALL
def test_a_rule_that_does_what_synapses_do_changes_nothing(network: str) -> None:
    small = job(network)
    net, batch = small.training.network.eval(), small.batch
    before = net(batch.x, batch.dt)
    seen: list[Synapse] = []

    def same(synapse: Synapse, x: Tensor) -> Tensor:
        seen.append(synapse)
        return synapse.operate(x, synapse.weight, synapse.bias)

    with net.synapses(same):
        torch.testing.assert_close(net(batch.x, batch.dt), before, rtol=1e-12, atol=1e-14)
    assert set(seen) == {module for module in net.modules() if isinstance(module, Synapse)}
    with net.synapses(lambda synapse, x: 2 * same(synapse, x)):
        assert not torch.allclose(net(batch.x, batch.dt), before)
    assert torch.equal(net(batch.x, batch.dt), before)


@ALL
def test_a_synapse_correlates_what_went_in_with_an_error(network: str) -> None:
    small = job(network)
    net, batch = small.training.network, small.batch
    seen: list[tuple[Synapse, Tensor, Tensor]] = []

    def watched(synapse: Synapse, x: Tensor) -> Tensor:
        y = synapse.operate(x, synapse.weight, synapse.bias)
        seen.append((synapse, x, y))
        return y

    with net.passing(0, 0, batch.rows, "batch"), net.synapses(watched):
        loss = small.training.task.loss(net(batch.x, batch.dt), batch.y)
        errors = torch.autograd.grad(loss, [y for _, _, y in seen], retain_graph=True)
    found: dict[Tensor, Tensor] = {}
    for (synapse, x, _), error in zip(seen, errors, strict=True):
        own = [synapse.weight] if synapse.bias is None else [synapse.weight, synapse.bias]
        for parameter, gradient in zip(own, synapse.correlate(x.detach(), error), strict=True):
            found[parameter] = found.get(parameter, torch.zeros_like(parameter)) + gradient
    for parameter, gradient in zip(found, torch.autograd.grad(loss, list(found)), strict=True):
        torch.testing.assert_close(found[parameter], gradient, rtol=1e-10, atol=1e-13)


def test_segments_are_views_with_names_of_the_whole() -> None:
    small = job("mlp batch dropout")
    net, batch = small.training.network, small.batch
    low, high = net.segment(0, 1), net.segment(1, 3)
    assert (low.names, high.names) == (["blocks.0"], ["blocks.1", "readout"])
    assert low.readout is None and high.readout is net.readout
    assert low.scope is net.scope
    with net.passing(0, 0, batch.rows, "batch"):
        assert torch.equal(high(low(batch.x)), net(batch.x))
    assert high.input_shape == (7,)


def test_copies_have_weights_of_their_own_and_the_same_scope() -> None:
    net = job("mlp batch dropout").training.network
    first, second = net.copies(2, Streams(3))
    assert first.scope is net.scope
    assert not torch.equal(first.stages[0].synapse.weight, second.stages[0].synapse.weight)  # type: ignore[union-attr,arg-type]
    again, _ = net.copies(2, Streams(3))
    assert torch.equal(first.stages[0].synapse.weight, again.stages[0].synapse.weight)  # type: ignore[union-attr,arg-type]


def test_masks_follow_rows_and_repeat_for_stacked_passes() -> None:
    net = build_network(MlpSpec(hidden=(50,), dropout=0.5), vector(4, rows=6), Streams(0))
    x = torch.randn(6, 4)
    with net.passing(3, 0, (0, 6, 6), "batch"):
        whole = net(x)
        assert torch.equal(net(torch.cat([x, x])), torch.cat([whole, whole]))
        assert torch.equal(net(x), whole)
    with net.passing(3, 1, (2, 6, 6), "batch"):
        torch.testing.assert_close(net(x[2:]), whole[2:])
    with net.passing(4, 0, (0, 6, 6), "batch"):
        assert not torch.allclose(net(x), whole)
    with pytest.raises(RuntimeError, match="masks belong to a pass"):
        net(x)


def test_statistics_move_at_the_first_pass_of_a_part_only() -> None:
    net = build_network(MlpSpec(hidden=(5,), norm="batch"), vector(4, rows=6), Streams(0))
    norm = next(module for module in net.modules() if isinstance(module, BatchNorm))
    x, before = torch.randn(6, 4), norm.running_mean.clone()
    with net.passing(0, 0, (0, 6, 6), "batch"):
        net(x)
        assert torch.equal(norm.running_mean, before)
    with net.passing(0, 0, (0, 6, 6), "update"):
        net(x)
        moved = norm.running_mean.clone()
        net(x)
    assert not torch.equal(moved, before)
    assert torch.equal(norm.running_mean, moved)
    torchs = torch.nn.BatchNorm1d(5)
    torchs(net.stages[0].drive(x))  # type: ignore[operator]
    torch.testing.assert_close(norm.running_mean, torchs.running_mean)
    torch.testing.assert_close(norm.running_var, torchs.running_var)


def test_images_too_small_for_the_pooling_do_not_fit() -> None:
    signature = DataSignature(task="classification", input_shape=(1, 8, 8), outputs=2, rows_train=4)
    with pytest.raises(DoesNotFit, match="after block 3"):
        build_network(CnnSpec(channels=(2, 2, 2, 2)), signature, Streams(0))
    with pytest.raises(DoesNotFit, match="ltc reads sequences"):
        build_network(LtcSpec(), signature, Streams(0))


@pytest.mark.parametrize(("mode", "groups"), [("sqrt", [3, 3, 3]), ("every_k", [4, 4, 1]), ("none", None)])
def test_checkpointing_groups_cover_all_blocks(mode: str, groups: list[int] | None) -> None:
    net = build_network(
        MlpSpec(hidden=(4,) * 9),
        vector(4),
        Streams(0),
        activation_checkpointing=mode,
        every_k=4,  # type: ignore[arg-type]
    )
    planned = net._checkpointed
    assert (None if planned is None else [len(group) for group in planned]) == groups


def test_checkpointing_saves_fewer_activations() -> None:
    saved = {}
    for mode in ("none", "sqrt"):
        net = build_network(
            MlpSpec(hidden=(8,) * 16),
            vector(8),
            Streams(0),
            activation_checkpointing=mode,  # type: ignore[arg-type]
        )
        total = 0

        def count(tensor: Tensor) -> Tensor:
            nonlocal total
            total += tensor.numel() * (not isinstance(tensor, torch.nn.Parameter))
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            net(torch.randn(32, 8))
        saved[mode] = total
    assert saved["sqrt"] < 0.5 * saved["none"]


def vector(width: int, rows: int = 4) -> DataSignature:
    return DataSignature(task="classification", input_shape=(width,), outputs=3, rows_train=rows)
