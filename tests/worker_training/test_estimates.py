"""Estimates: what rehearsals foretell of a job, beside what the job then takes."""

from pathlib import Path
from typing import Any

import pytest

from specs.data_sources import known_signature
from specs.estimate import Estimate
from specs.job import JobSpec
from tests.worker_training.running import DIGITS, EVENTS, job, train
from worker import forecast, rehearsal
from worker.free_memory import free_bytes

PHASES: dict[str, Any] = {
    "kind": "hybrid",
    "phases": [
        {"until": {"kind": "steps", "value": 3}, "segments": [{"learner": {"kind": "mono_forward"}}]},
        {"segments": [{"learner": {"kind": "backprop"}}]},
    ],
}
WIDE: dict[str, Any] = {"kind": "mlp", "hidden": [200, 200]}


def estimated(fields: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch, *, room: int = 1 << 40) -> Any:
    """The estimate, and what it stands on; all rehearsals are taken in this process."""
    spec = JobSpec.model_validate(fields)
    signature = known_signature(spec.dataset)
    assert signature is not None
    own = folder / "rehearsal"
    own.mkdir(exist_ok=True)
    monkeypatch.chdir(own)
    dataset = {"folder": "", "sha256": "", "signature": signature.model_dump(mode="json")}
    order = {"spec": spec.resolved(), "dataset": dataset, "device": "cpu"}
    counted = {**rehearsal.count(order), "free_bytes": room}
    heard = [
        None if steps is None else rehearsal.rehearse({**order, "phase": number, "steps": min(steps, 6)})
        for number, points in enumerate(counted["phases"])
        for steps in [forecast.rehearsal_steps(points, spec, signature, room)]
    ]
    monkeypatch.chdir(folder)
    return forecast.estimate(spec, signature, counted, heard, device="cpu"), counted, heard


@pytest.mark.parametrize(
    ("learner", "network", "training"),
    [
        ("backprop", "mlp", {}),
        ("backprop", "mlp square", {"activation_checkpointing": "every_k", "checkpoint_every_k": 2}),
        ("backprop", "cnn", {"micro_batch_size": 20}),
        ("forward_forward", "mlp", {"budget": {"kind": "epochs", "value": 2}}),
        ("mezo", "mlp", {}),
        ("backprop", "ltc", {}),
    ],
)
def test_bytes_and_flops_are_those_of_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, learner: str, network: str, training: dict[str, Any]
) -> None:
    fields = job(learner, network, training=training)
    found, counted, heard = estimated(fields, tmp_path, monkeypatch)
    cost = train(fields, tmp_path).result.cost
    assert found.parameters == cost["parameters"]
    assert found.memory.activations == pytest.approx(cost["memory"]["activation_bytes"], rel=0.01)
    assert found.flops == pytest.approx(cost["flops"], rel=0.02)
    assert (found.memory.basis, found.seconds_basis, found.fits) == ("rehearsed", "rehearsed", True)
    assert found.training_s is not None and found.training_s > 0
    # Without the rehearsal, along the line through two counts of fewer rows, it is the same.
    spec, signature = JobSpec.model_validate(fields), known_signature(JobSpec.model_validate(fields).dataset)
    assert signature is not None
    few = {**counted, "phases": [points[:-1] if len(points) > 2 else points for points in counted["phases"]]}
    unheard = forecast.estimate(spec, signature, few, [None] * len(heard), device="cpu")
    assert unheard.memory.activations == pytest.approx(found.memory.activations, rel=0.1)
    assert unheard.flops == pytest.approx(found.flops, rel=0.1)
    assert unheard.memory.basis == "counted"


def test_components_are_those_of_the_tensors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fields = job("backprop", "mlp", network=WIDE, optimizer={"kind": "adam", "lr": 0.01})
    found, _, _ = estimated(fields, tmp_path, monkeypatch)
    parameters = 64 * 200 + 200 + 200 * 200 + 200 + 200 * 10 + 10
    memory = found.memory
    assert (memory.weights, memory.gradients, memory.own_tensors) == (4 * parameters, 4 * parameters, 0)
    assert memory.optimizer == pytest.approx(2 * 4 * parameters, rel=0.01)
    assert memory.activations == pytest.approx(4 * 80 * (64 + 200 + 200 + 10), rel=0.3)
    assert memory.data == 80 * (64 * 4 + 8)


def test_phases_are_weighed_by_their_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fields = job("backprop", "mlp", learner=PHASES, dataset=DIGITS)
    found, counted, heard = estimated(fields, tmp_path, monkeypatch)
    assert len(counted["phases"]) == len(heard) == 2
    first, second = (one["flops_per_step"] for one in heard)
    assert first != second
    assert found.flops_per_step == pytest.approx((3 * first + 4 * second) / 7)
    assert found.flops == pytest.approx(train(fields, tmp_path).result.cost["flops"], rel=0.05)


def test_job_that_does_not_fit_is_told_so_without_a_rehearsal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fields = job("backprop", "mlp", network=WIDE)
    found, _, heard = estimated(fields, tmp_path, monkeypatch, room=400_000)
    assert heard == [None]
    assert found.fits is False
    assert [obstacle.code for obstacle in found.why_not] == ["memory"]
    spec = JobSpec.model_validate(fields)
    signature = known_signature(spec.dataset)
    assert signature is not None
    large = forecast.too_large(spec, signature, room=400_000, device="cpu")
    assert large is not None and large.memory.basis == "arithmetic" and large.fits is False
    assert forecast.too_large(spec, signature, room=500_000, device="cpu") is None


def test_time_limit_is_an_obstacle_and_a_clock_says_the_seconds_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = job("backprop", "rnn gru", dataset=EVENTS, training={"budget": {"kind": "steps", "value": 1_000_000}})
    found, counted, heard = estimated({**long, "limits": {"max_runtime_s": 1}}, tmp_path, monkeypatch)
    assert [obstacle.code for obstacle in found.why_not] == ["time_limit"]
    clocked = JobSpec.model_validate({**long, "training": {"budget": {"kind": "seconds", "value": 9}}})
    signature = known_signature(clocked.dataset)
    assert signature is not None
    by_clock: Estimate = forecast.estimate(clocked, signature, counted, heard, device="cpu")
    assert (by_clock.training_s, by_clock.seconds_basis) == (9, "budget")
    assert by_clock.steps is not None and by_clock.steps > 1
    joules = clocked.model_copy(update={"training": clocked.training.model_copy(update={"budget": None})})
    budget = clocked.training.budget.model_copy(update={"kind": "joules"}) if clocked.training.budget else None
    joules = joules.model_copy(update={"training": joules.training.model_copy(update={"budget": budget})})
    unknown = forecast.estimate(joules, signature, counted, heard, device="cpu")
    assert (unknown.steps, unknown.flops, unknown.training_s, unknown.seconds_basis) == (None, None, None, None)


def test_free_bytes_are_what_the_machine_or_the_container_leaves(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 100 kB\nMemAvailable:      50 kB\n")
    nothing = tmp_path / "none"
    assert free_bytes(meminfo=meminfo, cgroup=nothing) == 50 * 1024
    (tmp_path / "memory.max").write_text("30000\n")
    (tmp_path / "memory.current").write_text("10000\n")
    assert free_bytes(meminfo=meminfo, cgroup=tmp_path) == 20_000
    (tmp_path / "memory.max").write_text("max\n")
    assert free_bytes(meminfo=meminfo, cgroup=tmp_path) == 50 * 1024
    assert free_bytes(meminfo=nothing, cgroup=nothing) is None


def test_first_steps_foretell_the_whole_job_in_its_bill(tmp_path: Path) -> None:
    fields = job("backprop", "mlp", training={"budget": {"kind": "steps", "value": 60}, "batch_size": 80})
    cost = train(fields, tmp_path).result.cost
    predicted = cost["predicted"]
    assert predicted["flops"] == pytest.approx(cost["flops"])
    assert 0 < predicted["training_s"] < 20 * cost["training_s"]
    assert 0 <= predicted["peak_bytes"] <= cost["peak_bytes"]
    short = train(job("backprop", "mlp"), tmp_path).result.cost["predicted"]
    assert short["training_s"] is None and "within 20 steps" in short["reason"]
