"""What training keeps by depth: flat for rules that free each block's graph, linear for those that keep them all."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from benchmarks.saved_bytes import SavedBytes
from learners.networks.checkpointing import Checkpointing
from specs.compatibility import refusals
from tests.learners.small_jobs import LEARNERS, SmallJob, learner_spec, network_spec, small_job
from worker.meters.live import LiveBytes

ROWS, WIDTH = 64, 32
LAYER_BYTES = ROWS * WIDTH * 4
SHALLOW, DEEP = 4, 32


def job(learner: dict[str, Any], depth: int, *, checkpointing: Checkpointing = "none", rows: int = ROWS) -> SmallJob:
    small = small_job(
        {"kind": "mlp", "hidden": [WIDTH] * depth},
        learner,
        rows=rows,
        dtype=torch.float32,
        checkpointing=checkpointing,
    )
    small.run(1)  # afterwards optimizers have their state
    return small


def saved(learner: dict[str, Any], depth: int) -> tuple[int, int]:
    """Most bytes saved at once: until the last block is committed, and in the whole update."""
    small = job(learner, depth)
    weights = [parameter for group in small.training.groups for parameter in group.parameters]
    context, until_blocks = small.training.context, 0
    commit = context.commit
    with SavedBytes(without=weights) as meter:

        def noting(*groups: str) -> None:
            nonlocal until_blocks
            commit(*groups)
            if any(name.startswith("blocks.") for name in groups):
                until_blocks = meter.peak

        context.commit = noting  # type: ignore[method-assign]
        small.run(1)
    assert meter.held == 0
    return until_blocks or meter.peak, meter.peak


def _flat(learner: str) -> bool:
    rule = learner_spec(LEARNERS[learner])
    deep = network_spec({"kind": "mlp", "hidden": [WIDTH] * DEEP})
    return rule.memory_class == "one_block" and not rule.crosses_blocks and not refusals(rule, deep)


@pytest.mark.parametrize("learner", [name for name in LEARNERS if _flat(name)])
def test_a_rule_of_one_block_keeps_as_much_at_32_layers_as_at_4(learner: str) -> None:
    (shallow, _), (deep, whole) = (saved(LEARNERS[learner], depth) for depth in (SHALLOW, DEEP))
    assert shallow > 0
    assert 0.9 < deep / shallow < 1.1
    assert learner.startswith("forward_forward") or whole == deep


def test_forward_forwards_readout_grows_by_the_outputs_that_it_reads() -> None:
    (_, shallow), (_, deep) = (saved({"kind": "forward_forward"}, depth) for depth in (8, DEEP))
    assert deep - shallow == (DEEP - 8) * LAYER_BYTES


@pytest.mark.parametrize(
    "learner",
    [
        {"kind": "backprop"},
        {"kind": "mono_forward", "detach": False},
        {"kind": "local_loss", "detach": False},
        {"kind": "noprop"},
    ],
    ids=str,
)
def test_a_graph_across_blocks_keeps_every_layer(learner: dict[str, Any]) -> None:
    four, eight, sixteen, most = (saved(learner, depth)[1] for depth in (SHALLOW, 8, 16, DEEP))
    per_layer = (eight - four) / 4
    assert per_layer >= LAYER_BYTES
    assert sixteen - eight == 8 * per_layer
    assert most - sixteen == 16 * per_layer


def test_backprop_keeps_one_output_a_layer() -> None:
    four, most = (saved({"kind": "backprop"}, depth)[1] for depth in (SHALLOW, DEEP))
    assert most - four == (DEEP - SHALLOW) * LAYER_BYTES


@pytest.mark.parametrize("learner", [name for name in LEARNERS if learner_spec(LEARNERS[name]).uses_backward == "none"])
def test_a_rule_without_a_backward_pass_saves_nothing(learner: str) -> None:
    assert saved(LEARNERS[learner], SHALLOW)[1] == 0


@pytest.mark.parametrize("depth", [SHALLOW, DEEP])
def test_mezo_needs_the_memory_of_inference(depth: int) -> None:
    small = job({"kind": "mezo"}, depth)
    assert _peak_of_a_step(small) <= 1.05 * _peak_of_inference(small)
    # The control: a stored direction is one more copy of the weights.
    trained = job({"kind": "backprop"}, depth)
    assert _peak_of_a_step(trained) > 1.5 * _peak_of_inference(trained)


def test_checkpointing_keeps_two_square_roots_of_the_layers() -> None:
    depths = (16, 36, 64)
    shares = [_checkpointed_share(depth) for depth in depths]
    for depth, share in zip(depths, shares, strict=True):
        assert share == pytest.approx(2 / depth**0.5, rel=0.06)
    assert sorted(shares, reverse=True) == shares


def _checkpointed_share(depth: int) -> float:
    """Peak of a checkpointed step by that of a plain one; rows enough for outputs to outweigh weights."""
    modes: Sequence[Checkpointing] = ("sqrt", "none")
    kept, plain = (_peak_of_a_step(job({"kind": "backprop"}, depth, checkpointing=mode, rows=2048)) for mode in modes)
    return kept / plain


def _peak_of_a_step(small: SmallJob) -> int:
    with LiveBytes() as meter:
        small.run(1)
    return meter.peak


def _peak_of_inference(small: SmallJob) -> int:
    small.training.eval()
    with LiveBytes() as meter, torch.no_grad():
        small.training.learner.predict(small.batch.x)
    return meter.peak
