"""What needs a GPU and no service: the demo's three jobs on CUDA, to the bit.

Needs only pydantic, torch, numpy, safetensors, scikit-learn and pytest. Where no other package is installed:
``python -m pytest -c /dev/null --rootdir . --confcutdir tests/gpu tests/gpu``.
"""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from specs.job import JobSpec
from specs.recipes import RECIPES
from specs.reports import Checkpoint, Failure
from tests.worker_training.running import (
    NOTHING_MEASURED,
    Listener,
    Trained,
    attempt,
    job,
    last_checkpoint,
    train,
)
from worker.finite import DeferredWatch, Diverged
from worker.loop import Stop
from worker.meters.counters import nvml_counter
from worker.meters.energy import EnergyMeter

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="NO CUDA DEVICE: nothing here was checked on a GPU"),
]

DEMO = ["backprop", "forward_forward", "liquid"]
STEPS = 60


def _demo(name: str, **sections: Any) -> dict[str, Any]:
    """A recipe of the demo, measured often and cut short."""
    spec = JobSpec.model_validate({"recipe": name}).resolved()
    training = {**spec["training"], "epochs": None, "budget": {"kind": "steps", "value": STEPS}}
    measured = {"every_steps": 5, "alignment_every_steps": 20, "budget_percent": None}
    return {**spec, "training": training, "diagnostics": measured, **sections}


def _on_gpu(fields: dict[str, Any], folder: Path, **options: Any) -> Trained:
    return train(fields, folder, device="cuda:", **options)


@pytest.mark.parametrize("name", DEMO)
def test_repeated_job_gives_the_same_bits(name: str, tmp_path: Path) -> None:
    first, second = (_on_gpu(_demo(name), tmp_path) for _ in range(2))
    assert first.result.weights_sha256 == second.result.weights_sha256
    assert first.result.receipt["loss_trace_sha256"] == second.result.receipt["loss_trace_sha256"]
    assert first.result.receipt["determinism"]["deterministic_algorithms"]
    assert first.result.receipt["device"].startswith("cuda")


@pytest.mark.parametrize("name", DEMO)
def test_diagnostics_change_no_bit(name: str, tmp_path: Path) -> None:
    plain = _on_gpu(_demo(name, diagnostics=NOTHING_MEASURED), tmp_path)
    assert plain.result.weights_sha256 == _on_gpu(_demo(name), tmp_path).result.weights_sha256


@pytest.mark.parametrize("name", DEMO)
def test_stopped_and_resumed_job_equals_an_undisturbed_one(name: str, tmp_path: Path) -> None:
    undisturbed = _on_gpu(_demo(name), tmp_path)
    link = Listener()
    stopped = attempt(_demo(name), tmp_path, link=link, device="cuda:")
    one_step = stopped.loop._one_step

    def stop_half_way() -> None:
        one_step()
        stopped.loop._poll._next = 0.0
        if stopped.loop.step == STEPS // 2:
            link.stop_reason = "pause"

    stopped.loop._one_step = stop_half_way  # type: ignore[method-assign]
    with pytest.raises(Stop):
        stopped.run()
    assert link.of(Checkpoint)[-1].step == STEPS // 2
    resumed = _on_gpu(_demo(name), tmp_path, resume=last_checkpoint(link))
    assert resumed.result.weights_sha256 == undisturbed.result.weights_sha256


def test_weights_start_from_the_same_numbers_as_on_a_cpu(tmp_path: Path) -> None:
    made = [attempt(job("backprop", "cnn"), tmp_path, device=device) for device in ("cpu", "cuda:")]
    weights = [one.loop.course.training.network.state_dict() for one in made]
    assert all(torch.equal(weights[0][name], weights[1][name].cpu()) for name in weights[0])


def test_peak_comes_from_the_allocator_and_energy_from_nvml_or_with_a_reason(tmp_path: Path) -> None:
    cost = _on_gpu(_demo("backprop"), tmp_path).result.cost
    assert cost["memory"]["source"] == "cuda_allocator"
    assert cost["peak_bytes"] > 0
    assert cost["energy"]["source"] == "nvml" or cost["energy"]["reason"]


def test_joules_agree_with_integrated_power_samples_over_a_minute() -> None:
    """A check of consistency, not of accuracy: counter and samples may share a sensor."""
    pynvml = pytest.importorskip("pynvml")
    uuid = f"GPU-{torch.cuda.get_device_properties(0).uuid}"
    counter, reason = nvml_counter(uuid, torch.cuda.synchronize)
    if counter is None:
        pytest.skip(f"NO ENERGY COUNTER: {reason}")
    handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
    square = torch.randn(4096, 4096, device="cuda")
    meter = EnergyMeter(counter)
    begun = at = time.monotonic()
    sampled, watts = 0.0, pynvml.nvmlDeviceGetPowerUsage(handle) / 1000
    while at - begun < 60:
        for _ in range(10):
            torch.mm(square, square)
        torch.cuda.synchronize()
        now, now_watts = time.monotonic(), pynvml.nvmlDeviceGetPowerUsage(handle) / 1000
        sampled += (now - at) * (watts + now_watts) / 2
        at, watts = now, now_watts
    joules = meter.reading().joules
    assert joules is not None
    assert joules == pytest.approx(sampled, rel=0.05)


def test_diverged_job_says_step_and_layer_and_keeps_its_weights(tmp_path: Path) -> None:
    fields = job(
        "backprop",
        "mlp",
        network={"kind": "mlp", "hidden": [8, 8], "activation": "identity"},
        optimizer={"kind": "sgd", "lr": 1e6},
        training={"budget": {"kind": "steps", "value": 500}},
    )
    made = attempt(fields, tmp_path, device="cuda:")
    assert isinstance(made.loop.watch, DeferredWatch)
    with pytest.raises(Diverged) as caught:
        made.run()
    assert 1 < caught.value.step < 500
    weights = made.loop.course.training.network.state_dict().values()
    assert all(bool(torch.isfinite(tensor).all()) for tensor in weights)


def test_unlogged_steps_never_wait_for_the_device(tmp_path: Path) -> None:
    made = attempt(_demo("backprop", diagnostics=NOTHING_MEASURED), tmp_path, device="cuda:")
    made.loop.course.training.train()
    for _ in range(3):
        made.loop._one_step()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(10):
            made.loop._one_step()
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_memory_that_is_not_enough_ends_the_job_with_sizes(tmp_path: Path) -> None:
    from worker.trainer import finding

    with pytest.raises(torch.OutOfMemoryError) as caught:
        torch.empty(1 << 50, dtype=torch.uint8, device="cuda")
    failure = finding(caught.value, step=3)
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.fault) == ("cuda_oom", "resource")
    assert failure.detail["total_bytes"] > 0


def test_warm_up_does_not_touch_cuda() -> None:
    code = "import torch; from worker.trainer import warm_up; warm_up(); assert not torch.cuda.is_initialized()"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_demo_recipes_exist() -> None:
    assert set(DEMO) <= set(RECIPES)
