"""Hybrids at the door: what is refused, and where the refusal points."""

from typing import Any

import pytest
from pydantic import ValidationError

from specs.compatibility import refusals
from specs.job import JobSpec
from specs.learners.hybrid import HybridSpec
from specs.networks.mlp import MlpSpec

BACKPROP = {"kind": "backprop"}
MONO = {"kind": "mono_forward"}
FORWARD_FORWARD = {"kind": "forward_forward"}
MEZO = {"kind": "mezo"}
READOUT_ONLY = {"kind": "readout_only"}


def segments(*pieces: tuple[str, dict[str, Any], str]) -> dict[str, Any]:
    made = [{"blocks": blocks, "learner": learner, "handover": handover} for blocks, learner, handover in pieces]
    return {"phases": [{"segments": made}]}


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "nothing in it": ({"phases": None, "mix": None}, "phases_or_mix", ""),
    "both": ({"phases": [{"segments": [{"learner": BACKPROP}]}], "mix": [{"learner": BACKPROP}]}, "phases_or_mix", ""),
    "no phase": ({"phases": []}, "no_phase", "/phases"),
    "no segment": ({"phases": [{"segments": []}]}, "no_segment", "/segments"),
    "an empty phase": ({"phases": [{}]}, "segments_or_mix", ""),
    "an endless first phase": (
        {"phases": [{"segments": [{"learner": MONO}]}, {"segments": [{"learner": BACKPROP}]}]},
        "phase_without_end",
        "/phases/0/until",
    ),
    "half an epoch": (
        {"phases": [{"until": {"kind": "epochs", "value": 0.5}, "segments": [{"learner": MONO}]}]},
        "budget_not_whole",
        "/value",
    ),
    "no weight": ({"mix": [{"weight": 0, "learner": BACKPROP}]}, "no_weight", "/mix"),
    "in place in a mixture": ({"mix": [{"learner": MEZO}]}, "in_place", "/mix/0/learner/kind"),
    "in place in a segment": (
        segments(("0", MEZO, "none"), ("1-", BACKPROP, "none")),
        "in_place",
        "/segments/0/learner/kind",
    ),
    "a block twice": (
        segments(("0-1", BACKPROP, "none"), ("1-2", BACKPROP, "none")),
        "blocks_overlap",
        "/segments/1/blocks",
    ),
    "a segment over the top": (
        segments(("0-", BACKPROP, "none"), ("1-", BACKPROP, "none")),
        "blocks_overlap",
        "/segments/1/blocks",
    ),
    "a block left out": (
        segments(("0", BACKPROP, "none"), ("2-", BACKPROP, "none")),
        "blocks_missing",
        "/segments/1/blocks",
    ),
    "the first block left out": (segments(("1-", BACKPROP, "none")), "blocks_missing", "/segments/0/blocks"),
    "a range backwards": (segments(("1-0", BACKPROP, "none")), "blocks_backwards", "/segments/0/blocks"),
    "an error from a rule without one": (
        segments(("0", BACKPROP, "none"), ("1-", MONO, "error")),
        "hands_no_error",
        "/segments/1/handover",
    ),
    "an error to a rule of its own mind": (
        segments(("0", FORWARD_FORWARD, "none"), ("1-", BACKPROP, "target")),
        "follows_no_error",
        "/segments/0/learner/kind",
    ),
    "an error to a read-out that is not there": (
        segments(("0", READOUT_ONLY, "none"), ("1-", BACKPROP, "error")),
        "follows_no_error",
        "/segments/0/learner/kind",
    ),
    "an error below the first segment": (
        segments(("0", BACKPROP, "error"), ("1-", BACKPROP, "none")),
        "nothing_below",
        "/segments/0/handover",
    ),
    "labels in the middle": (
        segments(("0", BACKPROP, "none"), ("1-", FORWARD_FORWARD, "none")),
        "extra_inputs_above",
        "/segments/1/learner/kind",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_hybrid_that_cannot_train_is_refused_where_it_is_wrong(case: str) -> None:
    fields, code, pointer = REFUSED[case]
    with pytest.raises(ValidationError) as caught:
        HybridSpec.model_validate({"kind": "hybrid", **fields})
    (error,) = caught.value.errors()
    assert error["type"] == code
    assert error["ctx"]["pointer"] == pointer


def test_hybrid_in_a_hybrid_is_no_choice() -> None:
    with pytest.raises(ValidationError) as caught:
        HybridSpec.model_validate({"kind": "hybrid", "mix": [{"weight": 1, "learner": {"kind": "hybrid"}}]})
    (error,) = caught.value.errors()
    assert error["type"] == "union_tag_invalid" and error["loc"] == ("mix", 0, "learner")


def job(learner: dict[str, Any], **sections: Any) -> dict[str, Any]:
    return {
        "dataset": {"kind": "builtin", "name": "digits"},
        "network": {"kind": "mlp", "hidden": [8, 8]},
        "learner": {"kind": "hybrid", **learner},
        **sections,
    }


def test_segments_must_be_those_of_the_network() -> None:
    JobSpec.model_validate(job(segments(("0", BACKPROP, "none"), ("1", BACKPROP, "none"))))
    for pieces in (
        [("0", BACKPROP, "none")],
        [("0-2", BACKPROP, "none")],
        [("0", MONO, "none"), ("1-2", MONO, "none")],
    ):
        with pytest.raises(ValidationError, match="each of the network's 2 blocks once"):
            JobSpec.model_validate(job(segments(*pieces)))


def test_segments_of_another_depth_are_told_the_depth() -> None:
    (refused,) = refusals(
        HybridSpec.model_validate({"kind": "hybrid", **segments(("0", BACKPROP, "none"), ("1-2", BACKPROP, "none"))}),
        MlpSpec(hidden=(8, 8)),
    )
    assert refused.pointer == "/learner/phases/0/segments/1/blocks" and "2 blocks" in refused.message
    JobSpec.model_validate({**job({}), **refused.nearest})


def test_hybrid_is_refused_what_any_of_its_rules_is() -> None:
    linear = {"kind": "mlp", "hidden": []}
    (refused,) = refusals(HybridSpec(), MlpSpec(hidden=()))
    assert refused.code == "needs_hidden_block"
    JobSpec.model_validate({**job({}, network=linear), **refused.nearest})
    diabetes = {"kind": "builtin", "name": "diabetes"}
    with pytest.raises(ValidationError) as caught:
        JobSpec.model_validate(job({"mix": [{"learner": BACKPROP}, {"learner": FORWARD_FORWARD}]}, dataset=diabetes))
    assert caught.value.errors()[0]["ctx"]["pointer"] == "/learner/mix/1/learner/kind"


def test_own_optimizer_of_a_phase_is_checked_where_it_stands() -> None:
    stretches = [
        {"until": {"kind": "epochs", "value": 1}, "segments": [{"learner": BACKPROP}]},
        {"optimizer": {"kind": "adam"}, "segments": [{"learner": MEZO}]},
    ]
    with pytest.raises(ValidationError) as caught:
        JobSpec.model_validate(job({"phases": stretches}))
    assert caught.value.errors()[0]["ctx"]["pointer"] == "/learner/phases/1/optimizer/kind"
    stretches[1]["optimizer"] = {"kind": "sgd"}
    JobSpec.model_validate(job({"phases": stretches}))


def test_group_is_known_by_the_rule_that_trains_it() -> None:
    chain = HybridSpec.model_validate(
        {"kind": "hybrid", **segments(("0-1", MONO, "none"), ("2-3", BACKPROP, "none"), ("4-", MONO, "none"))}
    )
    names = ["blocks.0", "blocks.1", "blocks.2", "blocks.3", "blocks.4", "blocks.9", "readout", "own.parts.1.x"]
    assert [chain.trainer_of(name)[0] for name in names] == ["m", "m", "b", "b", "m", "m", "m", "b"]
    assert HybridSpec().trainer_of("blocks.0") == "backprop+mono_forward"
