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
from store import series
from store.sampling import Method, sample
from store.series import Points

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
    _check_names(session, job_id, wanted.names or ())
    found = series.read(
        session,
        job_id,
        names=wanted.names,
        layers=wanted.layers,
        parameters=wanted.parameters,
        splits=wanted.splits,
        step_from=wanted.from_step,
        step_to=wanted.to_step,
    )
    axis = None if wanted.x == "step" else _axis(session, job_id, AXES[wanted.x])
    return [_answer(points, wanted, axis) for points in found]


def _check_names(session: Session, job_id: str, names: Sequence[str]) -> None:
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
    return [_entry(points) for points in series.read(session, job_id)]


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
    for points in series.read(session, job_id, names=[quantity]):
        known = np.isfinite(points.values)
        if points.layer is None and points.parameter is None and points.split in (None, "train") and known.any():
            return points.steps[known].astype(np.float64), points.values[known].astype(np.float64)
    return None


def _answer(points: Points, wanted: Wanted, axis: tuple[Floats, Floats] | None) -> SeriesAnswer:
    steps, values = points.steps.astype(np.float64), points.values
    if wanted.x != "step" and axis is None:
        steps, values = steps[:0], values[:0]
    steps, values = sample(steps, values, max_points=wanted.max_points, method=wanted.method)
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
        sampled=len(values) < len(points.values),
        raw_count=len(points.values),
        nonfinite=[Nonfinite(step=steps[at], kind=_kind(values[at])) for at in np.flatnonzero(lost)],
    )


def _kind(value: np.float32) -> str:
    if math.isnan(value):
        return "nan"
    return "inf" if value > 0 else "-inf"


def _entry(points: Points) -> CatalogAnswer:
    finite = points.values[np.isfinite(points.values)]
    last = float(points.values[-1]) if len(points.values) else math.nan
    return CatalogAnswer(
        name=points.name,
        layer=points.layer,
        parameter=points.parameter,
        split=points.split,
        unit=points.unit,
        count=len(points.values),
        last=last if math.isfinite(last) else None,
        min=float(finite.min()) if len(finite) else None,
        max=float(finite.max()) if len(finite) else None,
        nonfinite_count=len(points.values) - len(finite),
    )
