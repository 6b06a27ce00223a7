"""The figures of both halves as a page that a person reads."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

LINES: Final[dict[str, str]] = {
    "faulty_runs": "spoilt runs",
    "named": "named: a verdict that no other explains has the right code",
    "named_first": "named first",
    "right_layer": "right layer, where the fault has one",
    "healthy_runs": "healthy runs",
    "false_alarms": "healthy runs with any verdict",
    "within_two_intervals": "found within two logging intervals",
    "latency_median_intervals": "median latency in intervals",
    "cured_by_first_remedy": "cured by the first remedy",
    "cured_by_placebo": "cured by a placebo",
    "cured_more_than_by_placebo": "difference in points, 95 % interval over runs",
    "harmed_runs": "spoilt runs whose loss is beyond the margin",
    "harmed_cured_by_first_remedy": "of these cured by the first remedy",
    "harmed_cured_by_placebo": "of these cured by a placebo",
    "nan_origin_exact": "NaN found in its layer, tensor and step",
    "cpu_s": "CPU seconds, without cures",
}
INTRODUCTION: Final = """# What the verdicts are worth

`python -m benchmarks.faults --half scoring --keep` measures this and writes it. Limits and remedies of the rules were
set on the tuning half alone, which stands beside it; halves are fixed by a hash of the runs' names. A run is cured
where the verdict is gone and the loss on the test rows is at most 1.25 times the healthy run's (and 0.1 more, of a
cross-entropy). The placebo is a remedy of another verdict, drawn by the run's name.

This is not the first scoring. After it the rules' logic was mended where newcomers' jobs showed it wrong: what may
explain what, remedies that change nothing, dead layers seen at one probe, weights that start at zero, estimates that
are mostly noise (their direction is averaged over ten probes, not five). No limit was moved, and runs like those jobs
were added to both halves by the same hash. The first scoring had, on the scoring half, 68 of 72 named, 42 of 42 right
layers, 0 of 91 false alarms, 67 of 68 found within two intervals, 54 of 72 cured by the first remedy and 9 of 72 by a
placebo.
"""
RUN_TITLES: Final = "spoilt run|what was said, at which step|right layer|intervals|first remedy|cured|placebo cured"
HALVES: Final = ("scoring", "tuning")
MARK: Final = {True: "yes", False: "no", None: "–"}


def write(results: Path, page: Path) -> None:
    """The page of what is kept in ``results``."""
    kept = json.loads(results.read_text())
    halves = {half: kept[f"faults/{half}"] for half in HALVES if f"faults/{half}" in kept}
    page.write_text("\n".join(_lines(halves)) + "\n")


def _lines(halves: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    yield INTRODUCTION
    yield "| | " + " | ".join(f"{half} half" for half in halves) + " |"
    yield "|---" * (len(halves) + 1) + "|"
    for figure, title in LINES.items():
        yield f"| {title} | " + " | ".join(str(found.get(figure, "–")) for found in halves.values()) + " |"
    for half, found in halves.items():
        yield from _runs(half, found)


def _runs(half: str, found: Mapping[str, Any]) -> Iterator[str]:
    yield f"\n## The {half} half, run by run\n"
    yield f"| {RUN_TITLES.replace('|', ' | ')} |"
    yield "|---" * (RUN_TITLES.count("|") + 1) + "|"
    for row in found["rows"]:
        late = "–" if row["latency_intervals"] is None else f"{row['latency_intervals']:.1f}"
        said = row["served"] or "nothing"
        name = row["name"] if row["named"] else f"**missed:** {row['name']} ({row['expected']})"
        cells = (name, said, MARK[row["right_layer"]], late, row["remedy"] or "–")
        yield f"| {' | '.join(cells)} | {MARK[row['cured']]} | {MARK[row['placebo_cured']]} |"
    for name, said in found["alarms"].items():
        yield f"\nFalse alarm: {name}: {said}"
