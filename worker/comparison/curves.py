"""Anytime curves: the validation score over steps, seconds, FLOPs and joules, averaged over the seeds of an arm."""

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from sqlalchemy.orm import Session

from store import series
from store.comparisons import Row
from store.series import Points

MOST_POINTS: Final = 60
AXES: Final = ("step", "seconds", "flops", "joules")

Floats = npt.NDArray[np.float64]


def of_arm(session: Session, runs: Sequence[Row], *, metric: str) -> list[dict[str, Any]]:
    """Points of an arm, oldest first: mean and spread of the score over the seeds that have come so far."""
    curves = [curve for run in runs if run.job_id is not None and (curve := _of_run(session, run, metric))]
    if not curves:
        return []
    points = []
    for index in _kept(max(len(curve) for curve in curves)):
        here = [curve[index] for curve in curves if index < len(curve)]
        scores = [point["score"] for point in here]
        points.append(
            {
                **{name: _mean([point[name] for point in here]) for name in AXES},
                "score": _mean(scores),
                "lowest": min(scores),
                "highest": max(scores),
                "seeds": len(here),
            }
        )
    return points


def to_target(points: Sequence[dict[str, Any]], target: float, *, higher_is_better: bool) -> dict[str, Any] | None:
    """Steps, seconds, FLOPs and joules of the first point that reaches the target; None where none does."""
    for point in points:
        if point["score"] >= target if higher_is_better else point["score"] <= target:
            return {name: point[name] for name in AXES}
    return None


def _of_run(session: Session, run: Row, metric: str) -> list[dict[str, Any]]:
    assert run.job_id is not None
    read = series.read(session, run.job_id, names=[metric, "wall_s", "energy_joules"])
    scores = _whole(read, metric, "validation")
    if scores is None:
        return []
    seconds, joules = _whole(read, "wall_s", "train"), _whole(read, "energy_joules", "train")
    cost = (run.result or {}).get("cost") or {}
    steps = float((run.result or {}).get("step") or scores.steps[-1])
    flops = cost.get("flops")
    return [
        {
            "step": int(step),
            "seconds": _at(step, seconds),
            "joules": _at(step, joules),
            "flops": None if flops is None else flops * float(step) / steps,
            "score": float(value),
        }
        for step, value in zip(scores.steps, scores.values, strict=True)
        if math.isfinite(value)
    ]


def _at(step: float, series_: Points | None) -> float | None:
    return None if series_ is None else float(np.interp(step, series_.steps, series_.values))


def _whole(read: Sequence[Points], name: str, split: str) -> Points | None:
    """The whole network's series of this name and split."""
    for points in read:
        if points.name == name and points.layer is None and points.split in (split, None) and len(points.steps):
            return points
    return None


def _kept(count: int) -> list[int]:
    """Indices of at most MOST_POINTS points, the first and the last among them."""
    if count <= MOST_POINTS:
        return list(range(count))
    return sorted({round(index) for index in np.linspace(0, count - 1, MOST_POINTS)})


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None
