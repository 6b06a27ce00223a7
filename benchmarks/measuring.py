"""What the benchmarks share: paired ratios with their spread, and the file that keeps the figures."""

import json
import os
import platform
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def spread(values: Sequence[float]) -> str:
    """Median, least and greatest."""
    return f"{median(values):.3f} [{min(values):.3f}-{max(values):.3f}]"


def ratios(numerators: Sequence[float], denominators: Sequence[float]) -> list[float]:
    """The ratio within each pair: a slow minute of the machine slows both."""
    return [above / below for above, below in zip(numerators, denominators, strict=True)]


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
    }


def keep(benchmark: str, figures: dict[str, Any]) -> Path:
    """Writes the figures beside those of other benchmarks on this kind of machine."""
    RESULTS.mkdir(exist_ok=True)
    name = "-".join([*_cpu_name().lower().split(), f"{os.cpu_count()}-cores"])
    path = RESULTS / f"{name}.json"
    kept = json.loads(path.read_text()) if path.exists() else {}
    kept["machine"] = machine()
    kept[benchmark] = {"taken_on": time.strftime("%Y-%m-%d"), **figures}
    path.write_text(json.dumps(kept, indent=1) + "\n")
    return path


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
