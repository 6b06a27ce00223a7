"""Activation checkpointing holds the fewest bytes that groups can hold, by its law, and changes no bit."""

import itertools
import math
from collections.abc import Iterator, Sequence
from random import SystemRandom

import pytest
import torch
from torch import Tensor

from learners.build import build_network
from learners.networks.block_network import BlockNetwork
from learners.networks.checkpointing import Checkpointing, Stored, held, lightest, plan
from learners.streams import Streams
from specs.architecture import Architecture
from specs.networks.cnn import CnnSpec
from specs.networks.mlp import MlpSpec
from specs.networks.resnet import ResnetSpec
from specs.signature import DataSignature
from tests.learners.small_jobs import NETWORKS, small_job
from worker.meters.live import LiveBytes

random = SystemRandom()
ROWS = 512


def residual_mlp(blocks: int) -> MlpSpec:
    return MlpSpec(hidden=(16,) * blocks, residual=True, norm="layer", activation="gelu")


def built(spec: Architecture, shape: tuple[int, ...], mode: Checkpointing) -> BlockNetwork:
    signature = DataSignature(task="classification", input_shape=shape, outputs=3, rows_train=ROWS)
    return build_network(spec, signature, Streams(0), activation_checkpointing=mode)


def most_held(network: BlockNetwork, x: Tensor) -> int:
    """Bytes alive at once in a forward and a backward pass: activations, recomputed ones, gradients."""
    network.train()
    with network.passing(0, 0, (0, len(x), len(x)), "batch"), LiveBytes() as live:
        torch.autograd.grad(network(x).square().mean(), list(network.parameters()))
    return live.peak


def activations_held(network: BlockNetwork, x: Tensor) -> int:
    """Bytes alive at once in a pass that goes back to the input alone."""
    network.train()
    x = x.detach().requires_grad_()
    with network.passing(0, 0, (0, len(x), len(x)), "batch"), LiveBytes() as live:
        torch.autograd.grad(network(x).square().mean(), [x])
    return live.peak


def fraction(spec: Architecture, shape: tuple[int, ...], mode: Checkpointing) -> float:
    x = torch.randn(ROWS, *shape)
    return most_held(built(spec, shape, mode), x) / most_held(built(spec, shape, "none"), x)


def test_a_residual_mlp_of_32_blocks_holds_a_fifth() -> None:
    found = {mode: fraction(residual_mlp(32), (16,), mode) for mode in ("sqrt", "auto")}  # type: ignore[arg-type]
    assert found["auto"] <= 0.20 < found["sqrt"]


def test_a_hundred_plain_blocks_hold_less_than_a_fifth() -> None:
    """Equal groups hold 2 / sqrt(100) and a bit, those that shrink sqrt(2 / 100); weights' gradients do not count."""
    spec, shares = MlpSpec(hidden=(16,) * 100), {}
    for mode in ("sqrt", "auto"):
        x = torch.randn(ROWS, 16)
        kept, plain = (activations_held(built(spec, (16,), m), x) for m in (mode, "none"))  # type: ignore[arg-type]
        shares[mode] = kept / plain
    assert shares["sqrt"] == pytest.approx(0.2, abs=0.012)
    assert shares["auto"] <= 0.17


def test_the_fraction_falls_with_the_root_of_the_depth() -> None:
    shallow, deep = (fraction(residual_mlp(blocks), (16,), "auto") for blocks in (16, 64))
    assert 1.8 < shallow / deep < 2.2


def test_equal_blocks_are_grouped_by_the_law() -> None:
    for _ in range(20):
        blocks, ratio = random.randint(32, 200), random.uniform(2, 8)
        stored = [Stored(input=1.0, beside=ratio - 1, stores_input=True)] * blocks
        groups = lightest(stored)
        assert groups is not None
        # Groups are whole blocks, so the law holds to a block.
        assert abs(held(stored, groups) - math.sqrt(2 * blocks * ratio)) <= ratio
        lengths = [len(group) for group in groups]
        assert lengths == sorted(lengths, reverse=True) or max(lengths) <= 2
        equal = min(held(stored, plan("every_k", blocks, size) or []) for size in range(1, blocks))
        assert abs(equal - 2 * math.sqrt(blocks * ratio)) <= ratio
        assert held(stored, groups) < 0.85 * equal


def every_grouping(blocks: int) -> Iterator[list[range]]:
    for cuts in itertools.product((False, True), repeat=blocks - 1):
        edges = [0, *(index + 1 for index, cut in enumerate(cuts) if cut), blocks]
        yield [range(low, high) for low, high in itertools.pairwise(edges)]


def test_no_grouping_of_unequal_blocks_holds_less() -> None:
    for _ in range(20):
        blocks = random.randint(2, 9)
        stored = [Stored(random.uniform(0.1, 3), random.uniform(0, 6), random.random() < 0.7) for _ in range(blocks)]
        best = min(held(stored, groups) for groups in every_grouping(blocks))
        without = sum(block.all for block in stored)
        groups = lightest(stored)
        if best >= without * (1 - 1e-6):
            assert groups is None or held(stored, groups) < without
        else:
            assert groups is not None
            assert [index for group in groups for index in group] == list(range(blocks))
            assert held(stored, groups) == pytest.approx(best, rel=1e-6)


@pytest.mark.parametrize(
    ("spec", "shape"),
    [
        (residual_mlp(24), (16,)),
        (MlpSpec(hidden=(32,) * 24, norm="batch", dropout=0.25), (32,)),
        (ResnetSpec(channels=(4, 8), blocks_per_stage=6), (3, 8, 8)),
        (CnnSpec(channels=(4, 4, 8, 8), pooling="none", norm="layer", hidden=(12, 12)), (3, 8, 8)),
    ],
)
def test_auto_holds_no_more_than_groups_of_equal_length(spec: Architecture, shape: tuple[int, ...]) -> None:
    network, x = built(spec, shape, "auto"), torch.randn(ROWS, *shape)
    auto = most_held(network, x)
    others = []
    for size in range(1, 9):
        network.checkpoint_activations("every_k", every_k=size)
        others.append(most_held(network, x))
    assert auto <= 1.03 * min(others)
    assert max(others) > 1.3 * auto


def test_nothing_is_recomputed_where_it_would_save_nothing() -> None:
    assert lightest([Stored(1.0, 0.0, True)] * 2) is None
    assert lightest([Stored(1.0, 9.0, True)]) is None
    assert built(MlpSpec(hidden=(8,)), (8,), "auto")._checkpointed is None


def test_measuring_draws_nothing_and_moves_no_statistics() -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    spec = MlpSpec(hidden=(8,) * 12, norm="batch", dropout=0.5)
    plain, measured = (built(spec, (8,), mode) for mode in ("none", "auto"))  # type: ignore[arg-type]
    assert torch.equal(torch.random.get_rng_state(), before)
    assert measured._checkpointed is not None
    states: Sequence[dict[str, Tensor]] = [network.state_dict() for network in (plain, measured)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert plain.training == measured.training
    assert all(p.grad is None for p in measured.parameters())


@pytest.mark.parametrize("network", [name for name, fields in NETWORKS.items() if fields["kind"] != "mlp"])
def test_auto_changes_no_bit(network: str) -> None:
    fields, rule = NETWORKS[network], {"kind": "backprop"}
    plain, chosen = small_job(fields, rule), small_job(fields, rule, checkpointing="auto")
    plain.run(2)
    chosen.run(2)
    ours, theirs = plain.weights(), chosen.weights()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
