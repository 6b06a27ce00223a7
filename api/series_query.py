"""Series as a client wants them: some names, some steps, another horizontal axis, few enough points for a chart."""

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from api.errors import Refused
from api.meant import asked
from api.problems import ProblemItem
from specs.diagnostics import DIAGNOSTIC_KINDS
from specs.learners import LEARNER_SPECS
from store import overviews, series, summaries
from store.overviews import Overview
from store.sampling import Method, sample
from store.series_blocks import Selection
from store.summaries import Summary

Axis = Literal["step", "wall_s", "samples", "joules"]
AXES = {"wall_s": "wall_s", "samples": "samples", "joules": "energy_joules"}
"""Axis -> the quantity of the whole network's training that it is read from."""
COLUMNS = ("name", "layer", "parameter", "split", "unit", "x", "y", "sampled", "raw_count")

EXPECTED = frozenset(
    {
        "accuracy",
        "learning_rate",
        "loss",
        "mse",
        "phase",
        *(name for kind in DIAGNOSTIC_KINDS for name in kind.quantities),
        *(name for rule in LEARNER_SPECS for name in rule.quantities),
    }
)
"""Names that every job may be asked for: one that it did not measure, or not yet, has no points."""

Floats = npt.NDArray[np.float64]


class Nonfinite(BaseModel):
    """A point that JSON has no number for; its ``y`` is null."""

    step: float
    kind: str = Field(description="nan, inf or -inf")


class SeriesAnswer(BaseModel):
    """One measured quantity of one layer, of one parameter, or of the whole network."""

    name: str
    layer: str | None
    parameter: str | None
    split: str | None
    unit: str
    x: list[float]
    y: list[float | None]
    sampled: bool = Field(description="whether points were left out")
    raw_count: int = Field(description="points before sampling")
    nonfinite: list[Nonfinite]


class CatalogAnswer(BaseModel):
    """What is known of a series without its points."""

    name: str
    layer: str | None
    parameter: str | None
    split: str | None
    unit: str
    count: int
    last: float | None
    min: float | None
    max: float | None
    nonfinite_count: int


@dataclass(frozen=True)
class Wanted:
    """What is asked of a job's series."""

    names: Sequence[str] | None
    layers: Sequence[str] | None
    parameters: Sequence[str] | None
    splits: Sequence[str] | None
    from_step: int | None
    to_step: int | None
    max_points: int
    method: Method
    x: Axis


def query(session: Session, job_id: str, wanted: Wanted) -> list[SeriesAnswer]:
    """The wanted series in network order. Refuses a name that is nobody's once the job has series."""
    check_names(session, job_id, wanted.names or ())
    chosen = Selection(wanted.names, wanted.layers, wanted.parameters, wanted.splits, wanted.from_step, wanted.to_step)
    axis = None if wanted.x == "step" else _axis(session, job_id, AXES[wanted.x])
    return [_answer(found, wanted, axis) for found in _thinned(session, job_id, chosen, wanted.method)]


def _thinned(session: Session, job_id: str, chosen: Selection, method: Method) -> list[Overview]:
    if method == "last":
        return overviews.whole(session, job_id, chosen)
    return overviews.read(session, job_id, chosen, by="means" if method == "mean" else "extremes")


def check_names(session: Session, job_id: str, names: Sequence[str]) -> None:
    """Refuses a name that is nobody's, once the job has series."""
    unknown = [name for name in names if name not in EXPECTED]
    there = sorted(series.names(session, job_id)) if unknown else []
    # Before its first point nobody can say which quantities of its own a learner will report.
    wrong = [name for name in unknown if name not in there] if there else []
    items = [
        ProblemItem(
            pointer="/query/names",
            code="unknown_series",
            detail=f"this job has no series {name[:80]!r}{asked(name, there)}",
            allowed=list(there),
        )
        for name in wrong[:3]
    ]
    if items:
        raise Refused("invalid_request", items[0].detail, errors=items)


def catalog(session: Session, job_id: str) -> list[CatalogAnswer]:
    """All series of the job, in network order."""
    return [_entry(summary) for summary in summaries.read(session, job_id)]


def as_csv(answers: Iterable[SeriesAnswer]) -> str:
    """One line a point. A value that is not finite is written out: nan, inf or -inf."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for answer in answers:
        kinds = iter(answer.nonfinite)
        for x, y in zip(answer.x, answer.y, strict=True):
            value = next(kinds).kind if y is None else y
            scope = (answer.name, answer.layer, answer.parameter, answer.split, answer.unit)
            writer.writerow([*scope, x, value, str(answer.sampled).lower(), answer.raw_count])
    return text.getvalue()


def _axis(session: Session, job_id: str, quantity: str) -> tuple[Floats, Floats] | None:
    """Steps and values of the quantity that is to be the horizontal axis; None where it was not measured."""
    for found in overviews.read(session, job_id, Selection(names=[quantity]), by="extremes"):
        known = np.isfinite(found.values)
        if found.layer is None and found.parameter is None and found.split in (None, "train") and known.any():
            return found.steps[known], found.values[known].astype(np.float64)
    return None


def _answer(points: Overview, wanted: Wanted, axis: tuple[Floats, Floats] | None) -> SeriesAnswer:
    steps, values, weights = points.steps, points.values, points.weights
    if wanted.x != "step" and axis is None:
        steps, values, weights = steps[:0], values[:0], weights[:0]
    steps, values = sample(steps, values, max_points=wanted.max_points, method=wanted.method, weights=weights)
    # A point between two steps of the axis lies between their values.
    x = steps if axis is None else np.interp(steps, *axis)
    lost = ~np.isfinite(values)
    return SeriesAnswer(
        name=points.name,
        layer=points.layer,
        parameter=points.parameter,
        split=points.split,
        unit=points.unit,
        x=x.tolist(),
        y=[None if gone else value for value, gone in zip(values.tolist(), lost.tolist(), strict=True)],
        sampled=len(values) < points.count,
        raw_count=points.count,
        nonfinite=[Nonfinite(step=steps[at], kind=_kind(values[at])) for at in np.flatnonzero(lost)],
    )


def _kind(value: np.float32) -> str:
    if math.isnan(value):
        return "nan"
    return "inf" if value > 0 else "-inf"


def _entry(summary: Summary) -> CatalogAnswer:
    return CatalogAnswer(
        name=summary.name,
        layer=summary.layer,
        parameter=summary.parameter,
        split=summary.split,
        unit=summary.unit,
        count=summary.count,
        last=finite(summary.last),
        min=finite(summary.least),
        max=finite(summary.greatest),
        nonfinite_count=summary.lost,
    )


def finite(value: float) -> float | None:
    """The number as JSON has it."""
    return value if math.isfinite(value) else None
