"""What may be said of an arm: by its decision, its costs and what the controls reach."""

from typing import Any

import pytest

from worker.comparison import sentences

UNTESTED: dict[str, Any] = {"seconds": None, "flops": None, "joules": None, "memory": None, "inference": None}


def timed(ratio: float | None, *, open_for: str | None = None) -> dict[str, Any]:
    """A clock's ratio with a narrow interval; ``open_for``: why it decides nothing."""
    if ratio is None:
        return {"ratio": None, "interval": None, "verdict": "open", "reason": "not measured"}
    verdict = "open" if open_for or 0.9 < ratio < 1.1 else "saves" if ratio < 1 else "costs"
    return {"ratio": ratio, "interval": [0.99 * ratio, 1.01 * ratio], "verdict": verdict, "reason": open_for}


def arm(
    decision: str, *, p_not_worse: float = 1.0, above_floor: bool = True, open_for: str | None = None, **ratios: float
) -> dict[str, Any]:
    return {
        "name": "rule",
        "role": "learner",
        "decision": decision,
        "difference": {"mean": -1.2, "interval": [-1.9, -0.5], "without_spread": False},
        "adjusted": {"p_not_worse": p_not_worse},
        "ratios": {**UNTESTED, **ratios},
        "timed": {name: timed(ratios.get(name), open_for=open_for) for name in ("seconds", "joules", "inference")},
        "memory_of": "stored activations",
        "against": {},
        "same_arithmetic": False,
        "error": None,
        "diverged": 0,
        "runs": 5,
        "above_floor": above_floor,
    }


def control(*, seconds: float, memory: float) -> dict[str, Any]:
    return {"ratios": {**UNTESTED, "seconds": seconds, "memory": memory}}


def said_of(rule: dict[str, Any], **options: Any) -> sentences.Said:
    return sentences.of_arm(rule, data="digits", unit="points", **{"controls": {}, **options})


@pytest.mark.parametrize(
    ("decision", "ratios", "worth"),
    [
        ("better", {"seconds": 9.0}, "worth_it"),
        ("worse", {"seconds": 0.1, "memory": 0.1}, "not_worth_it"),
        ("undecided", {"seconds": 0.1}, "undecided"),
        ("not_worse", {"seconds": 0.5}, "worth_it"),
        ("equivalent", {"joules": 0.5, "seconds": 1.0}, "worth_it"),
        ("equivalent", {"seconds": 1.0, "memory": 1.0}, "neither"),
        ("equivalent", {"seconds": 0.95, "memory": 0.95}, "neither"),
        ("equivalent", {"seconds": 1.3, "memory": 1.0}, "not_worth_it"),
        ("equivalent", {"seconds": 1.0, "memory": 1.3}, "not_worth_it"),
        ("not_worse", {"seconds": 2.0, "memory": 0.4}, "worth_it"),
    ],
)
def test_worth_follows_from_decision_and_savings(decision: str, ratios: dict[str, float], worth: str) -> None:
    assert said_of(arm(decision, **ratios)).worth == worth


@pytest.mark.parametrize("ratio", [0.5, 2.0])
def test_time_that_decides_nothing_is_no_win_and_no_loss_and_says_why(ratio: float) -> None:
    said = said_of(arm("equivalent", seconds=ratio, open_for="runs of under a second"))
    assert said.worth == "neither"
    assert "no win and no loss: runs of under a second" in said.sentence
    assert said_of(arm("equivalent", seconds=ratio)).worth != "neither"


def test_saved_memory_that_a_control_reaches_in_less_time_is_not_worth_it() -> None:
    rule = arm("not_worse", seconds=2.1, memory=0.4)
    near = {"backprop_accumulation": control(seconds=1.1, memory=0.4)}
    rule["against"] = {"backprop_accumulation": timed(1.9)}
    assert said_of(rule, controls=near) == sentences.Said(
        "not_worth_it",
        "On digits, rule is not worth it: −1.20 points (−1.90 to −0.50 uncorrected), 2.1 × seconds (2.1 to 2.1), "
        "0.4 × stored activations, backprop with accumulation reaches that memory at 1.1 × seconds.",
    )
    rule["against"] = {"backprop_accumulation": timed(0.7)}
    assert said_of(rule, controls=near).worth == "worth_it"
    noisy = arm("not_worse", seconds=2.1, memory=0.4, open_for="the interval covers 1")
    noisy["against"] = {"backprop_accumulation": timed(1.9, open_for="the interval covers 1")}
    assert said_of(noisy, controls=near).worth == "neither"


def test_same_arithmetic_is_said_and_no_clock_makes_it_worth_it() -> None:
    rule = {**arm("equivalent", seconds=0.5), "same_arithmetic": True}
    said = said_of(rule)
    assert said.worth == "neither"
    assert "same arithmetic as backpropagation" in said.sentence


def test_reference_that_did_not_learn_decides_nothing() -> None:
    for decision in ("better", "worse", "equivalent"):
        said = said_of(arm(decision, seconds=0.5), learned=False)
        assert said.worth == "undecided"
        assert "the reference did not learn" in said.sentence
    common = {"role": "learner", "worth": "undecided", "sentence": "", "diverged": 0}
    learners = [{"name": name, **common} for name in "ab"]
    told = sentences.whole(learners, data="d", tuned=True, power={}, learned=False)
    assert "nothing is decided; undecided: a, b." in told


def test_arm_whose_jobs_all_failed_says_so_with_kind_and_message() -> None:
    rule = {**arm("undecided"), "difference": None, "error": {"kind": "out_of_memory", "message": "No room."}}
    said = said_of(rule)
    assert said.worth == "no_result"
    assert "its jobs failed (out_of_memory: No room.)" in said.sentence


def test_difference_without_spread_shows_no_interval() -> None:
    rule = arm("equivalent", seconds=0.5)
    rule["difference"] = {"mean": 0.0, "interval": [0.0, 0.0], "without_spread": True}
    assert "+0.00 points on every seed" in said_of(rule).sentence


def test_real_loss_within_the_margin_is_weighed_as_not_worse_and_said() -> None:
    said = sentences.of_arm(arm("worse", p_not_worse=0.01, seconds=0.5), data="d", unit="points", controls={})
    assert said.worth == "worth_it"
    assert "within the margin" in said.sentence


def test_floor_and_divergence_are_said() -> None:
    rule = {**arm("worse", above_floor=False), "diverged": 2}
    said = sentences.of_arm(rule, data="d", unit="points", controls={})
    assert "it diverged on 2 of 5 seeds" in said.sentence
    assert "frozen random trunk" in said.sentence
    assert "frozen" not in said_of({**rule, "decision": "undecided"}).sentence
    rule["difference"] = None
    assert sentences.of_arm(rule, data="d", unit="points", controls={}).worth == "undecided"


def test_sentence_of_all_names_each_learner_or_says_what_would_decide() -> None:
    def learner(name: str, worth: str) -> dict[str, Any]:
        return {"name": name, "role": "learner", "worth": worth, "sentence": f"On d, {name}.", "diverged": 0, "runs": 5}

    power = {"seeds_for_80_percent": 12}
    mixed = [learner("a", "worth_it"), learner("b", "not_worth_it"), learner("c", "undecided")]
    told = sentences.whole(mixed, data="d", tuned=False, power=power)
    assert told == "On d, against backpropagation: worth it: a; not worth it: b; undecided: c. Untuned."
    assert sentences.whole(mixed[:1], data="d", tuned=True, power=power) == "On d, a."
    open_ = [learner("a", "undecided"), learner("b", "undecided")]
    assert "undecided: a, b; 12 seeds" in sentences.whole(open_, data="d", tuned=True, power=power)
    assert "controls" in sentences.whole([], data="d", tuned=True, power=power)
