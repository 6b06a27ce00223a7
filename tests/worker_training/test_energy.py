"""Joules come from a counter or not at all: powercap folders as machines have them, NVML's answers, no counter."""

import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.worker_training.running import attempt, job, train
from worker.length import NoCounter
from worker.meters.counters import AtRest, Counter, NvmlCounter, RaplCounter, rapl_counter
from worker.meters.energy import EnergyMeter
from worker.trainer import finding

MACHINES = sorted((Path(__file__).parent / "powercap").glob("*.json"))


def _lay_out(machine: Path, folder: Path, reading: int) -> float:
    """Writes the zones as the kernel shows them, at this reading; the joules from the first to the second."""
    zones: dict[str, Any] = json.loads(machine.read_text())
    expected: float = zones.pop("expected_joules")
    for name, zone in zones.items():
        (folder / name).mkdir(exist_ok=True)
        for file in ("name", "max_energy_range_uj"):
            (folder / name / file).write_text(f"{zone[file]}\n")
        (folder / name / "energy_uj").write_text(f"{zone['energy_uj'][reading]}\n")
    return expected


@pytest.mark.parametrize("machine", MACHINES, ids=lambda path: path.stem)
def test_rapl_counts_every_joule_once_and_wraps(machine: Path, tmp_path: Path) -> None:
    """Cores, graphics and psys are in their package or hold it; mmio shows it again."""
    _lay_out(machine, tmp_path, 0)
    counter, reason = rapl_counter(tmp_path)
    assert isinstance(counter, RaplCounter), reason
    assert counter.joules() == 0
    expected = _lay_out(machine, tmp_path, 1)
    assert counter.joules() == pytest.approx(expected, rel=1e-9)
    assert counter.joules() == pytest.approx(expected, rel=1e-9)  # nothing is counted again


def test_three_machines_were_laid_out() -> None:
    assert len(MACHINES) == 3


def test_without_a_counter_a_job_has_no_joules_anywhere_but_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rapl_counter, "__defaults__", (tmp_path / "hidden",))
    trained = train(job("backprop", "mlp"), tmp_path)
    energy = trained.result.cost["energy"]
    assert (energy["source"], energy["scope"]) == ("none", "device")
    assert "RAPL" in energy["reason"]
    told = {"source", "scope", "reason"}
    assert {name: value for name, value in energy.items() if name not in told and value is not None} == {}
    assert trained.result.cost["inference"]["joules_per_row"] is None
    assert "RAPL" in trained.result.cost["inference"]["joules_reason"]
    assert not [key for key in trained.series if key[0] == "energy_joules"]


def test_with_a_counter_the_same_job_has_joules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control of the test above: it is the hidden counter that makes the difference."""
    powercap = tmp_path / "powercap"
    powercap.mkdir()
    _lay_out(MACHINES[0], powercap, 0)
    monkeypatch.setattr(rapl_counter, "__defaults__", (powercap,))
    made = attempt(job("backprop", "mlp"), tmp_path)
    meter = made.loop.course.bill.energy
    meter.load_state_dict({"joules": 40.0, "window_s": 10.0})
    expected = 40.0 + _lay_out(MACHINES[0], powercap, 1)
    cost = made.run().cost
    assert cost["energy"]["joules"] == pytest.approx(expected)
    rows = 6 * 80 + 3
    assert cost["energy"]["joules_per_sample"] == pytest.approx(expected / rows)


def test_unreadable_counter_says_so(tmp_path: Path) -> None:
    _lay_out(MACHINES[0], tmp_path, 0)
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("no number\n")
    assert rapl_counter(tmp_path) == (None, "the RAPL counter cannot be read: ValueError")


def test_short_window_has_no_joules(tmp_path: Path) -> None:
    _lay_out(MACHINES[0], tmp_path, 0)
    meter = EnergyMeter(*rapl_counter(tmp_path))
    reading = meter.reading()
    assert (reading.joules, reading.reason) == (None, "window_too_short")
    assert meter.resolved_joules() is None
    assert meter.joules() == 0


def test_cpu_is_exclusive_where_this_process_takes_its_time(tmp_path: Path) -> None:
    _lay_out(MACHINES[0], tmp_path, 0)
    times = tmp_path / "stat"
    zones = [tmp_path / "intel-rapl:0"]
    times.write_text("cpu  1000 0 0 5000 0 0 0 0 0 0\n")
    counter = RaplCounter(zones, times)
    begun = time.process_time()
    while time.process_time() - begun < 0.02:
        pass
    times.write_text("cpu  1001 0 0 5000 0 0 0 0 0 0\n")
    assert counter.alone() is True
    times.write_text("cpu  2001 0 0 5000 0 0 0 0 0 0\n")
    assert counter.alone() is False
    times.write_text("")
    assert counter.alone() is None


class Driver(SimpleNamespace):
    """The answers that NVIDIA's library gives, by its names."""

    NVMLError = RuntimeError

    def __init__(self, *, processes: int = 1, busy: int = 0) -> None:
        super().__init__(millijoules=1_000_000, processes=processes, busy=busy)

    def nvmlInit(self) -> None:
        """Nothing to load."""

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        return uuid

    def nvmlDeviceGetTotalEnergyConsumption(self, _: str) -> int:
        return int(self.millijoules)

    def nvmlDeviceGetComputeRunningProcesses(self, _: str) -> list[int]:
        return [0] * int(self.processes)

    def nvmlDeviceGetUtilizationRates(self, _: str) -> SimpleNamespace:
        return SimpleNamespace(gpu=self.busy)

    def nvmlDeviceGetPowerUsage(self, _: str) -> int:
        return 70_000

    def nvmlDeviceGetTemperature(self, _: str, __: int) -> int:
        return 41


def _gpu(driver: Driver) -> NvmlCounter:
    return NvmlCounter("GPU-1", lambda: None, driver)


@pytest.mark.parametrize(("window_s", "known"), [(4.0, False), (5.0, True)])
def test_gpu_windows_under_five_seconds_have_no_joules(window_s: float, known: bool) -> None:
    driver = Driver()
    meter = EnergyMeter(_gpu(driver))
    meter.load_state_dict({"joules": 400.0, "window_s": window_s, "idle_joules": 70.0 * window_s, "alone": True})
    driver.millijoules += 2000
    reading = meter.reading()
    assert reading.joules == (pytest.approx(402.0) if known else None)
    assert reading.reason == (None if known else "window_too_short")
    if known:
        assert reading.joules_above_idle == pytest.approx(402.0 - 70.0 * 5, abs=1)
        assert (reading.idle_watts, reading.start_celsius, reading.exclusive) == (70.0, 41, True)


def test_gpu_that_another_uses_has_no_baseline_and_is_not_exclusive() -> None:
    busy = _gpu(Driver(busy=30))
    assert busy.at_rest() == AtRest(None, "the GPU was not at rest when the job started", 41)
    assert _gpu(Driver(processes=2)).alone() is False
    driver = Driver()
    counter = _gpu(driver)
    driver.processes = 2
    counter.settle()
    counter.joules()
    driver.processes = 1
    counter.settle()
    counter.joules()
    assert counter.alone() is False  # once is enough


def test_one_attempt_without_a_baseline_leaves_the_job_without() -> None:
    meter = EnergyMeter(_gpu(Driver()))
    meter.load_state_dict({"joules": 400.0, "window_s": 10.0, "idle_joules": None, "alone": False})
    reading = meter.reading()
    assert (reading.joules_above_idle, reading.exclusive) == (None, False)
    assert reading.idle_reason == "an earlier attempt has no baseline"
    assert reading.joules is not None


def test_budget_in_joules_without_a_counter_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rapl_counter, "__defaults__", (tmp_path,))
    with pytest.raises(NoCounter) as caught:
        attempt(job("backprop", "mlp", training={"budget": {"kind": "joules", "value": 5.0}}), tmp_path)
    failure = finding(caught.value, step=None)
    assert (failure.kind, failure.fault) == ("no_energy_counter", "user")


def test_every_counter_says_how_often_it_moves() -> None:
    assert {kind.source: kind.update_s for kind in Counter.__subclasses__()} == {"rapl": 0.001, "nvml": 0.1}
