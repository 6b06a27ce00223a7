"""Counters of joules that machines have: NVML's on a GPU, RAPL's of the CPU package. Never an estimate."""

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

POWERCAP: Final = Path("/sys/class/powercap")
CPU_TIMES: Final = Path("/proc/stat")
ALONE: Final = 0.9
"""Of the processor time that a machine spends: whoever takes as much has it to itself."""


@dataclass(frozen=True)
class AtRest:
    """A device before the first kernel of the job. ``watts`` None: ``reason`` says why no baseline was measured."""

    watts: float | None
    reason: str | None
    celsius: float | None


class Counter(ABC):
    """A counter of joules that only rises."""

    source: str
    update_s: float
    """How often the counter moves. A window of fewer than 50 updates is no measurement."""

    @abstractmethod
    def joules(self) -> float:
        """Joules since an arbitrary start. Does not wait for a device: the counter lags by an update anyway."""

    def settle(self) -> None:  # noqa: B027
        """Waits until the device has done what it was given. At both ends of a window."""

    @abstractmethod
    def at_rest(self) -> AtRest:
        """The device as it is now, where nothing runs on it yet."""

    @abstractmethod
    def alone(self) -> bool | None:
        """Whether nobody else used the device since this counter was made; None where that cannot be told."""


class RaplCounter(Counter):
    """Intel's and AMD's running average power limit: one file of microjoules per package and DRAM, which wraps."""

    source = "rapl"
    update_s = 0.001

    def __init__(self, zones: Sequence[Path], cpu_times: Path = CPU_TIMES) -> None:
        self._files = [zone / "energy_uj" for zone in zones]
        self._ranges = [int((zone / "max_energy_range_uj").read_text()) for zone in zones]
        self._last = [self._read(file) for file in self._files]
        self._joules = 0.0
        self._cpu_times = cpu_times
        self._busy_before, self._own_before = self._busy_s(), time.process_time()

    def joules(self) -> float:
        """Must be read more often than the counter wraps (an hour at 70 W on common parts)."""
        for index, file in enumerate(self._files):
            now = self._read(file)
            passed = now - self._last[index]
            if passed < 0:
                passed += self._ranges[index]
            self._last[index] = now
            self._joules += passed / 1e6
        return self._joules

    def at_rest(self) -> AtRest:
        return AtRest(None, "a CPU at rest was not measured", None)

    def alone(self) -> bool | None:
        """By processor time: the counter is the package's, whoever used it."""
        busy, own = self._busy_s(), time.process_time() - self._own_before
        if busy is None or self._busy_before is None:
            return None
        return own >= ALONE * (busy - self._busy_before)

    def _busy_s(self) -> float | None:
        """Processor seconds of the whole machine that were neither idle nor waiting."""
        with suppress(OSError, ValueError, IndexError):
            user, nice, system, _, _, interrupts, soft = map(int, self._cpu_times.read_text().split()[1:8])
            return (user + nice + system + interrupts + soft) / os.sysconf("SC_CLK_TCK")
        return None

    @staticmethod
    def _read(file: Path) -> int:
        return int(file.read_text())


class NvmlCounter(Counter):
    """The total energy of one NVIDIA GPU since its driver was loaded."""

    source = "nvml"
    update_s = 0.1

    def __init__(self, uuid: str, synchronize: Callable[[], None], nvml: Any) -> None:
        nvml.nvmlInit()
        self._nvml = nvml
        self._handle = nvml.nvmlDeviceGetHandleByUUID(uuid)
        self._synchronize = synchronize
        self._alone: bool | None = True
        self._read_at = -1.0
        self._joules = 0.0
        self.joules()

    def joules(self) -> float:
        """At most one call into the driver per update of the counter."""
        now = time.monotonic()
        if self._read_at < 0 or now - self._read_at >= self.update_s:
            self._joules = self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle) / 1000
            self._read_at = now
            self._look_for_others()
        return self._joules

    def settle(self) -> None:
        self._synchronize()
        self._read_at = -1.0

    def at_rest(self) -> AtRest:
        """Power before the first kernel. A card that still does, or just did, another's work has no baseline."""
        celsius = self._asked(lambda: self._nvml.nvmlDeviceGetTemperature(self._handle, 0))
        busy = self._asked(lambda: self._nvml.nvmlDeviceGetUtilizationRates(self._handle).gpu)
        if busy != 0 or not self._alone:
            return AtRest(None, "the GPU was not at rest when the job started", celsius)
        milliwatts = self._asked(lambda: self._nvml.nvmlDeviceGetPowerUsage(self._handle))
        if milliwatts is None:
            return AtRest(None, "this GPU does not tell its power", celsius)
        return AtRest(milliwatts / 1000, None, celsius)

    def alone(self) -> bool | None:
        return self._alone

    def _look_for_others(self) -> None:
        """One process is this one, by whatever number the driver knows it."""
        count = self._asked(lambda: len(self._nvml.nvmlDeviceGetComputeRunningProcesses(self._handle)))
        if count is None:
            self._alone = None
        elif count > 1:
            self._alone = False if self._alone is not None else None

    def _asked(self, question: Callable[[], Any]) -> Any:
        """The driver's answer, or None where this card has none."""
        with suppress(self._nvml.NVMLError):
            return question()
        return None


def rapl_counter(powercap: Path = POWERCAP) -> tuple[Counter | None, str]:
    """The machine's RAPL counter, or None and the reason."""
    zones = _separate_zones(powercap)
    if not zones:
        return None, "no RAPL counter on this machine (usual in virtual machines)"
    try:
        return RaplCounter(zones), ""
    except PermissionError:
        return None, "the RAPL counter may not be read by this user"
    except (OSError, ValueError) as error:
        return None, f"the RAPL counter cannot be read: {type(error).__name__}"


def _separate_zones(powercap: Path) -> list[Path]:
    """Packages and their DRAM, each joule in one of them.

    Cores and graphics are part of their package, ``psys`` holds the packages, and the memory-mapped interface shows
    again what the registers show.
    """
    found: dict[tuple[str, str], Path] = {}
    names = sorted(powercap.glob("*/name"), key=lambda file: ("mmio" in file.parent.name, file.parent.name))
    for file in names:
        zone, name = file.parent, file.read_text().strip()
        interface, *places = zone.name.split(":")
        if name.startswith("package"):
            found.setdefault(("", name), zone)
        elif name == "dram":
            package = powercap / ":".join([interface, *places[:-1]]) / "name"
            found.setdefault((package.read_text().strip() if package.exists() else "", name), zone)
    return list(found.values())


def nvml_counter(uuid: str, synchronize: Callable[[], None]) -> tuple[Counter | None, str]:
    """The GPU's own counter, or None and the reason."""
    try:
        import pynvml

        return NvmlCounter(uuid, synchronize, pynvml), ""
    except ImportError:
        return None, "nvidia-ml-py is not installed"
    except Exception as error:  # pynvml has one exception class per status, made at run time
        return None, f"NVML: {error}"
