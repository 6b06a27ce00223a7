"""What a series comes to: how many points, the least, the greatest, the mean, the last one.

A merged block keeps its summary; of a job that still runs it is made from the points.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy.orm import Session

from store.segments import Steps, Values
from store.series import assembled, horizons, segments_of
from store.series_blocks import Scope, Selection, blocks_of, scope_of
from store.tables import SeriesBlock

STORED = np.dtype(
    [
        ("count", "<i8"),
        ("lost", "<i8"),
        ("least", "<f4"),
        ("greatest", "<f4"),
        ("mean", "<f8"),
        ("last", "<f4"),
        ("first_step", "<i4"),
        ("last_step", "<i4"),
    ]
)


@dataclass(frozen=True)
class Summary:
    """One series without its points. ``least``, ``greatest`` and ``mean`` are of the finite values; NaN: there is none.

    ``lost`` counts the values that are not finite.
    """

    name: str
    layer: str | None
    layer_index: int
    parameter: str | None
    split: str | None
    unit: str
    count: int
    lost: int
    least: float
    greatest: float
    mean: float
    last: float
    last_step: int


def read(session: Session, job_id: str, wanted: Selection | None = None) -> list[Summary]:
    """The wanted series with at least one point, in network order."""
    wanted = wanted or Selection()
    blocks = blocks_of(session, job_id, wanted)
    horizon: dict[int, float] | None = None
    pieces: dict[Scope, list[tuple[str, Any]]] = {}
    for block in blocks:
        if block.summary is not None:
            found = np.frombuffer(block.summary, STORED)
        else:
            horizon = horizons(session, job_id) if horizon is None else horizon
            # One block at a time: all points of a long job at once would not fit.
            stored = segments_of(session, [block]).get(block.id, [])
            found = summed_up(*assembled(block, stored, horizon, range(len(block.quantities)), Selection()))
        for at in wanted.quantities(block):
            pieces.setdefault(scope_of(block, at), []).append((block.units[at], found[at]))
    joined = (_joined(scope, found) for scope, found in pieces.items())
    return [summary for summary in joined if summary.count]


def summed_up(steps: Steps, values: Values) -> npt.NDArray[np.void]:
    """The summary [Q] of steps [n] and values [Q, n], as a block keeps it."""
    found = np.zeros(len(values), STORED)
    found["count"] = len(steps)
    if len(steps) == 0:
        return found
    finite = np.isfinite(values)
    kept = finite.sum(axis=1)
    found["lost"] = len(steps) - kept
    none = kept == 0
    for name, extreme, start in (("least", np.min, np.inf), ("greatest", np.max, -np.inf)):
        found[name] = np.where(none, np.nan, extreme(np.where(finite, values, np.float32(start)), axis=1))
    total = np.where(finite, values, np.float32(0)).sum(axis=1, dtype=np.float64)
    found["mean"] = np.where(none, np.nan, total / np.maximum(kept, 1))
    found["last"] = values[:, -1]
    found["first_step"], found["last_step"] = steps[0], steps[-1]
    return found


def points_in(block: SeriesBlock, step_from: int | None, step_to: int | None) -> int:
    """About how many points of a merged block lie in this window; exact for a grid that is even."""
    assert block.summary is not None
    found = np.frombuffer(block.summary, STORED)[0]
    first, last = int(found["first_step"]), int(found["last_step"])
    inside = min(last, last if step_to is None else step_to) - max(first, first if step_from is None else step_from)
    return int(found["count"] * max(inside, 0) / max(last - first, 1))


def _joined(scope: Scope, pieces: Sequence[tuple[str, Any]]) -> Summary:
    parts = np.array([part for _, part in pieces], STORED)
    parts = parts[parts["count"] > 0] if len(parts) > 1 else parts
    newest = parts[np.argmax(parts["last_step"])] if len(parts) else np.zeros((), STORED)
    finite = (parts["count"] - parts["lost"]).astype(np.float64)
    some = parts[finite > 0]
    weights = finite[finite > 0]
    return Summary(
        *scope,
        unit=pieces[0][0],
        count=int(parts["count"].sum()),
        lost=int(parts["lost"].sum()),
        least=float(some["least"].min()) if len(some) else float("nan"),
        greatest=float(some["greatest"].max()) if len(some) else float("nan"),
        mean=float(np.average(some["mean"], weights=weights)) if len(some) else float("nan"),
        last=float(newest["last"]),
        last_step=int(newest["last_step"]),
    )
