"""Down-sampling of series for charts: a spike or a NaN survives all methods but ``last``.

Points may weigh more than one measured point, where a roll-up stands for many: buckets hold equal weights.
"""

from typing import Literal

import numpy as np
import numpy.typing as npt

from store.rollups import first_of_each

Method = Literal["minmax", "lttb", "mean", "last"]
Indices = npt.NDArray[np.intp]
Floats = npt.NDArray[np.float64]


def sample(
    x: Floats, y: npt.NDArray[np.float32], *, max_points: int, method: Method, weights: Floats | None = None
) -> tuple[Floats, npt.NDArray[np.float32]]:
    """At most ``max_points`` of the points, or all of them when they are fewer."""
    if len(x) <= max_points:
        return x, y
    weights = np.ones(len(x)) if weights is None else weights
    before = np.cumsum(weights) - weights
    if method == "mean":
        return _mean(x, y, weights, _starts(before, max_points))
    if method == "last":
        return x[-max_points:], y[-max_points:]
    if max_points < 4:
        chosen = _extremes(y, max_points)
    elif method == "minmax":
        chosen = _minmax(y, before, max_points)
    else:
        # The triangles are looked for among a few extremes of each bucket (MinMaxLTTB, Van Der Donckt et al. 2023).
        chosen = _minmax(y, before, 4 * max_points) if len(x) > 4 * max_points else np.arange(len(x))
        chosen = chosen[_lttb(x[chosen], y[chosen], before[chosen], max_points)]
    return x[chosen], y[chosen]


def _starts(before: Floats, buckets: int) -> Indices:
    """Where each bucket begins, given the weight before each point. Beside a heavy point a bucket may be empty."""
    edges = np.linspace(before[0], before[-1], buckets, endpoint=False)
    return _once(np.searchsorted(before, edges))


def _once(ascending: Indices) -> Indices:
    """What ``numpy.unique`` gives, which would hash what is sorted already."""
    kept: Indices = ascending[np.append(True, np.diff(ascending) > 0)]
    return kept


def _minmax(y: npt.NDArray[np.float32], before: Floats, max_points: int) -> Indices:
    """The first and last points, and of each bucket the least, the greatest and a non-finite one instead of the least.

    Needs at least 4 points to choose.
    """
    inner = y[1:-1]
    shown = np.where(np.isfinite(inner), inner, np.float32(-np.inf))[None]
    starts = _starts(before[1:-1], (max_points - 2) // 2)
    chosen = [first_of_each(shown, starts, extreme)[0] + 1 for extreme in (np.minimum, np.maximum)]
    return _once(np.sort(np.concatenate([[0, len(y) - 1], *chosen])))


def _extremes(y: npt.NDArray[np.float32], max_points: int) -> Indices:
    finite = np.isfinite(y)
    peak = int(np.argmax(np.where(finite, np.abs(y), -1.0))) if finite.all() else int(np.argmin(finite))
    return np.unique(np.asarray([peak, len(y) - 1, 0][:max_points], dtype=np.intp))


def _lttb(x: Floats, y: npt.NDArray[np.float32], before: Floats, max_points: int) -> Indices:
    """Largest triangle three buckets (Steinarsson 2013); a bucket with a non-finite value yields that value."""
    finite = np.isfinite(y)
    level = np.where(finite, y, np.float32(0)).astype(np.float64)
    starts = _starts(before[1:-1], max_points - 2)
    ends = np.append(starts[1:], len(y) - 2)
    # The third corner is the middle of the next bucket; behind the last bucket it is the last point.
    x_next = np.append(np.add.reduceat(x[1:-1], starts) / (ends - starts), x[-1])[1:]
    y_next = np.append(np.add.reduceat(level[1:-1], starts) / (ends - starts), level[-1])[1:]
    chosen = [0]
    for bucket, (start, stop) in enumerate(zip((starts + 1).tolist(), (ends + 1).tolist(), strict=True)):
        if not finite[start:stop].all():
            chosen.append(int(start + np.argmin(finite[start:stop])))
            continue
        last = chosen[-1]
        area = (x[last] - x_next[bucket]) * (level[start:stop] - level[last])
        area -= (x[last] - x[start:stop]) * (y_next[bucket] - level[last])
        chosen.append(int(start + np.argmax(np.abs(area))))
    chosen.append(len(y) - 1)
    return np.unique(np.asarray(chosen, dtype=np.intp))


def _mean(
    x: Floats, y: npt.NDArray[np.float32], weights: Floats, starts: Indices
) -> tuple[Floats, npt.NDArray[np.float32]]:
    """Bucket means; a bucket with a NaN is NaN."""
    total = np.add.reduceat(weights, starts)
    with np.errstate(invalid="ignore"):
        means = np.add.reduceat(y * weights, starts) / total
    return np.add.reduceat(x * weights, starts) / total, means.astype(np.float32)
