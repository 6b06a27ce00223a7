"""Verdicts of jobs that are trained in this process: what the rules see, and what the worker is told."""

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

from running import EVERYTHING_MEASURED, NOTHING_MEASURED, Listener, attempt, last_checkpoint, train

from specs.reports import Verdict
from specs.verdict_kinds import VERDICT_KINDS, root_causes_first
from specs.verdicts import Evidence, Finding, replacing
from worker.diagnostics.verdicts.history import KEPT, Track
from worker.diagnostics.verdicts.judge import all_rules, fits

DIGITS = {"kind": "builtin", "name": "digits"}
DEEP_SIGMOID = {"kind": "mlp", "hidden": [16] * 8, "activation": "sigmoid"}


def job(**sections: Any) -> dict[str, Any]:
    made = {
        "dataset": DIGITS,
        "network": {"kind": "mlp", "hidden": [16, 16]},
        "learner": {"kind": "backprop"},
        "optimizer": {"kind": "sgd", "lr": 0.05},
        "training": {"budget": {"kind": "steps", "value": 30}},
        "diagnostics": EVERYTHING_MEASURED,
    }
    return {**made, **sections}


def verdicts(link: Listener) -> dict[tuple[str, str | None], Finding]:
    """The newest word on each code and layer."""
    return {(report.finding.code, report.finding.layer): report.finding for report in link.of(Verdict)}


def test_healthy_job_has_no_verdict(tmp_path: Path) -> None:
    assert verdicts(train(job(optimizer={"kind": "adam", "lr": 0.01}), tmp_path).link) == {}


def test_far_too_high_rate_is_named_with_its_layer_and_a_rate_that_fits(tmp_path: Path) -> None:
    trained = train(job(optimizer={"kind": "adam", "lr": 1.0}), tmp_path)
    (finding,) = [finding for (code, _), finding in verdicts(trained.link).items() if code == "lr_too_high"]
    assert finding.layer in trained.attempt.loop.course.training.network.names
    assert finding.first_step <= 5
    assert finding.evidence.quantity == "update_ratio"
    assert finding.evidence.value is not None and finding.evidence.value > 1
    (operation,) = finding.remedies[0].patch
    assert (operation["op"], operation["path"]) == ("replace", "/optimizer/lr")
    assert 1e-4 < operation["value"] < 0.01
    assert fits(finding.remedies[0], trained.attempt.order.spec)


def test_vanishing_is_named_where_the_signal_crosses_layers_and_left_to_others_where_it_does_not(
    tmp_path: Path,
) -> None:
    trained = train(job(network=DEEP_SIGMOID), tmp_path)
    finding = verdicts(trained.link)["vanishing", "blocks.0"]
    assert finding.evidence.comparison == "below"
    assert finding.last_step == 30
    assert [operation["path"] for operation in finding.remedies[0].patch] == ["/network/activation", "/network/init"]
    greedy = {"kind": "mono_forward", "schedule": "greedy", "steps_per_block": 5}
    in_turn = train(job(network=DEEP_SIGMOID, learner=greedy), tmp_path)
    assert in_turn.result.diagnostics["not_judged"]["vanishing"] == "blocks_learn_in_turn"
    assert ("vanishing", "blocks.0") not in verdicts(in_turn.link)


def test_job_that_is_not_measured_is_not_judged(tmp_path: Path) -> None:
    trained = train(job(optimizer={"kind": "adam", "lr": 1.0}, diagnostics=NOTHING_MEASURED), tmp_path)
    assert trained.link.of(Verdict) == []


def test_findings_do_not_depend_on_when_points_are_sent(tmp_path: Path) -> None:
    fields = job(network=DEEP_SIGMOID, optimizer={"kind": "adam", "lr": 1.0})
    whole = verdicts(train(fields, tmp_path).link)
    link = Listener()
    piecewise = attempt(fields, tmp_path, link=link)
    loop = piecewise.loop
    one_step = loop._one_step

    def step_and_send() -> None:
        one_step()
        loop.flush()

    loop._one_step = step_and_send  # type: ignore[method-assign]
    piecewise.run()
    assert verdicts(link) == whole != {}
    assert len(link.of(Verdict)) > len(whole)


def test_resumed_job_is_judged_by_what_its_first_attempt_saw(tmp_path: Path) -> None:
    """Checkpoints stand after every step; the second attempt goes on from the fourth."""
    fields = job(network=DEEP_SIGMOID, training={"budget": {"kind": "steps", "value": 12}})
    link = Listener()
    first = attempt(fields, tmp_path, link=link)
    loop = first.loop
    one_step = loop._one_step

    def step_and_save() -> None:
        one_step()
        if loop.step == 4:
            loop.save()

    loop._one_step = step_and_save  # type: ignore[method-assign]
    first.run()
    again = Listener()
    resumed = attempt(fields, tmp_path, link=again, resume=last_checkpoint(link))
    history = resumed.loop.course.judge._history
    track = history.track("grad_norm", "blocks.0")
    assert track is not None and (track.count, track.first and track.first[0]) == (4, 1)
    # What judging may cost is a share of training since then, not of all training before it.
    assert 0 < resumed.loop.course.judge._training_s <= resumed.loop.course.bill.training.seconds
    resumed.run()
    told = verdicts(again)["vanishing", "blocks.0"]
    assert told == verdicts(link)["vanishing", "blocks.0"]
    assert (told.first_step, told.last_step) == (1, 12)


def test_every_declared_verdict_has_a_rule_where_its_kind_says_so() -> None:
    judged = [kind.code for kind in VERDICT_KINDS if kind.family is not None]
    assert [rule.code for rule in all_rules()] == judged
    assert all(rule.needs for rule in all_rules())


def finding(code: str, first: int, last: int) -> Finding:
    evidence = Evidence(quantity="x", value=1.0)
    return Finding.model_validate(
        {"code": code, "severity": "error", "first_step": first, "last_step": last, "evidence": evidence}
    )


def test_root_cause_comes_first_and_explains_nothing_that_began_before_it() -> None:
    vanishing, rate = finding("vanishing", 5, 40), finding("lr_too_high", 5, 5)
    assert root_causes_first([vanishing, rate]) == [(rate, None), (vanishing, "lr_too_high")]
    earlier = finding("vanishing", 1, 40)
    assert root_causes_first([earlier, rate]) == [(rate, None), (earlier, None)]


def test_cause_that_is_seen_at_rare_probes_explains_what_had_not_ended() -> None:
    dead, vanishing = finding("dead_units", 30, 60), finding("vanishing", 10, 60)
    assert root_causes_first([vanishing, dead]) == [(dead, None), (vanishing, "dead_units")]
    ended = finding("vanishing", 10, 20)
    assert root_causes_first([ended, dead]) == [(dead, None), (ended, None)]


def test_verdicts_that_explain_each_other_in_a_ring_still_have_a_root() -> None:
    ring = [finding(code, 1, 9) for code in ("threshold_off", "exploding", "lr_too_high")]
    assert [cause is None for _, cause in root_causes_first(ring)] == [True, False, False]


def test_remedy_that_would_not_be_admitted_is_not_offered(tmp_path: Path) -> None:
    spec = attempt(job(), tmp_path).order.spec
    assert fits(replacing("", {"/optimizer/lr": 0.01}), spec)
    assert not fits(replacing("", {"/optimizer/lr": -1.0}), spec)
    assert not fits(replacing("", {"/network/no_such_field": 1}), spec)
    assert not fits(replacing("", {"/optimizer/lr": 0.05}), spec), "it changes nothing"


def test_track_shows_the_past_alone_and_keeps_its_extremes_for_ever() -> None:
    track = Track("loss", None)
    values = [float(number) for number in range(1000)]
    values[3] = math.nan
    track.extend(range(1, 1001), values)
    track.advance(4)
    assert track.steps() == [1, 2, 3, 4]
    assert math.isnan(track.latest)
    assert track.highest == (3, 2.0)
    track.advance(1000)
    track.forget()
    assert len(track) == KEPT
    assert track.first == track.lowest == (1, 0.0)
    assert track.highest == (1000, 999.0)
    assert track.values(2) == [998.0, 999.0]
    trail = track.trail()
    assert trail[0] == (1, 0.0) and len(trail) <= 128
    assert {later[0] - earlier[0] for earlier, later in pairwise(trail)} == {8}


def test_evidence_holds_no_number_that_json_lacks() -> None:
    evidence = Evidence(quantity="loss", value=math.inf, numbers={"norm": math.nan})
    assert evidence.value is None and evidence.numbers == {"norm": None}


def test_no_two_verdicts_explain_each_other() -> None:
    explained = {(cause.code, code) for cause in VERDICT_KINDS for code in cause.explains}
    assert not explained & {(code, cause) for cause, code in explained}
