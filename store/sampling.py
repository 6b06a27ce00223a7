"""Down-sampling of series for charts: a spike or a NaN survives all methods but ``last``."""

from itertools import pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt

Method = Literal["minmax", "lttb", "mean", "last"]
Indices = npt.NDArray[np.intp]


def sample(
    x: npt.NDArray[np.float64], y: npt.NDArray[np.float32], *, max_points: int, method: Method
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float32]]:
    """At most ``max_points`` of the points, or all of them when they are fewer."""
    if len(x) <= max_points:
        return x, y
    if method == "mean":
        return _mean(x, y, max_points)
    chosen = {"minmax": _minmax, "lttb": _lttb, "last": _last}[method](x, y, max_points)
    return x[chosen], y[chosen]


def _edges(count: int, buckets: int) -> Indices:
    return np.linspace(0, count, buckets + 1).astype(np.intp)


def _minmax(_x: npt.NDArray[np.float64], y: npt.NDArray[np.float32], max_points: int) -> Indices:
    """The first and last points, and of each bucket the least, the greatest and a non-finite one instead of both."""
    if max_points < 4:
        return _extremes(y, max_points)
    edges = _edges(len(y) - 2, (max_points - 2) // 2) + 1
    chosen = [0, len(y) - 1]
    for start, stop in pairwise(edges):
        piece = y[start:stop]
        finite = np.isfinite(piece)
        if not finite.all():
            chosen.append(int(start + np.argmin(finite)))
            piece = np.where(finite, piece, np.float32(-np.inf))
            chosen.append(int(start + np.argmax(piece)))
        else:
            chosen += [int(start + np.argmin(piece)), int(start + np.argmax(piece))]
    return np.unique(np.asarray(chosen, dtype=np.intp))


def _extremes(y: npt.NDArray[np.float32], max_points: int) -> Indices:
    finite = np.isfinite(y)
    peak = int(np.argmax(np.where(finite, np.abs(y), -1.0))) if finite.all() else int(np.argmin(finite))
    return np.unique(np.asarray([peak, len(y) - 1, 0][:max_points], dtype=np.intp))


def _last(_x: npt.NDArray[np.float64], y: npt.NDArray[np.float32], max_points: int) -> Indices:
    return np.arange(len(y) - max_points, len(y), dtype=np.intp)


def _lttb(x: npt.NDArray[np.float64], y: npt.NDArray[np.float32], max_points: int) -> Indices:
    """Largest triangle three buckets (Steinarsson 2013); a bucket with a non-finite value yields that value."""
    if max_points < 3:
        return _extremes(y, max_points)
    edges = _edges(len(y) - 2, max_points - 2) + 1
    chosen = [0]
    for bucket, (start, stop) in enumerate(pairwise(edges)):
        piece = y[start:stop]
        finite = np.isfinite(piece)
        if not finite.all():
            chosen.append(int(start + np.argmin(finite)))
            continue
        after = slice(stop, edges[bucket + 2]) if bucket + 2 < len(edges) else slice(len(y) - 1, len(y))
        x_next, y_next = x[after].mean(), np.nan_to_num(y[after]).mean()
        x_last, y_last = x[chosen[-1]], np.nan_to_num(y[chosen[-1]])
        area = np.abs((x_last - x_next) * (piece - y_last) - (x_last - x[start:stop]) * (y_next - y_last))
        chosen.append(int(start + np.argmax(area)))
    chosen.append(len(y) - 1)
    return np.unique(np.asarray(chosen, dtype=np.intp))


def _mean(
    x: npt.NDArray[np.float64], y: npt.NDArray[np.float32], max_points: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float32]]:
    """Bucket means; a bucket with a NaN is NaN."""
    starts = _edges(len(y), max_points)[:-1]
    counts = np.diff(np.append(starts, len(y)))
    with np.errstate(invalid="ignore"):
        means = np.add.reduceat(y.astype(np.float64), starts) / counts
    return np.add.reduceat(x, starts) / counts, means.astype(np.float32)
