"""Hybrids of rules that are known: mixtures and segments against the one rule that they add up to."""

from random import SystemRandom
from typing import Any

import pytest
import torch
from torch import Tensor

from specs.compatibility import refusals
from tests.learners.small_jobs import NETWORKS, learner_spec, network_spec, small_job

SEED = SystemRandom().randrange(2**31)
BACKPROP = {"kind": "backprop"}
MLP = {"kind": "mlp", "hidden": [8, 7, 6], "activation": "tanh"}
DEEP = [name for name, fields in NETWORKS.items() if network_spec(fields).depth >= 1]


def mixture(*parts: tuple[float, dict[str, Any]]) -> dict[str, Any]:
    return {"kind": "hybrid", "mix": [{"weight": weight, "learner": learner} for weight, learner in parts]}


def segments(*pieces: tuple[str, dict[str, Any], str]) -> dict[str, Any]:
    made = [{"blocks": blocks, "learner": learner, "handover": handover} for blocks, learner, handover in pieces]
    return {"kind": "hybrid", "phases": [{"segments": made}]}


def gradients(learner: dict[str, Any], network: dict[str, Any] = MLP, **settings: Any) -> dict[str, list[Tensor]]:
    return small_job(network, learner, seed=SEED, rows_seed=SEED + 1, **settings).gradients()


def apart(a: dict[str, list[Tensor]], b: dict[str, list[Tensor]]) -> float:
    """The largest distance of a parameter's gradients, relative to its own norm."""
    assert a.keys() >= b.keys()
    distances = [
        float((x - y).norm() / y.norm().clamp_min(1e-12)) for name in b for x, y in zip(a[name], b[name], strict=True)
    ]
    return max(distances)


def test_three_tenths_and_seven_tenths_of_backprop_are_backprop() -> None:
    exact = gradients(BACKPROP)
    assert apart(gradients(mixture((0.3, BACKPROP), (0.7, BACKPROP))), exact) < 1e-14
    assert apart(gradients(mixture((0.3, BACKPROP), (0.6, BACKPROP))), exact) == pytest.approx(0.1, rel=1e-9)


@pytest.mark.parametrize("rule", [{"kind": "mono_forward"}, {"kind": "forward_forward"}])
def test_all_of_one_rule_and_nothing_of_another_is_the_one(rule: dict[str, Any]) -> None:
    alone = gradients(rule)
    mixed = gradients(mixture((1.0, rule), (0.0, BACKPROP)))
    found = {name.replace("own.parts.0.", "own."): gradient for name, gradient in mixed.items()}
    assert all(torch.equal(x, y) for name in alone for x, y in zip(found[name], alone[name], strict=True))
    assert apart(gradients(mixture((0.5, rule), (0.5, BACKPROP))), {"blocks.0": alone["blocks.0"]}) > 1e-2


@pytest.mark.parametrize("network", DEEP)
def test_backprop_over_backprop_with_its_error_is_backprop(network: str) -> None:
    chained = segments(("0", BACKPROP, "none"), ("1-", BACKPROP, "error"))
    exact, found = gradients(BACKPROP, NETWORKS[network]), gradients(chained, NETWORKS[network])
    assert found.keys() == exact.keys()
    # Bit for bit where the error that is handed down is laid out in memory as it is inside one graph.
    assert apart(found, exact) == 0 if network.startswith("mlp") else apart(found, exact) < 1e-13


def test_every_cut_and_any_number_of_segments_is_backprop() -> None:
    exact = gradients(BACKPROP)
    for blocks in (["0-1", "2"], ["0", "1", "2-"], ["0-2", "readout"], ["0", "1-2", "readout"]):
        pieces = [(each, BACKPROP, "error" if index else "none") for index, each in enumerate(blocks)]
        assert apart(gradients(segments(*pieces)), exact) == 0
        assert apart(gradients(segments(*pieces), micro_batch_size=3), exact) < 1e-14


def test_target_has_the_gradient_of_the_error_where_the_segment_stands() -> None:
    exact = gradients(BACKPROP)
    target = segments(("0", BACKPROP, "none"), ("1-", BACKPROP, "target"))
    assert 0 < apart(gradients(target), exact) < 1e-12
    assert apart(gradients(target, micro_batch_size=3), exact) < 1e-12


def test_nothing_handed_down_is_another_gradient_below_and_the_same_above() -> None:
    exact = gradients(BACKPROP)
    local = gradients(segments(("0-1", BACKPROP, "none"), ("2-", BACKPROP, "none")))
    above = {name: exact[name] for name in ("blocks.2", "readout")}
    assert apart(local, above) == 0
    for name in ("blocks.0", "blocks.1"):
        assert apart(local, {name: exact[name]}) > 1e-2
    assert "own.parts.0.readout" in local


def test_segment_that_is_handed_nothing_is_a_network_of_its_own() -> None:
    """The lower segment is a two-block network under the read-out that it was given."""
    small = small_job(MLP, segments(("0-1", BACKPROP, "none"), ("2-", BACKPROP, "none")), seed=SEED, rows_seed=SEED + 1)
    alone = small_job({**MLP, "hidden": [8, 7]}, BACKPROP, seed=SEED, rows_seed=SEED + 1)
    mine = {group.name: group.parameters for group in small.training.groups}
    with torch.no_grad():
        for group in alone.training.groups:
            name = "own.parts.0.readout" if group.name == "readout" else group.name
            for to, of in zip(group.parameters, mine[name], strict=True):
                to.copy_(of)
    found, expected = small.gradients(), alone.gradients()
    expected["own.parts.0.readout"] = expected.pop("readout")
    assert apart(found, expected) == 0


def test_reference_runs_through_the_boundary() -> None:
    small = small_job(MLP, segments(("0-1", {"kind": "mono_forward"}, "none"), ("2-", BACKPROP, "none")), seed=SEED)
    exact = small_job(MLP, BACKPROP, seed=SEED)
    found, expected = (
        torch.autograd.grad(job.training.learner.reference(job.batch), list(job.training.network.parameters()))  # type: ignore[arg-type]
        for job in (small, exact)
    )
    assert all(torch.equal(x, y) for x, y in zip(found, expected, strict=True))


def test_backprop_over_forward_forward_reads_what_the_blocks_below_put_out() -> None:
    hybrid = segments(("0-1", {"kind": "forward_forward"}, "none"), ("2-", BACKPROP, "none"))
    assert not refusals(learner_spec(hybrid), network_spec(MLP))
    small = small_job(MLP, hybrid, seed=SEED)
    network, x = small.training.network, small.batch.x
    wide = torch.nn.functional.pad(x, (0, network.extra_inputs))
    assert network.extra_inputs == 4
    with torch.no_grad():
        assert torch.equal(small.training.learner.predict(x), network(wide))
    before = small.weights()
    small.run(2)
    assert [name for name, weight in small.weights().items() if torch.equal(weight, before[name])] == []
