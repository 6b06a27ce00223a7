"""Rules one after another: what goes on over the boundary, what begins anew, and where an interruption may fall."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from specs.job import JobSpec
from specs.reports import Checkpoint
from tests.worker_training.running import DIGITS, NOTHING_MEASURED, Trained, job, last_checkpoint, train
from tests.worker_training.test_bits import _stop_after as stop_after

BACKPROP = {"kind": "backprop"}
MONO = {"kind": "mono_forward"}
WHOLE_NETWORK = {"blocks": "0-"}
BRIEF = {"kind": "seconds", "value": 0.6}


def phase(learner: dict[str, Any], until: tuple[str, float] | None = None, **fields: Any) -> dict[str, Any]:
    end = None if until is None else {"kind": until[0], "value": until[1]}
    return {"until": end, "segments": [{**WHOLE_NETWORK, "learner": learner}], **fields}


def phases(*stretches: dict[str, Any], network: str = "mlp", **sections: Any) -> dict[str, Any]:
    return job("hybrid", network, learner={"kind": "hybrid", "phases": list(stretches)}, **sections)


def began(trained: Trained) -> list[int]:
    """The first measured step of each phase."""
    series = trained.series["phase", None, "train"]
    return [min(step for step, number in series.items() if number == wanted) for wanted in sorted(set(series.values()))]


@pytest.mark.parametrize("until", [("steps", 3), ("epochs", 1)])
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_backprop_after_backprop_is_backprop(until: tuple[str, float], optimizer: str, tmp_path: Path) -> None:
    update = {"kind": optimizer, "lr": 0.01, "schedule": {"kind": "cosine"}}
    update |= {"momentum": 0.9} if optimizer == "sgd" else {"clip_grad_norm": 1.0}
    one = train(job("backprop", "mlp", optimizer=update), tmp_path)
    two = train(phases(phase(BACKPROP, until), phase(BACKPROP), optimizer=update), tmp_path)
    assert began(two) == [1, 4 if until[0] == "steps" else 6]
    assert two.result.weights_sha256 == one.result.weights_sha256
    assert two.result.receipt["loss_trace_sha256"] == one.result.receipt["loss_trace_sha256"]
    assert two.result.cost["flops"] == one.result.cost["flops"]


def test_mono_forward_keeps_its_heads_and_their_momentum_in_a_second_phase(tmp_path: Path) -> None:
    one = train(job("mono_forward", "mlp"), tmp_path)
    two = train(phases(phase(MONO, ("steps", 3)), phase(MONO)), tmp_path)
    assert two.result.weights_sha256 == one.result.weights_sha256


def test_another_rule_begins_with_a_fresh_optimizer(tmp_path: Path) -> None:
    """The negative control of the two tests above: without the state the weights are others."""
    one = train(job("backprop", "mlp"), tmp_path)
    fresh = phase(BACKPROP, optimizer={"kind": "rmsprop", "lr": 0.01})
    two = train(phases(phase(BACKPROP, ("steps", 3)), fresh), tmp_path)
    assert two.result.weights_sha256 != one.result.weights_sha256
    supervised = {"kind": "backprop", "auxiliary_heads": {"weight": 0.3}}
    other = train(phases(phase(MONO, ("steps", 3)), phase(supervised)), tmp_path)
    state = other.attempt.loop.course.training.optimizers.state_tensors()
    steps = {name: int(tensor) for name, tensor in state.items() if name.endswith("step")}
    assert set(steps.values()) == {4}
    assert any(name.startswith("own.") for name in steps)


@pytest.mark.parametrize("step", [2, 3, 5])
@pytest.mark.parametrize("network", ["mlp", "mlp batch dropout", "cnn batch"])
def test_resume_in_any_phase_equals_no_interruption(step: int, network: str, tmp_path: Path) -> None:
    last = {
        "segments": [
            {"blocks": "0", "learner": MONO},
            {"blocks": "1-", "learner": BACKPROP, "handover": "none"},
        ]
    }
    fields = phases(phase(MONO, ("steps", 3)), phase(BACKPROP, ("steps", 2)), last, network=network)
    undisturbed = train(fields, tmp_path)
    assert began(undisturbed) == [1, 4, 6]
    stopped = stop_after(fields, step, tmp_path)
    resumed = train(fields, tmp_path, resume=last_checkpoint(stopped))
    assert resumed.result.weights_sha256 == undisturbed.result.weights_sha256
    assert resumed.result.metrics == undisturbed.result.metrics
    assert resumed.result.receipt["loss_trace_sha256"] == undisturbed.result.receipt["loss_trace_sha256"]
    assert resumed.result.cost["flops"] == undisturbed.result.cost["flops"]


def test_checkpoint_after_every_step_resumes_to_the_same_bits(tmp_path: Path) -> None:
    fields = phases(phase(MONO, ("steps", 3)), phase(BACKPROP), training={"checkpoint_every_s": 1e-9})
    undisturbed = train(fields, tmp_path)
    for report in undisturbed.link.of(Checkpoint):
        link = type(undisturbed.link)()
        link.reports = [report]
        assert train(fields, tmp_path, resume=last_checkpoint(link)).result.weights_sha256 == (
            undisturbed.result.weights_sha256
        )


def test_measuring_changes_no_bit_in_any_phase(tmp_path: Path) -> None:
    stretches = phase(MONO, ("steps", 3)), phase(BACKPROP)
    measured, plain = (
        train(phases(*stretches, **extra), tmp_path) for extra in ({}, {"diagnostics": NOTHING_MEASURED})
    )
    assert measured.result.weights_sha256 == plain.result.weights_sha256
    cosine = measured.series["alignment_cosine", "blocks.0", "train"]
    assert all(cosine[step] < 0.999 for step in (1, 2, 3))
    assert all(cosine[step] == pytest.approx(1, abs=1e-5) for step in (4, 5, 6, 7))
    assert set(measured.series["alignment_expected", "blocks.0", "train"]) == {4, 5, 6, 7}


def test_rule_with_an_optimizer_of_its_own_fine_tunes_what_another_has_trained(tmp_path: Path) -> None:
    """MeZO after backprop, on plain SGD, which the job's Adam would not be."""
    tuned = phase({"kind": "mezo"}, optimizer={"kind": "sgd", "lr": 1e-4})
    budget = {"budget": {"kind": "steps", "value": 70}}
    trained = train(phases(phase(BACKPROP, ("steps", 60)), tuned, training=budget), tmp_path)
    assert trained.attempt.loop.course.training.rule.kind == "mezo"  # type: ignore[attr-defined]
    losses = trained.series["loss", None, "train"]
    assert losses[61] < 0.8 * losses[1] and losses[69] < 0.8 * losses[1]
    with pytest.raises(ValidationError, match="steps with sgd alone"):
        JobSpec.model_validate(phases(phase(BACKPROP, ("steps", 5)), phase({"kind": "mezo"})))


def test_backprop_goes_on_with_a_network_that_was_widened_for_labels(tmp_path: Path) -> None:
    fields = phases(phase({"kind": "forward_forward"}, ("epochs", 1)), phase(BACKPROP), training={"epochs": 3})
    fields["training"].pop("budget")
    trained = train(fields, tmp_path)
    losses = trained.series["loss", None, "train"]
    assert losses[15] < losses[6]
    assert trained.result.metrics["test"]["accuracy"] is not None


def test_phase_ends_on_a_plateau_of_its_own_evaluations(tmp_path: Path) -> None:
    still = phase({"kind": "readout_only"}, ("plateau", 2), optimizer={"kind": "sgd", "lr": 1e-9})
    fields = phases(still, phase(BACKPROP), dataset=DIGITS, training={"epochs": 6, "batch_size": 80})
    fields["training"].pop("budget")
    trained = train(fields, tmp_path)
    (first, second) = began(trained)
    evaluations = trained.series["loss", None, "validation"]
    assert first == 1 and second in (11, 16, 21)
    assert evaluations[5] >= evaluations[second - 1] - 1e-3
    resumed = train(fields, tmp_path, resume=last_checkpoint(stop_after(fields, second - 3, tmp_path)))
    assert resumed.result.weights_sha256 == trained.result.weights_sha256


def test_phase_ends_by_the_clock(tmp_path: Path) -> None:
    fields = phases(phase(MONO, ("seconds", 0.05)), phase(BACKPROP), training={"budget": BRIEF})
    first, second = began(train(fields, tmp_path))
    assert first == 1 and second > 1


def test_phase_that_would_never_begin_is_refused() -> None:
    with pytest.raises(ValidationError, match="would begin after step 7"):
        JobSpec.model_validate(phases(phase(MONO, ("steps", 7)), phase(BACKPROP)))
    unwatched = {**DIGITS, "split": {"validation": 0, "test": 0.5}}
    with pytest.raises(ValidationError, match="watches the validation split"):
        JobSpec.model_validate(phases(phase(MONO, ("plateau", 2)), phase(BACKPROP), dataset=unwatched))


def test_first_rule_of_a_mixture_reports_and_both_write(tmp_path: Path) -> None:
    mix = [{"weight": 0.5, "learner": BACKPROP}, {"weight": 0.5, "learner": {"kind": "forward_forward"}}]
    trained = train(job("hybrid", "mlp", learner={"kind": "hybrid", "mix": mix}), tmp_path)
    assert ("part_1_goodness_positive", None, "train") in trained.series
    assert ("grad_norm", "own.parts.1.readout", "train") in trained.series
    assert trained.series["alignment_cosine", "readout", "train"][1] == pytest.approx(1, abs=1e-6)
    assert trained.series["alignment_cosine", "blocks.0", "train"][1] < 0.999


def test_cancelled_after_the_boundary_and_taken_up_in_another_attempt_it_ends_the_same(tmp_path: Path) -> None:
    """The rules change between the two stops: each attempt is given the last one's checkpoint."""
    fields = phases(phase({"kind": "forward_forward"}, ("steps", 3)), phase(MONO, ("steps", 2)), phase(BACKPROP))
    undisturbed = train(fields, tmp_path)
    first = last_checkpoint(stop_after(fields, 2, tmp_path))
    second = last_checkpoint(stop_after(fields, 4, tmp_path, resume=first))
    third = last_checkpoint(stop_after(fields, 6, tmp_path, resume=second))
    assert train(fields, tmp_path, resume=third).result.weights_sha256 == undisturbed.result.weights_sha256
