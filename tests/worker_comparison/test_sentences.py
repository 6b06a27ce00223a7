"""What may be said of an arm: by its decision, its costs and what the controls reach."""

from typing import Any

import pytest

from worker.comparison import sentences

UNTESTED: dict[str, Any] = {"seconds": None, "flops": None, "joules": None, "memory": None, "inference": None}


def arm(decision: str, *, p_not_worse: float = 1.0, above_floor: bool = True, **ratios: float) -> dict[str, Any]:
    return {
        "name": "rule",
        "role": "learner",
        "decision": decision,
        "difference": {"mean": -1.2, "interval": [-1.9, -0.5]},
        "adjusted": {"p_not_worse": p_not_worse},
        "ratios": {**UNTESTED, **ratios},
        "diverged": 0,
        "runs": 5,
        "above_floor": above_floor,
    }


def control(*, seconds: float, memory: float) -> dict[str, Any]:
    return {"ratios": {**UNTESTED, "seconds": seconds, "memory": memory}}


@pytest.mark.parametrize(
    ("decision", "ratios", "worth"),
    [
        ("better", {"seconds": 9.0}, "worth_it"),
        ("worse", {"seconds": 0.1, "memory": 0.1}, "not_worth_it"),
        ("undecided", {"seconds": 0.1}, "undecided"),
        ("not_worse", {"seconds": 0.5}, "worth_it"),
        ("equivalent", {"joules": 0.5, "seconds": 1.0}, "worth_it"),
        ("equivalent", {"seconds": 1.0, "memory": 1.0}, "not_worth_it"),
        ("equivalent", {"seconds": 0.95, "memory": 0.95}, "not_worth_it"),
        ("not_worse", {"seconds": 2.0, "memory": 0.4}, "worth_it"),
    ],
)
def test_worth_follows_from_decision_and_savings(decision: str, ratios: dict[str, float], worth: str) -> None:
    said = sentences.of_arm(arm(decision, **ratios), data="digits", unit="points", controls={})
    assert said.worth == worth


def test_saved_memory_that_a_control_reaches_in_less_time_is_not_worth_it() -> None:
    rule = arm("not_worse", seconds=2.1, memory=0.4)
    near = {"backprop_accumulation": control(seconds=1.1, memory=0.4)}
    said = sentences.of_arm(rule, data="digits", unit="points", controls=near)
    assert said == sentences.Said(
        "not_worth_it",
        "On digits, rule is not worth it: −1.20 points (−1.90 to −0.50), 2.1 × seconds, 0.4 × memory, backprop with "
        "accumulation reaches that memory at 1.1 × seconds.",
    )
    far = {"backprop_accumulation": control(seconds=3.0, memory=0.4)}
    assert sentences.of_arm(rule, data="digits", unit="points", controls=far).worth == "worth_it"


def test_real_loss_within_the_margin_is_weighed_as_not_worse_and_said() -> None:
    said = sentences.of_arm(arm("worse", p_not_worse=0.01, seconds=0.5), data="d", unit="points", controls={})
    assert said.worth == "worth_it"
    assert "within the margin" in said.sentence


def test_floor_and_divergence_are_said() -> None:
    rule = {**arm("worse", above_floor=False), "diverged": 2}
    said = sentences.of_arm(rule, data="d", unit="points", controls={})
    assert "2 of 5 runs diverged" in said.sentence
    assert "frozen random trunk" in said.sentence
    rule["difference"] = None
    assert sentences.of_arm(rule, data="d", unit="points", controls={}).worth == "undecided"


def test_sentence_of_all_names_each_learner_or_says_what_would_decide() -> None:
    def learner(name: str, worth: str) -> dict[str, Any]:
        return {"name": name, "role": "learner", "worth": worth, "sentence": f"On d, {name}."}

    power = {"seeds_for_80_percent": 12}
    mixed = [learner("a", "worth_it"), learner("b", "not_worth_it"), learner("c", "undecided")]
    told = sentences.whole(mixed, data="d", tuned=False, power=power)
    assert told == "On d, against backpropagation: worth it: a; not worth it: b; undecided: c. Untuned."
    assert sentences.whole(mixed[:1], data="d", tuned=True, power=power) == "On d, a."
    open_ = [learner("a", "undecided"), learner("b", "undecided")]
    assert "undecided; 12 seeds" in sentences.whole(open_, data="d", tuned=True, power=power)
    assert "controls" in sentences.whole([], data="d", tuned=True, power=power)
