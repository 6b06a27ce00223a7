"""One number that is not finite, put in on purpose: step, layer, tensor and row are named, and no weight is spoilt."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from learners.networks.block import PlainBlock
from specs.reports import Verdict
from tests.worker_training.running import Listener, attempt, job
from worker.attempt import Attempt
from worker.finite import CLOSE_LOOK_EVERY, DeferredWatch, Diverged
from worker.origin import TensorRole
from worker.trainer import finding

MLP = {"kind": "mlp", "hidden": [8, 8, 8], "activation": "tanh"}
TINY_LENGTH = {"budget": {"kind": "steps", "value": 40}, "batch_size": 20}
RARELY = {"every_steps": 7, "alignment_every_steps": None, "budget_percent": None}
DIABETES = {"kind": "builtin", "name": "diabetes"}


@dataclass(frozen=True)
class Injection:
    """A bad number in one tensor of one step."""

    learner: str
    tensor: TensorRole
    stage: int = 0
    step: int = 5
    row: int | None = None
    value: float = math.nan
    network: dict[str, Any] | None = None

    def __str__(self) -> str:
        network = (self.network or MLP)["kind"]
        return f"{self.learner}-{network}-{self.tensor}-{self.stage}-at-{self.step}"


class _BadBackward(torch.autograd.Function):
    """The identity, whose gradient is not a number."""

    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        return gradients[0] * math.nan


def inject(made: Attempt, injection: Injection) -> None:
    """From here on, ``injection.step`` goes wrong, whenever it is run."""
    course = made.loop.course
    at, now = course.batches.at, [0]
    stage = course.training.network.stages[injection.stage]

    def watched(step: int) -> Any:
        now[0] = step + 1
        batch = at(step)
        if now[0] == injection.step and injection.tensor == "input":
            batch = _with_bad_rows(batch, injection)
        if now[0] == injection.step and injection.tensor == "weight":
            with torch.no_grad():
                next(stage.parameters()).view(-1)[3] = injection.value
        return batch

    def altered(given: Any) -> Any:
        if now[0] != injection.step:
            return given
        if isinstance(given, tuple):
            return (_with_bad_output(given[0], injection), *given[1:])
        return _with_bad_output(given, injection)

    course.batches.at = watched  # type: ignore[method-assign]
    if injection.tensor in ("output", "gradient"):
        # Rules that settle call the two halves of a plain block by themselves.
        _alter(stage, "activate" if isinstance(stage, PlainBlock) else "forward", altered)
    elif injection.tensor == "loss":
        _overflow_loss(made, lambda: now[0] == injection.step)


def _alter(stage: Any, method: str, alter: Callable[[Any], Any]) -> None:
    original = getattr(type(stage), method)
    bad = type(
        "Bad" + type(stage).__name__, (type(stage),), {method: lambda self, *x, **d: alter(original(self, *x, **d))}
    )
    stage.__class__ = bad


def _with_bad_rows(batch: Any, injection: Injection) -> Any:
    x = batch.x.clone()
    x[injection.row].view(-1)[0] = injection.value
    return type(batch)(x, batch.y, batch.dt, batch.weight, batch.rows, batch.needs_input_error)


def _with_bad_output(y: Tensor, injection: Injection) -> Tensor:
    if injection.tensor == "gradient":
        return _BadBackward.apply(y)
    bad = torch.zeros_like(y)
    bad[injection.row].view(-1)[0] = injection.value
    return y + bad


def _overflow_loss(made: Attempt, wanted: Callable[[], bool]) -> None:
    task = made.loop.course.training.task
    loss = task.loss

    def overflowing(scores_BK: Tensor, y: Tensor) -> Tensor:
        return loss(scores_BK * (1e30 if wanted() else 1.0), y)

    task.loss = overflowing  # type: ignore[method-assign]


CNN = {"kind": "cnn", "channels": [4, 4], "norm": "batch"}
RESNET = {"kind": "resnet", "channels": [4, 4]}
TRANSFORMER = {"kind": "transformer", "width": 8, "heads": 2, "layers": 2, "patch_size": 4}
INJECTIONS = [
    Injection("backprop", "input", row=13),
    Injection("backprop", "input", row=0, value=math.inf, network=CNN),
    Injection("evolution_strategies", "input", row=2),
    Injection("backprop", "weight", stage=1),
    Injection("backprop", "weight", stage=3, value=-math.inf),
    Injection("feedback_alignment", "weight", stage=2),
    Injection("forward_forward", "weight", stage=1),
    Injection("mezo", "weight", stage=3),
    Injection("backprop", "output", stage=0, row=4),
    Injection("backprop", "output", stage=2, row=19, step=1),
    Injection("backprop", "output", stage=1, row=7, network=RESNET),
    Injection("backprop", "output", stage=1, row=7, network=TRANSFORMER),
    Injection("predictive_coding", "output", stage=1, row=3),
    Injection("equilibrium_propagation", "output", stage=2, row=3),
    Injection("mono_forward", "output", stage=1, row=11),
    Injection("evolution_strategies", "output", stage=3, row=11),
    Injection("backprop", "gradient", stage=0),
    Injection("backprop", "gradient", stage=2),
    Injection("backprop", "gradient", stage=3, step=1),
    Injection("backprop", "gradient", stage=1, network=CNN),
    Injection("backprop", "gradient", stage=0, network=TRANSFORMER),
    Injection("feedback_alignment", "gradient", stage=1),
    Injection("mono_forward", "gradient", stage=1),
    Injection("local_loss", "gradient", stage=2),
    Injection("forward_forward", "gradient", stage=1),
    Injection("target_propagation", "gradient", stage=2),
    Injection("backprop", "loss", stage=3),
    Injection("mezo", "loss", stage=3),
]


def diverged(folder: Path, injection: Injection, **sections: Any) -> tuple[Attempt, Diverged, list[Any]]:
    link = Listener()
    network = injection.network or MLP
    fields = job(
        injection.learner,
        "mlp",
        **{"network": network, "training": TINY_LENGTH, "diagnostics": RARELY, **sections},
    )
    if injection.tensor == "loss":
        fields |= {"dataset": DIABETES}
    made = attempt(fields, folder, link=link)
    inject(made, injection)
    with pytest.raises(Diverged) as caught:
        made.run()
    return made, caught.value, [report.finding for report in link.of(Verdict) if report.finding.code == "nonfinite"]


def weights_are_finite(made: Attempt) -> bool:
    return all(bool(torch.isfinite(weight).all()) for weight in made.loop.course.training.network.parameters())


@pytest.mark.parametrize("injection", INJECTIONS, ids=str)
def test_origin_is_named_exactly(tmp_path: Path, injection: Injection) -> None:
    made, error, verdicts = diverged(tmp_path, injection)
    layer = made.loop.course.training.network.names[injection.stage]
    origin = error.origin
    assert (error.step, origin.layer, origin.tensor) == (injection.step, layer, injection.tensor)
    if injection.row is not None:
        assert origin.row == injection.row
    if injection.tensor == "gradient":
        assert origin.part == "_BadBackwardBackward"
    (verdict,) = verdicts
    assert (verdict.layer, verdict.first_step, verdict.evidence.facts["tensor"]) == (
        layer,
        injection.step,
        injection.tensor,
    )
    assert verdict.remedies
    assert finding(error, step=None).layer == layer
    if injection.tensor != "weight":
        assert weights_are_finite(made)


def test_there_are_twenty_injections_and_more_of_which_some_are_backward_only() -> None:
    assert len({str(injection) for injection in INJECTIONS}) == len(INJECTIONS) >= 20
    assert sum(injection.tensor == "gradient" for injection in INJECTIONS) >= 5


@pytest.mark.parametrize("injection", [Injection("backprop", "gradient", stage=2, step=CLOSE_LOOK_EVERY)], ids=str)
def test_device_that_is_not_waited_for_keeps_its_weights_from_a_bad_gradient(
    tmp_path: Path, injection: Injection
) -> None:
    """The GPU's way, which fused optimizers on a CPU follow too: all gradients, at every close look."""
    made = attempt(job("backprop", "mlp", network=MLP, training=TINY_LENGTH, diagnostics=RARELY), tmp_path)
    made.loop.watch = DeferredWatch(made.loop.course.training.optimizers, torch.device("cpu"))
    inject(made, injection)
    with pytest.raises(Diverged) as caught:
        made.run()
    origin = caught.value.origin
    assert (caught.value.step, origin.layer, origin.tensor) == (CLOSE_LOOK_EVERY, "blocks.2", "gradient")
    assert weights_are_finite(made)


def test_gradient_of_a_weight_alone_is_found_by_a_close_look(tmp_path: Path) -> None:
    made = attempt(job("backprop", "mlp", network=MLP, training=TINY_LENGTH, diagnostics=RARELY), tmp_path)
    weight = made.loop.course.training.network.stages[1].synapse.weight
    weight.register_hook(lambda gradient: gradient * math.inf)
    with pytest.raises(Diverged) as caught:
        made.run()
    origin = caught.value.origin
    assert (caught.value.step, origin.layer, origin.tensor, origin.part) == (
        1,
        "blocks.1",
        "gradient",
        "synapse.weight",
    )


def test_row_is_counted_over_micro_batches(tmp_path: Path) -> None:
    injection = Injection("backprop", "input", row=17)
    _, error, _ = diverged(tmp_path, injection, training={**TINY_LENGTH, "micro_batch_size": 6})
    assert (error.origin.tensor, error.origin.row) == ("input", 17)


def test_targets_that_are_not_finite_are_bad_input(tmp_path: Path) -> None:
    made = attempt(job("backprop", "mlp", network=MLP, dataset=DIABETES, training=TINY_LENGTH), tmp_path)
    made.loop.course.batches.rows.y[:] = math.nan
    with pytest.raises(Diverged) as caught:
        made.run()
    assert (caught.value.origin.tensor, caught.value.origin.part) == ("input", "targets")


def test_job_that_goes_on_has_one_verdict_whose_last_step_moves(tmp_path: Path) -> None:
    link = Listener()
    fields = job("backprop", "mlp", network=MLP, training={**TINY_LENGTH, "on_nan": "continue"}, diagnostics=RARELY)
    made = attempt(fields, tmp_path, link=link)
    at = made.loop.course.batches.at

    def poisoned(step: int) -> Any:
        batch = at(step)
        return _with_bad_rows(batch, Injection("", "input", row=2)) if step in (3, 9) else batch

    made.loop.course.batches.at = poisoned  # type: ignore[method-assign]
    assert made.run().diagnostics["skipped_steps"] == 2
    verdict = [report.finding for report in link.of(Verdict) if report.finding.code == "nonfinite"][-1]
    assert (verdict.severity, verdict.first_step, verdict.last_step) == ("warning", 4, 10)
    assert verdict.evidence.numbers == {"row": 2.0}


def test_statistics_of_batch_normalisation_do_not_follow_a_skipped_step(tmp_path: Path) -> None:
    training = {**TINY_LENGTH, "on_nan": "continue"}
    network = {"kind": "mlp", "hidden": [8], "norm": "batch"}
    made = attempt(job("backprop", "mlp", network=network, training=training, diagnostics=RARELY), tmp_path)
    inject(made, Injection("backprop", "input", row=2, step=4))
    result = made.run()
    assert result.diagnostics["skipped_steps"] == 1
    assert all(bool(torch.isfinite(tensor).all()) for tensor in made.loop.course.training.network.state_dict().values())
    assert result.metrics["validation"]["loss"] is not None and math.isfinite(result.metrics["validation"]["loss"])
    stopping = attempt(job("backprop", "mlp", network=network, training=TINY_LENGTH, diagnostics=RARELY), tmp_path)
    going_on = attempt(job("backprop", "mlp", network=network, training=training, diagnostics=RARELY), tmp_path)
    assert stopping.run().weights_sha256 == going_on.run().weights_sha256, "a healthy job is the same to the bit"
