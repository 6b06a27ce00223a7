"""What rules make of histories that are written out: what is enough, what is not judged, which remedies are offered."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from specs.verdicts import Finding
from tests.worker_training.running import attempt, job
from worker.attempt import case
from worker.diagnostics.verdicts.history import Case, History
from worker.diagnostics.verdicts.judge import all_rules

Measured = Mapping[tuple[str, str | None], Sequence[float]]
STUCK = [2.3] * 20


def judged_case(folder: Path, kind: str = "backprop", **changes: Any) -> Case:
    made = attempt({**job(kind, "mlp"), **changes}, folder)
    course = made.loop.course
    return case(made.order.spec, made.order.signature, course.training, course.phases.running)


def said(subject: Case, measured: Measured, code: str) -> Finding | None:
    """What the rule says after the last point; points are one step apart."""
    history = History(subject)
    for (quantity, layer), values in measured.items():
        history.extend(quantity, layer, "train", range(1, len(values) + 1), values)
    history.advance(max(map(len, measured.values())))
    history.share_done = 1.0
    (rule,) = [rule for rule in all_rules() if rule.code == code]
    return None if rule.unfit(subject) is not None else rule.judge(history)


def changes_of(finding: Finding | None) -> list[dict[str, Any]]:
    assert finding is not None
    return [{each["path"]: each["value"] for each in remedy.patch} for remedy in finding.remedies]


def test_wholly_dead_layer_is_named_at_its_first_probe_and_a_mostly_dead_one_at_its_third(tmp_path: Path) -> None:
    subject = judged_case(tmp_path)
    found = said(subject, {("dead_share", "blocks.0"): [0.1, 1.0]}, "dead_units")
    assert found is not None and (found.layer, found.first_step, found.evidence.window) == ("blocks.0", 2, 1)
    assert said(subject, {("dead_share", "blocks.0"): [0.9, 0.9]}, "dead_units") is None
    assert said(subject, {("dead_share", "blocks.0"): [0.9, 0.9, 0.9]}, "dead_units") is not None


def test_units_that_died_are_offered_a_lower_rate_first_and_those_that_never_lived_another_start(
    tmp_path: Path,
) -> None:
    subject = judged_case(tmp_path, optimizer={"kind": "sgd", "lr": 5.0})
    died = {("dead_share", "blocks.0"): [0.1, 1.0], ("update_ratio", "readout"): [0.5, 0.0]}
    assert changes_of(said(subject, died, "dead_units"))[0] == {"/optimizer/lr": 0.2}
    unborn = {("dead_share", "blocks.0"): [1.0], ("update_ratio", "readout"): [0.01]}
    assert changes_of(said(subject, unborn, "dead_units"))[0] == {"/network/activation": "leaky_relu"}
    zeros = judged_case(tmp_path, network={"kind": "mlp", "hidden": [8], "init": "zeros"})
    assert changes_of(said(zeros, unborn, "dead_units"))[0] == {"/network/init": "default"}


@pytest.mark.parametrize("code", ["vanishing", "plateau"])
@pytest.mark.parametrize(("activation", "offered"), [("relu", False), ("gelu", False), ("sigmoid", True)])
def test_relu_is_offered_only_where_slopes_shrink_the_signal(
    code: str, activation: str, offered: bool, tmp_path: Path
) -> None:
    subject = judged_case(tmp_path, network={"kind": "mlp", "hidden": [8, 8], "activation": activation})
    faint = {("grad_norm", "blocks.0"): [0.0] * 3, ("grad_norm", "readout"): [1.0] * 3}
    remedies = changes_of(said(subject, {**faint, ("loss", None): STUCK}, code))
    assert any("/network/activation" in change for change in remedies) is offered


@pytest.mark.parametrize(
    ("ratios", "rates"),
    [([1e-3], [1.0]), ([0.1], []), ([0.5, 1e-6], [0.004]), ([], [])],
    ids=["small steps", "large steps", "steps that were far too large", "unknown steps"],
)
def test_plateau_is_offered_a_larger_rate_only_where_steps_are_small(
    ratios: list[float], rates: list[float], tmp_path: Path
) -> None:
    subject = judged_case(tmp_path, optimizer={"kind": "sgd", "lr": 0.1})
    found = said(subject, {("loss", None): STUCK, ("update_ratio", "readout"): ratios}, "plateau")
    assert [change["/optimizer/lr"] for change in changes_of(found) if "/optimizer/lr" in change] == rates


def test_step_from_zero_weights_is_no_large_step(tmp_path: Path) -> None:
    subject = judged_case(tmp_path)
    steps = {("update_ratio", "readout"): [0.5] * 3}
    found = said(subject, {**steps, ("weight_norm", "readout"): [1.0] * 3}, "lr_too_high")
    assert found is not None and found.layer == "readout"
    assert said(subject, {**steps, ("weight_norm", "readout"): [0.0, 1.0, 1.0]}, "lr_too_high") is None


def test_size_of_an_estimate_that_is_mostly_noise_is_not_judged(tmp_path: Path) -> None:
    large = {("grad_norm", "blocks.0"): [1e6], ("grad_norm", "readout"): [1.0]}
    assert said(judged_case(tmp_path), large, "exploding") is not None
    (rule,) = [rule for rule in all_rules() if rule.code == "exploding"]
    for learner in ("forward_gradient", "mezo", "evolution_strategies"):
        assert rule.unfit(judged_case(tmp_path, learner)) == "estimate_is_mostly_noise"
    many = {"kind": "evolution_strategies", "population_size": 4096}
    small = {"kind": "mlp", "hidden": [2]}
    data = {"kind": "builtin", "name": "wine"}
    assert (
        said(
            judged_case(tmp_path, "evolution_strategies", learner=many, network=small, dataset=data), large, "exploding"
        )
        is not None
    )


def test_direction_of_a_noisy_estimate_is_judged_over_ten_probes(tmp_path: Path) -> None:
    five = {("alignment_cosine", "blocks.0"): [-0.3] * 5}
    ten = {("alignment_cosine", "blocks.0"): [-0.3] * 10}
    assert said(judged_case(tmp_path), five, "misaligned") is not None
    noisy = judged_case(tmp_path, "forward_gradient")
    assert said(noisy, five, "misaligned") is None
    assert said(noisy, ten, "misaligned") is not None
