"""Scores of runs, higher is better: what tuning chooses by, and what is compared.

A run that diverged counts with the worst score; only a run that was stopped, lost or deleted has none.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from store.comparisons import Row

WORST_ACCURACY = 0.0
LOST = 2.0
"""An error has no worst value. A run that diverged has at least so many times the reference's: it lost all of it, as a
run of accuracy 0 does."""


def metric_of(rows: Iterable[Row]) -> str:
    """accuracy, in points; or mse, in per cent of the reference's."""
    for run in rows:
        if run.result is not None:
            return "accuracy" if any("accuracy" in of for of in run.result["metrics"].values()) else "mse"
    return "accuracy"


def diverged(run: Row) -> bool:
    """Whether it trained to numbers that are not finite."""
    if run.status == "failed":
        return (run.error or {}).get("kind") == "diverged"
    return run.status == "succeeded" and _value(run, "test", "loss") is None


def by_arm(rows: Sequence[Row], *, reference: str, metric: str, split: str = "test") -> dict[str, dict[int, float]]:
    """The score of each arm by seed. Errors are turned into minus per cent of the reference's mean error."""
    raw: dict[str, dict[int, float | None]] = {}
    for run in rows:
        value = None if diverged(run) else _value(run, split, metric)
        if value is not None or diverged(run):
            raw.setdefault(run.arm, {})[run.seed] = value
    finite = [value for of in raw.values() for value in of.values() if value is not None]
    if metric == "accuracy":
        worst, scale = WORST_ACCURACY, 100.0
    else:
        own = [value for value in raw.get(reference, {}).values() if value is not None]
        mean = math.fsum(own) / len(own) if own else 0.0
        scale = -100.0 / mean if mean > 0 else -1.0
        worst = max([*finite, LOST * mean])
    return {
        arm: {seed: scale * (worst if value is None else value) for seed, value in of.items()}
        for arm, of in raw.items()
    }


def choose(rows: Sequence[Row], arms: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The settings that each arm goes on with: those of the trial with the best mean score on validation."""
    metric = metric_of(rows)
    chosen = {arm["name"]: arm["trials"][_best(rows, arm["name"], metric)] for arm in arms if arm["trials"]}
    return chosen | {arm["name"]: chosen[arm["tuned_as"]] for arm in arms if arm["tuned_as"] is not None}


def by_trial(rows: Sequence[Row], arm: str, metric: str) -> dict[int, tuple[float, float]]:
    """What the trials of an arm are ranked by: metric, then loss. One with a run that failed is behind all others."""
    ranked: dict[int, tuple[float, float]] = {}
    for trial in sorted({run.trial for run in rows if run.arm == arm}):
        own = [run for run in rows if run.arm == arm and run.trial == trial]
        measured, losses = ([_value(run, "validation", name) for run in own] for name in (metric, "loss"))
        if None in measured or None in losses:
            ranked[trial] = (-math.inf, -math.inf)
            continue
        sign = 1.0 if metric == "accuracy" else -1.0
        known = [value for value in measured if value is not None]
        ranked[trial] = (sign * math.fsum(known), -math.fsum(value for value in losses if value is not None))
    return ranked


def _best(rows: Sequence[Row], arm: str, metric: str) -> int:
    """The first of the best trials."""
    ranked = by_trial(rows, arm, metric)
    return max(ranked, key=lambda trial: (ranked[trial], -trial))


def _value(run: Row, split: str, metric: str) -> float | None:
    if run.status != "succeeded" or run.result is None:
        return None
    found: float | None = run.result["metrics"].get(split, {}).get(metric)
    return found
