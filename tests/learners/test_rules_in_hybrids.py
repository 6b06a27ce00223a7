"""Every rule as a piece of a hybrid: in a mixture, below and above another rule, on every family of networks."""

from typing import Any

import pytest
import torch

from specs.compatibility import kind_of, refusals
from specs.learners import LEARNER_SPECS
from specs.networks import NETWORK_SPECS
from specs.rule import Rule
from tests.learners.small_jobs import NETWORKS, learner_spec, network_spec, small_job

BACKPROP = {"kind": "backprop"}
RULES = [rule for rule in LEARNER_SPECS if not rule.holds_rules and not rule.in_place]


def _deepest(kind: str) -> str:
    names = [name for name, fields in NETWORKS.items() if fields["kind"] == kind]
    return max(names, key=lambda name: network_spec(NETWORKS[name]).depth)


FAMILIES = ["mlp", *(_deepest(kind_of(network)) for network in NETWORK_SPECS)]


def chain(*pieces: tuple[str, dict[str, Any], str]) -> dict[str, Any]:
    made = [{"blocks": blocks, "learner": learner, "handover": handover} for blocks, learner, handover in pieces]
    return {"kind": "hybrid", "phases": [{"segments": made}]}


def hybrids(rule: type[Rule]) -> dict[str, dict[str, Any]]:
    """All ways in which the rule may stand beside backprop."""
    own = {"kind": kind_of(rule)}
    found = {
        "mixed": {"kind": "hybrid", "mix": [{"weight": 0.5, "learner": own}, {"weight": 0.5, "learner": BACKPROP}]},
        "below": chain(("0", own, "none"), ("1-", BACKPROP, "none")),
    }
    if rule().follows_error():
        found["below an error"] = chain(("0", own, "none"), ("1-", BACKPROP, "error"))
        found["below a target"] = chain(("0", own, "none"), ("1-", BACKPROP, "target"))
    if not rule().extra_inputs("classification", 2):
        found["above"] = chain(("0", BACKPROP, "none"), ("1-", own, "error" if rule.hands_error else "none"))
    return found


def networks(hybrid: dict[str, Any]) -> list[str]:
    """The families that it trains; where it is choosy, the deepest network that it does."""
    rule = learner_spec(hybrid)
    fitting = [name for name in NETWORKS if not refusals(rule, network_spec(NETWORKS[name]))]
    deepest = sorted(fitting, key=lambda name: -network_spec(NETWORKS[name]).depth)[:1]
    return [name for name in dict.fromkeys(FAMILIES) if name in fitting] or deepest


CASES = [
    (kind_of(rule), place, network)
    for rule in RULES
    for place, fields in hybrids(rule).items()
    for network in networks(fields)
]


def test_no_rule_is_left_out() -> None:
    assert {kind for kind, _, _ in CASES} == {kind_of(rule) for rule in RULES}


@pytest.mark.parametrize(("kind", "place", "network"), CASES)
def test_rule_trains_as_a_piece_of_a_hybrid(kind: str, place: str, network: str) -> None:
    rule = next(rule for rule in RULES if kind_of(rule) == kind)
    small = small_job(NETWORKS[network], hybrids(rule)[place])
    before = small.weights()
    reports = small.run(3)
    assert all(torch.isfinite(report.loss) for report in reports)
    assert [name for name, weight in small.weights().items() if torch.equal(weight, before[name])] == []
    assert all(torch.isfinite(weight).all() for weight in small.weights().values())
    small.training.eval()
    x, dt, predict = small.batch.x, small.batch.dt, small.training.learner.predict
    with torch.no_grad():
        whole = predict(x, dt)
        pieces = [predict(x[i : i + 3], None if dt is None else dt[i : i + 3]) for i in range(0, len(x), 3)]
    torch.testing.assert_close(torch.cat(pieces), whole, rtol=1e-11, atol=1e-12)
