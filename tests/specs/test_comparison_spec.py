"""What a comparison takes at the door, and what it plans to run."""

import json
from itertools import product
from typing import Any

import pytest
from pydantic import ValidationError

from specs.comparison_plan import plan, runs
from specs.comparison_trials import is_known, with_settings, with_trials
from specs.comparisons import KINDS, ComparisonSpec
from specs.job import JobSpec
from specs.limits import Limits

BASE: dict[str, Any] = {
    "dataset": {"kind": "builtin", "name": "digits"},
    "network": {"kind": "mlp", "hidden": [16, 16]},
    "learners": ["mono_forward"],
}
BOUNDED: dict[str, Any] = {"kind": "mlp", "hidden": [16, 16], "activation": "sigmoid"}
CONTROLS = {"readout_only", "backprop_auxiliary_heads", "backprop_checkpointing", "backprop_accumulation"}


def compared(**changes: Any) -> ComparisonSpec:
    return ComparisonSpec.model_validate_json(json.dumps({**BASE, **changes}), context={"limits": Limits()})


def names(spec: ComparisonSpec) -> list[str]:
    return [arm["name"] for arm in plan(spec)["arms"]]


def refusal(**changes: Any) -> Any:
    with pytest.raises(ValidationError) as refused:
        compared(**changes)
    return refused.value.errors(include_url=False)[0]


def test_controls_are_always_in_and_the_reference_comes_first() -> None:
    found = names(compared())
    assert found[0] == "backprop"
    assert set(found) == {"backprop", "mono_forward"} | CONTROLS


def test_listed_control_comes_once() -> None:
    assert len(names(compared(learners=["backprop", "readout_only", "mono_forward"]))) == 2 + len(CONTROLS)


def test_learner_of_the_same_kind_with_other_settings_is_an_arm_of_its_own() -> None:
    sgd = {"name": "plain sgd", "learner": {"kind": "backprop"}, "optimizer": {"kind": "sgd", "lr": 0.1}}
    found = names(compared(learners=[{"kind": "mono_forward", "detach": False}, "mono_forward", sgd]))
    assert {"mono_forward", "mono_forward_2", "plain sgd"} <= set(found)


def test_kind_alone_takes_the_optimizer_of_its_example() -> None:
    arm = next(arm for arm in plan(compared(learners=["forward_forward"]))["arms"] if arm["name"] == "forward_forward")
    assert (arm["job"]["optimizer"]["kind"], arm["job"]["optimizer"]["lr"]) == ("adam", 0.002)


def test_arms_differ_in_nothing_but_learner_optimizer_and_their_control() -> None:
    arms = plan(compared())["arms"]
    for arm in arms[1:]:
        job, reference = arm["job"], arms[0]["job"]
        changed = {name for name in job if job[name] != reference[name]}
        assert changed <= ({"learner", "optimizer"} if arm["tuned_as"] is None else {"training"}), arm["name"]


def test_every_learner_is_searched_as_far_around_what_was_posted_and_all_of_it_are_jobs() -> None:
    made = plan(compared(learners=["mono_forward", "equilibrium_propagation"], network=BOUNDED, tuning={"trials": 6}))
    for arm in made["arms"]:
        if arm["tuned_as"] is not None:
            assert (arm["space"], arm["trials"]) == ([], [])
            continue
        assert arm["trials"] == [{}], "the first trial is as posted"
        rate = arm["space"][0]
        posted = arm["job"]["optimizer"]["lr"]
        assert (rate["pointer"], rate["posted"], rate["log"]) == ("/optimizer/lr", posted, True)
        assert (rate["low"], rate["high"]) == pytest.approx((posted / 10, posted * 10), rel=1e-3)
        for corner in product(*[(axis["low"], axis["high"]) for axis in arm["space"]]):
            settings = {axis["pointer"]: bound for axis, bound in zip(arm["space"], corner, strict=True)}
            JobSpec.model_validate_json(json.dumps(with_settings(arm["job"], settings)))


def test_bound_that_no_job_may_have_gives_way_to_what_was_posted() -> None:
    strong = {"kind": "equilibrium_propagation", "nudging_strength": 5.0}
    made = plan(compared(learners=[strong], network=BOUNDED))
    nudge = next(axis for arm in made["arms"] for axis in arm["space"] if axis["pointer"].endswith("nudging_strength"))
    assert (nudge["low"], nudge["high"], nudge["posted"]) == (1.5, 5.0, 5.0)


def test_trials_are_added_once_and_only_in_their_turn() -> None:
    made = plan(compared(tuning={"trials": 3}))
    more = with_trials(made, {"backprop": (1, {"/optimizer/lr": 0.5}), "mono_forward": (2, {"/optimizer/lr": 0.5})})
    trials = {arm["name"]: arm["trials"] for arm in more["arms"]}
    assert trials["backprop"] == [{}, {"/optimizer/lr": 0.5}]
    assert trials["mono_forward"] == [{}]
    again = with_trials(more, {"backprop": (1, {"/optimizer/lr": 0.7})})
    assert again == more
    assert is_known(more, stage="tuning", arm="backprop", trial=1)
    assert not is_known(more, stage="tuning", arm="backprop", trial=2)


def test_plan_is_a_function_of_the_spec() -> None:
    assert plan(compared()) == plan(compared())


def test_resolved_spec_is_accepted_again_and_plans_the_same() -> None:
    spec = compared(learners="all", seeds=3)
    again = ComparisonSpec.model_validate_json(json.dumps(spec.resolved()))
    assert again == spec
    assert plan(again) == plan(spec)


def test_hybrid_is_the_same_arm_by_its_name_and_among_all() -> None:
    named, among = (
        next(arm for arm in plan(compared(learners=learners))["arms"] if arm["name"] == "hybrid")
        for learners in (["hybrid"], "all")
    )
    assert named == among


def test_all_leaves_out_by_name_what_does_not_fit_and_runs_the_rest() -> None:
    made = plan(compared(learners="all", network={"kind": "mlp", "hidden": []}))
    assert {"mono_forward", "forward_forward"} <= {left["name"] for left in made["left_out"]}
    assert all(left["reason"] for left in made["left_out"])
    kinds = {arm["job"]["learner"]["kind"] for arm in made["arms"]} | {left["name"] for left in made["left_out"]}
    assert set(KINDS) <= kinds


def test_named_learner_that_does_not_fit_is_refused_with_its_place() -> None:
    error = refusal(learners=["backprop", "mono_forward"], network={"kind": "mlp", "hidden": []})
    assert "/learners/1" in error["ctx"]["reason"]


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"learners": []}, "/learners"),
        ({"training": {"seed": 3}}, "/training/seed"),
        ({"training": {"evaluate_test": False}}, "/training/evaluate_test"),
        ({"seeds": [1, 1]}, "/seeds"),
        ({"learners": ["mono_forward", "mezo", {"kind": "mono_forward"}]}, "/learners/2"),
        ({"learners": ["backprop", "backprop"]}, "/learners/1"),
        ({"learners": [{"name": "a", "learner": {"kind": kind}} for kind in ("mezo", "mono_forward")]}, "/learners/1"),
        ({"tuning": {"seeds": [4]}}, "/tuning/seeds"),
        ({"dataset": {"kind": "builtin", "name": "digits", "split": {"test": 0.0}}}, "/dataset/split/test"),
        ({"dataset": {"kind": "builtin", "name": "digits", "split": {"validation": 0.0}}}, "/dataset/split/validation"),
        ({"learners": "all", "seeds": 100, "tuning": {"trials": 200, "seeds": [1000, 1001, 1002, 1003]}}, "/seeds"),
    ],
)
def test_comparison_that_would_not_be_fair_is_refused(changes: dict[str, Any], pointer: str) -> None:
    assert refusal(**changes)["ctx"]["pointer"] == pointer


def test_runs_are_all_arms_by_all_seeds_once_in_an_order_that_interleaves_arms() -> None:
    spec = compared(seeds=4, tuning={"trials": 3, "seeds": [90, 91]})
    made = plan(spec)
    final = list(runs(made, spec.resolved(), "final"))
    assert len(set(final)) == len(final) == 4 * len(made["arms"])
    orders = {tuple(run.arm for run in final if run.seed == seed) for seed in range(4)}
    assert len(orders) > 1
    tuning = list(runs(made, spec.resolved(), "tuning"))
    assert len(set(tuning)) == len(tuning) == 2 * 3 * sum(arm["tuned_as"] is None for arm in made["arms"])
    assert {run.seed for run in tuning}.isdisjoint(run.seed for run in final)


def test_untuned_comparison_has_no_trials() -> None:
    assert all(arm["trials"] == [] for arm in plan(compared(tuning=None))["arms"])


def test_ladder_climbs_from_backprop_to_local() -> None:
    found = names(compared(learners=[], template="ladder"))
    assert {"backprop", "backprop_auxiliary_heads", "local_without_detach", "local"} <= set(found)


def test_jobs_timed_by_a_clock_run_one_at_a_time() -> None:
    budget = {"budget": {"kind": "seconds", "value": 2}}
    assert plan(compared(training=budget))["one_at_a_time"] is True
    assert plan(compared())["one_at_a_time"] is False


def test_memory_by_depth_is_every_learner_at_every_depth_for_a_few_steps() -> None:
    spec = compared(template="memory_by_depth", depths=[2, 4, 8], seeds=1, tuning=None)
    made = plan(ComparisonSpec.model_validate_json(json.dumps({**BASE, "template": "memory_by_depth"})))
    assert len(made["arms"]) == 3 * 4
    by_name = {arm["name"]: arm["job"] for arm in plan(spec)["arms"]}
    assert set(by_name) == {
        f"{name} {depth}" for name in ("backprop", "mono_forward", "backprop_checkpointing") for depth in (2, 4, 8)
    }
    assert by_name["mono_forward 8"]["network"]["hidden"] == [16] * 8
    assert made["arms"][0]["job"]["training"]["budget"] == {"kind": "steps", "value": 2}
    assert made["power"] == {}


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"tuning": {"trials": 2}}, "/tuning"),
        ({"seeds": 2}, "/seeds"),
        ({"network": {"kind": "mlp", "hidden": []}}, "/network"),
    ],
)
def test_memory_by_depth_of_what_has_no_depth_or_of_seeds_is_refused(changes: dict[str, Any], pointer: str) -> None:
    assert refusal(template="memory_by_depth", **changes)["ctx"]["pointer"] == pointer
