"""The figures of one half of the suite."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import mean, median, stdev
from typing import Any

from benchmarks.faults.bases import EVERY_STEPS
from benchmarks.faults.judging import Said, served_first
from benchmarks.faults.scenario import Scenario


@dataclass
class Row:
    """One faulty run: what was expected, what was said, and what its remedy did."""

    name: str
    expected: str
    served: str
    named: bool
    first: bool
    right_layer: bool | None
    latency_intervals: float | None
    harmed: bool
    remedy: str | None = None
    cured: bool | None = None
    placebo: str | None = None
    placebo_cured: bool | None = None


def row(scenario: Scenario, said: Sequence[Said], *, harmed: bool) -> Row:
    """Compares the served verdicts with what the fault is."""
    fault = scenario.fault
    assert fault is not None
    roots = served_first(said)
    right = [each for each in roots if each.code in fault.codes]
    # A verdict that another one explains later was served until then.
    spoken = [each.step for each in said if each.code in fault.codes]
    latency = (min(spoken) - fault.visible_from) / EVERY_STEPS if right else None
    return Row(
        name=scenario.name,
        expected=" or ".join(fault.codes),
        served=", ".join(f"{each.code} in {each.layer or 'network'} @{each.step}" for each in roots),
        named=bool(right),
        first=bool(roots) and roots[0].code in fault.codes,
        right_layer=scenario.is_right_layer(right[0].layer) if right else None,
        latency_intervals=None if latency is None else max(0.0, latency),
        harmed=harmed,
    )


def figures(rows: Sequence[Row], alarms: dict[str, str], healthy: int) -> dict[str, Any]:
    """Counts with their shares."""
    layers = [each.right_layer for each in rows if each.right_layer is not None]
    latencies = [each.latency_intervals for each in rows if each.latency_intervals is not None]
    treated = [each for each in rows if each.harmed]
    return {
        "faulty_runs": len(rows),
        "named": share(sum(each.named for each in rows), len(rows)),
        "named_first": share(sum(each.first for each in rows), len(rows)),
        "right_layer": share(sum(layers), len(layers)),
        "healthy_runs": healthy,
        "false_alarms": share(len(alarms), healthy),
        "latency_median_intervals": median(latencies) if latencies else None,
        "within_two_intervals": share(sum(each <= 2 for each in latencies), len(latencies)),
        "cured_by_first_remedy": share(sum(bool(each.cured) for each in rows), len(rows)),
        "cured_by_placebo": share(sum(bool(each.placebo_cured) for each in rows), len(rows)),
        "cured_more_than_by_placebo": _difference(rows),
        "harmed_runs": len(treated),
        "harmed_cured_by_first_remedy": share(sum(bool(each.cured) for each in treated), len(treated)),
        "harmed_cured_by_placebo": share(sum(bool(each.placebo_cured) for each in treated), len(treated)),
        "alarms": alarms,
        "rows": [asdict(each) for each in rows],
    }


def _difference(rows: Sequence[Row]) -> str | None:
    """Paired over runs: points by which the first remedy cures more, with a normal 95 % interval."""
    if len(rows) < 2:
        return None
    differences = [100.0 * (bool(each.cured) - bool(each.placebo_cured)) for each in rows]
    half_width = 1.96 * stdev(differences) / math.sqrt(len(differences))
    return f"{mean(differences):.1f} ± {half_width:.1f}"


def share(part: int, whole: int) -> str:
    """The share with its counts."""
    return f"{part} of {whole} ({part / whole:.1%})" if whole else "0 of 0"
