"""The rules of verdicts by themselves: they never fail, and say why they do not judge a job."""

import json
import math
import random
from pathlib import Path
from typing import Any

import pytest

from specs.verdicts import Evidence
from tests.worker_training.running import attempt, job
from worker.attempt import case
from worker.diagnostics.verdicts.history import Case, History, Track
from worker.diagnostics.verdicts.judge import all_rules

PAIRS = [
    ("backprop", "mlp"),
    ("mezo", "mlp"),
    ("equilibrium_propagation", "mlp bounded"),
    ("predictive_coding", "mlp"),
    ("forward_forward", "mlp"),
    ("soft_hebb", "mlp"),
    ("evolution_strategies", "mlp"),
]
NUMBERS = [0.0, math.nan, math.inf, -math.inf, 1e-30, 1e30, -1.0, 1.0, 0.5, 1e-8, 3.0]
STEPS = list(range(1, 21))


def judged_case(fields: dict[str, Any], folder: Path) -> Case:
    made = attempt(fields, folder)
    course = made.loop.course
    return case(made.order.spec, made.order.signature, course.training, course.phases.running)


def is_beyond(evidence: Evidence) -> bool:
    """Whether the value is on the side of the threshold where the evidence says that faults are."""
    if evidence.value is None or evidence.threshold is None:
        return True
    value, threshold = evidence.value, evidence.threshold
    return value >= threshold if evidence.comparison == "above" else value <= threshold


@pytest.mark.parametrize(("learner", "network"), PAIRS)
def test_no_rule_fails_whatever_was_measured(learner: str, network: str, tmp_path: Path) -> None:
    subject = judged_case(job(learner, network), tmp_path)
    rules = [rule for rule in all_rules() if rule.unfit(subject) is None]
    draw = random.Random(learner)
    findings = 0
    for _ in range(12):
        history, chosen = History(subject), draw.choices(NUMBERS, k=draw.choice([1, 2, 4]))
        for quantity in sorted({name for rule in rules for name in rule.needs}):
            for layer in (None, *subject.layers):
                count = draw.choice([0, 1, 3, 5, 20])
                history.extend(quantity, layer, "train", STEPS[:count], draw.choices(chosen, k=count))
        history.extend("loss", None, "validation", [5, 10, 15], draw.choices(NUMBERS, k=3))
        for step in STEPS:
            history.advance(step)
            history.share_done = step / len(STEPS)
            found = [finding for rule in rules if (finding := rule.judge(history)) is not None]
            findings += len(found)
            for finding in found:
                json.dumps(finding.model_dump(mode="json"), allow_nan=False)
                assert is_beyond(finding.evidence), finding
    assert findings > 10


def test_evidence_names_the_larger_of_two_limits_on_the_side_that_was_left(tmp_path: Path) -> None:
    history = History(judged_case(job("backprop", "mlp"), tmp_path))
    history.extend("input_mean", None, "train", [1], [-400.0])
    history.extend("input_std", None, "train", [1], [2.0])
    history.extend("loss", None, "train", [1, 2, 3, 4], [2.0, 0.1, 0.1, 0.1])
    history.extend("loss", None, "validation", [1, 2, 3, 4], [1.0, 0.001, 0.5, 0.4])
    history.advance(4)
    rules = [rule for rule in all_rules() if rule.unfit(history.case) is None]
    found = {rule.code: finding.evidence for rule in rules if (finding := rule.judge(history)) is not None}
    scale, overfit = found["input_scale"], found["overfit"]
    assert (scale.value, scale.threshold, scale.comparison) == (-400.0, -6.0, "below")
    assert (overfit.value, overfit.threshold, overfit.comparison) == (0.4, pytest.approx(0.201), "above")


def test_rule_that_does_not_apply_says_why(tmp_path: Path) -> None:
    subject = judged_case(job("backprop", "mlp"), tmp_path)
    reasons = {rule.code: rule.unfit(subject) for rule in all_rules()}
    assert {code: reason for code, reason in reasons.items() if reason is not None} == {
        "signal_below_precision": "takes_no_differences",
        "perturbation_too_large": "perturbs_nothing",
        "threshold_off": "no_goodness",
        "collapsed": "no_competition",
        "not_settled": "no_inference",
    }
    local = judged_case(job("forward_forward", "mlp"), tmp_path)
    assert {rule.code: rule.unfit(local) for rule in all_rules()}["misaligned"] == "own_objective"


def test_history_knows_after_a_checkpoint_which_numbers_were_infinite() -> None:
    track = Track("loss", None)
    track.extend([1, 2, 3, 4], [2.0, math.inf, math.nan, -math.inf])
    track.advance(4)
    again = Track("loss", None)
    again.restore(json.loads(json.dumps(track.state(), allow_nan=False)))
    assert str(again.values()) == "[2.0, inf, nan, -inf]"
    assert (again.lowest, again.highest) == (track.lowest, track.highest) == ((4, -math.inf), (2, math.inf))
