"""Costs of an arm beside another's: what a clock or a counter read, by seed, with an interval and a verdict.

Seconds and joules vary from run to run, so that a ratio alone is no finding: it is a win or a loss where its interval
over paired seeds leaves out 1 and it is a tenth away from it. Pure functions of rows.
"""

import math
from collections.abc import Collection, Sequence
from typing import Any, Final

from store.comparisons import Row
from worker.comparison import statistics

TIMED: Final = ("seconds", "joules", "inference")
SAVES: Final = 0.9
"""A cost counts as saved from a tenth on: less is within what a loaded machine varies by."""
SHORTEST_S: Final = 1.0
"""Of training: what a shorter run takes is mostly the machine's own noise."""


def timed(
    own: Sequence[Row], other: Sequence[Row], name: str, *, shared: Collection[str], level: float
) -> dict[str, Any]:
    """The geometric mean ratio over paired seeds, its interval at ``1 - level``, and the verdict.

    The verdict is saves, costs or open; ``reason`` says why it is open.
    """
    ours, theirs = _by_seed(own, name), _by_seed(other, name)
    paired = [math.log(ours[seed] / theirs[seed]) for seed in sorted(ours.keys() & theirs.keys())]
    ratio = math.exp(math.fsum(paired) / len(paired)) if paired else None
    spread = statistics.mean_interval(paired, alpha=level)
    interval = None if spread is None else [math.exp(bound) for bound in spread[2]]
    verdict, reason = "open", _reason(own, other, name, shared, interval, ratio)
    if reason is None and ratio is not None and interval is not None:
        if interval[0] <= 1 <= interval[1]:
            reason = "the interval covers 1"
        elif SAVES < ratio < 1 / SAVES:
            reason = "less than a tenth"
        else:
            verdict = "saves" if ratio < 1 else "costs"
    return {"ratio": ratio, "interval": interval, "seeds": len(paired), "verdict": verdict, "reason": reason}


def same_arithmetic(own: Sequence[Row], other: Sequence[Row]) -> bool:
    """Whether every seed has the same metrics to the bit and the same FLOPs: what differs is the clock alone."""
    ours, theirs = ({run.seed: _figures(run) for run in runs} for runs in (own, other))
    return bool(ours) and ours == theirs and None not in ours.values()


def _figures(run: Row) -> tuple[Any, Any] | None:
    if run.status != "succeeded" or run.result is None:
        return None
    return run.result["metrics"], (run.result.get("cost") or {}).get("flops")


def _reason(
    own: Sequence[Row],
    other: Sequence[Row],
    name: str,
    shared: Collection[str],
    interval: list[float] | None,
    ratio: float | None,
) -> str | None:
    """Why nothing can be said before the interval is looked at; None: it can."""
    if ratio is None:
        return "not measured"
    if any(run.job_id in shared for run in (*own, *other)):
        return "the jobs shared the machine with others"
    lengths = [list(_by_seed(runs, "seconds").values()) for runs in (own, other)]
    if name != "inference" and any(math.fsum(of) < SHORTEST_S * len(of) for of in lengths):
        return "runs of under a second"
    return "a single seed" if interval is None else None


def _by_seed(runs: Sequence[Row], name: str) -> dict[int, float]:
    read = {run.seed: _read(run, name) for run in runs}
    return {seed: value for seed, value in read.items() if value is not None and value > 0}


def _read(run: Row, name: str) -> float | None:
    cost = (run.result or {}).get("cost") or {}
    found: float | None
    if name == "seconds":
        found = cost.get("training_s")
    elif name == "joules":
        found = (cost.get("energy") or {}).get("joules")
    else:
        found = (cost.get("inference") or {}).get("seconds_per_row")
    return found
