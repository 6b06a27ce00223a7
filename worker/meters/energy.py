"""Joules from a counter of the machine: NVML's on a GPU, RAPL's of the CPU package. Never an estimate."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

MIN_WINDOW_S = 1.0
POWERCAP = Path("/sys/class/powercap")


@dataclass(frozen=True)
class Energy:
    """What a window cost. Without a counter, or in too short a window, ``joules`` is None and ``reason`` says why.

    ``scope`` device: the counter covers the whole device or package, whoever used it.
    """

    joules: float | None
    source: str
    reason: str | None = None
    scope: str = "device"

    def as_json(self) -> dict[str, float | str | None]:
        return {"joules": self.joules, "source": self.source, "reason": self.reason, "scope": self.scope}


class Counter(ABC):
    """A counter of joules that only rises."""

    source: str

    @abstractmethod
    def joules(self) -> float:
        """Joules since an arbitrary start."""


class RaplCounter(Counter):
    """Intel's and AMD's running average power limit: one file of microjoules per package and DRAM, which wraps."""

    source = "rapl"

    def __init__(self, zones: Sequence[Path]) -> None:
        self._files = [zone / "energy_uj" for zone in zones]
        self._ranges = [int((zone / "max_energy_range_uj").read_text()) for zone in zones]
        self._last = [self._read(file) for file in self._files]
        self._joules = 0.0

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

    @staticmethod
    def _read(file: Path) -> int:
        return int(file.read_text())


class NvmlCounter(Counter):
    """The total energy of one NVIDIA GPU since its driver was loaded."""

    source = "nvml"

    def __init__(self, uuid: str, synchronize: Callable[[], None]) -> None:
        import pynvml

        pynvml.nvmlInit()
        self._nvml = pynvml
        self._handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
        self._synchronize = synchronize
        pynvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)

    def joules(self) -> float:
        self._synchronize()
        millijoules: int = self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)
        return millijoules / 1000


def rapl_counter(powercap: Path = POWERCAP) -> tuple[Counter | None, str]:
    """The machine's RAPL counter, or None and the reason."""
    zones = []
    for name_file in sorted(powercap.glob("*/name")):
        name = name_file.read_text().strip()
        if name.startswith("package") or name == "dram":
            zones.append(name_file.parent)
    if not zones:
        return None, "no RAPL counter on this machine (usual in virtual machines)"
    try:
        return RaplCounter(zones), ""
    except PermissionError:
        return None, "the RAPL counter may not be read by this user"
    except (OSError, ValueError) as error:
        return None, f"the RAPL counter cannot be read: {type(error).__name__}"


def nvml_counter(uuid: str, synchronize: Callable[[], None]) -> tuple[Counter | None, str]:
    """The GPU's own counter, or None and the reason."""
    try:
        return NvmlCounter(uuid, synchronize), ""
    except ImportError:
        return None, "nvidia-ml-py is not installed"
    except Exception as error:  # pynvml has one exception class per status, made at run time
        return None, f"NVML: {error}"


class EnergyMeter:
    """Joules of this job's training, over all its attempts."""

    def __init__(self, counter: Counter | None, reason: str = "") -> None:
        self._counter = counter
        self._reason = reason
        self._spent = 0.0
        self._earlier_s = 0.0
        self._start = counter.joules() if counter else 0.0
        self._started_at = time.monotonic()

    @property
    def available(self) -> bool:
        return self._counter is not None

    def joules(self) -> float | None:
        """Joules so far; None without a counter."""
        return None if self._counter is None else self._spent + self._counter.joules() - self._start

    def reading(self) -> Energy:
        """What is served at the end."""
        if self._counter is None:
            return Energy(None, "none", self._reason)
        window = self._earlier_s + time.monotonic() - self._started_at
        if window < MIN_WINDOW_S:
            return Energy(None, self._counter.source, "window_too_short")
        return Energy(self.joules(), self._counter.source)

    def state_dict(self) -> dict[str, float]:
        window = self._earlier_s + time.monotonic() - self._started_at
        return {"joules": self.joules() or 0.0, "window_s": window}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self._spent = state["joules"]
        self._earlier_s = state["window_s"]
