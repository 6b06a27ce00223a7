"""What happens to a job whose numbers stop being finite."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from specs.reports import Checkpoint, Failure
from tests.worker_training.running import EVERYTHING_MEASURED, NOTHING_MEASURED, Listener, attempt, job, points, train
from worker.finite import DeferredWatch, Diverged
from worker.trainer import finding

HUGE = {"kind": "sgd", "lr": 1e6}


def _diverging(folder: Path, **sections: Any) -> tuple[Diverged, Listener]:
    link = Listener()
    made = attempt(
        job(
            "backprop",
            "mlp",
            optimizer=HUGE,
            network={"kind": "mlp", "hidden": [8, 8], "activation": "identity"},
            **sections,
        ),
        folder,
        link=link,
    )
    with pytest.raises(Diverged) as caught:
        made.run()
    return caught.value, link


@pytest.mark.parametrize("diagnostics", [EVERYTHING_MEASURED, NOTHING_MEASURED])
def test_loss_that_is_not_finite_ends_the_job_with_step_and_layer(tmp_path: Path, diagnostics: dict[str, Any]) -> None:
    length = {"training": {"budget": {"kind": "steps", "value": 500}}}
    error, link = _diverging(tmp_path, diagnostics=diagnostics, **length)
    failure = finding(error, step=None)
    assert (failure.kind, failure.fault) == ("diverged", "user")
    assert 1 < error.step < 500
    assert failure.step == error.step
    assert failure.layer in ("blocks.0", "blocks.1", "readout")
    losses = points(link.reports)["loss", None, "train"]
    assert not math.isfinite(losses[error.step])
    assert all(math.isfinite(value) for step, value in losses.items() if step < error.step)


def test_weights_are_those_before_the_withheld_step(tmp_path: Path) -> None:
    made = attempt(
        job("backprop", "mlp", optimizer=HUGE, training={"budget": {"kind": "steps", "value": 500}}), tmp_path
    )
    with pytest.raises(Diverged):
        made.run()
    weights = made.loop.course.training.network.state_dict().values()
    assert all(bool(torch.isfinite(tensor).all()) for tensor in weights)


def test_nan_in_a_weight_is_traced_to_its_layer(tmp_path: Path) -> None:
    made = attempt(
        job("backprop", "mlp", network={"kind": "mlp", "hidden": [8, 8], "activation": "identity"}), tmp_path
    )
    with torch.no_grad():
        made.loop.course.training.network.stages[1].synapse.weight[0, 0] = math.nan
    with pytest.raises(Diverged) as caught:
        made.run()
    assert (caught.value.step, caught.value.origin.layer, caught.value.origin.tensor) == (1, "blocks.1", "weight")


def test_on_nan_continue_skips_the_step_and_counts_it(tmp_path: Path) -> None:
    fields = job("backprop", "mlp", training={"on_nan": "continue"})
    made = attempt(fields, tmp_path)
    training = made.loop.course.training
    at, x = made.loop.course.batches.at, made.loop.course.batches.rows.x

    def poisoned(step: int) -> Any:
        batch = at(step)
        if step == 2:
            batch.x[0] = math.nan
        return batch

    made.loop.course.batches.at = poisoned  # type: ignore[method-assign]
    result = made.run()
    assert bool(torch.isfinite(x).all())
    assert result.step == 7
    assert result.diagnostics["skipped_steps"] == 1
    assert all(bool(torch.isfinite(tensor).all()) for tensor in training.network.state_dict().values())


def test_gradient_that_is_not_finite_withholds_its_step(tmp_path: Path) -> None:
    """A finite loss with an infinite slope: the square root of nothing."""
    made = attempt(
        job("backprop", "mlp", network={"kind": "mlp", "hidden": [8, 8], "activation": "identity"}), tmp_path
    )
    learner = made.loop.course.training.learner
    objective = learner._objective

    def with_infinite_slope(x: Any, batch: Any) -> Any:
        loss, _ = objective(x, batch)
        root = (learner.network.stages[1].synapse.bias.sum() * 0).sqrt()
        return loss + root, loss

    learner._objective = with_infinite_slope
    with pytest.raises(Diverged) as caught:
        made.run()
    assert caught.value.step == 1
    assert (caught.value.origin.layer, caught.value.origin.tensor) == ("blocks.1", "gradient")


def test_deferred_watch_finds_the_same_step_and_keeps_the_weights(tmp_path: Path) -> None:
    """The GPU's way, which fused optimizers on a CPU follow too: nobody looks until a step is logged."""
    length = {"training": {"budget": {"kind": "steps", "value": 500}}, "optimizer": HUGE}
    network = {"kind": "mlp", "hidden": [8, 8], "activation": "identity"}
    at_once = attempt(job("backprop", "mlp", network=network, **length), tmp_path)
    with pytest.raises(Diverged) as expected:
        at_once.run()
    rare = {"every_steps": 50, "alignment_every_steps": None, "budget_percent": None}
    deferred = attempt(job("backprop", "mlp", network=network, diagnostics=rare, **length), tmp_path)
    training = deferred.loop.course.training
    deferred.loop.watch = DeferredWatch(training.optimizers, torch.device("cpu"))
    with pytest.raises(Diverged) as caught:
        deferred.run()
    assert caught.value.step == expected.value.step
    assert caught.value.origin == expected.value.origin
    losses = points(deferred.loop.course.link.reports)["loss", None, "train"]  # type: ignore[attr-defined]
    assert list(losses) == [1, caught.value.step]
    assert math.isnan(losses[caught.value.step])
    assert all(bool(torch.isfinite(tensor).all()) for tensor in training.network.state_dict().values())


def test_no_checkpoint_is_made_past_a_step_that_was_withheld_and_not_looked_at_yet(tmp_path: Path) -> None:
    """It would be resumed after that step, with the weights before it, and nobody would know."""
    rare = {"every_steps": 50, "alignment_every_steps": None, "budget_percent": None}
    length = {"training": {"budget": {"kind": "steps", "value": 500}}, "optimizer": HUGE}
    network = {"kind": "mlp", "hidden": [8, 8], "activation": "identity"}
    deferred = attempt(job("backprop", "mlp", network=network, diagnostics=rare, **length), tmp_path)
    loop = deferred.loop
    loop.watch = DeferredWatch(loop.course.training.optimizers, torch.device("cpu"))
    one_step = loop._one_step

    def step_and_save() -> None:
        one_step()
        loop.save()

    loop._one_step = step_and_save  # type: ignore[method-assign]
    with pytest.raises(Diverged) as caught:
        deferred.run()
    saved = [report.step for report in loop.course.link.of(Checkpoint)]  # type: ignore[attr-defined]
    assert saved == list(range(1, caught.value.step))


def test_memory_that_is_not_enough_is_a_resource_fault_with_sizes() -> None:
    try:
        torch.empty(1 << 60)
    except RuntimeError as error:
        failure = finding(error, step=4)
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.fault, failure.step) == ("oom", "resource", 4)


def test_unknown_error_is_the_systems_fault() -> None:
    failure = finding(ZeroDivisionError("nothing"), step=None)
    assert (failure.kind, failure.fault) == ("internal", "system")


def test_finite_job_is_left_alone(tmp_path: Path) -> None:
    assert np.isfinite(train(job("backprop", "mlp"), tmp_path).result.metrics["test"]["loss"])
