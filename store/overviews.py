"""Series of any length from few stored cells: what a chart of them needs, neither a spike nor a NaN left out.

The ends of a window, where a cell would reach beyond it, are read as they were measured.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from sqlalchemy import select
from sqlalchemy.orm import Session

from store import rollups, summaries
from store.rollups import Cells
from store.segments import MAX_POINTS, Steps, Values
from store.series import assembled, horizons, points_of, segments_of
from store.series_blocks import Scope, Selection, blocks_of, scope_of
from store.tables import SeriesBlock, SeriesRollup, SeriesSegment

Floats = npt.NDArray[np.float64]
By = Literal["extremes", "means"]
Piece = tuple[Floats, Values, Floats, int]
"""Steps, values, weights, number of measured points."""


@dataclass(frozen=True)
class Overview:
    """One series, thinned: each value stands for ``weights`` measured ones; ``count`` of them were measured.

    By extremes: the least, the greatest and the first value that is not finite of each cell, at their steps.
    By means: the mean of each cell, at its middle.
    """

    name: str
    layer: str | None
    layer_index: int
    parameter: str | None
    split: str | None
    unit: str
    steps: Floats
    values: Values
    weights: Floats
    count: int


def read(session: Session, job_id: str, wanted: Selection, *, by: By) -> list[Overview]:
    """The wanted series in network order; short ones, and those of a job that still runs, are whole."""
    blocks = blocks_of(session, job_id, wanted)
    cells = _cells(session, blocks, wanted)
    whole = [block for block in blocks if block.id not in cells]
    stored = segments_of(session, whole, wanted.step_from, wanted.step_to) | _ends(session, cells, wanted)
    horizon = horizons(session, job_id) if whole else {}
    pieces: dict[Scope, list[tuple[str, Piece]]] = {}
    for block in blocks:
        chosen = wanted.quantities(block)
        steps, values = assembled(block, stored.get(block.id, []), horizon, chosen, wanted)
        for place, at in enumerate(chosen):
            piece = (steps.astype(np.float64), values[place], np.ones(len(steps)), len(steps))
            if (found := cells.get(block.id)) is not None:
                piece = _with_cells(steps, values[place], found, at, by)
            pieces.setdefault(scope_of(block, at), []).append((block.units[at], piece))
    return [_joined(scope, found) for scope, found in pieces.items()]


def whole(session: Session, job_id: str, wanted: Selection) -> list[Overview]:
    """The wanted series as they were measured."""
    return [
        Overview(
            *(points.name, points.layer, points.layer_index, points.parameter, points.split, points.unit),
            steps=points.steps.astype(np.float64),
            values=points.values,
            weights=np.ones(len(points.steps)),
            count=len(points.steps),
        )
        for points in points_of(session, job_id, blocks_of(session, job_id, wanted), wanted)
    ]


def _cells(session: Session, blocks: Sequence[SeriesBlock], wanted: Selection) -> dict[int, Cells]:
    """Of each merged block that is long within the window: the cells that lie in it, between whole segments."""
    found: dict[int, Cells] = {}
    for level, of_level in groupby(
        sorted(blocks, key=lambda block: _level(block, wanted)), lambda b: _level(b, wanted)
    ):
        if level == 0:
            continue
        quantities = {block.id: len(block.quantities) for block in of_level}
        for block_id, rows in _rollups(session, list(quantities), level, wanted).items():
            decoded = [
                rollups.decode(row.cells, level=level, count=row.count, quantities=quantities[block_id], lost=row.lost)
                for row in rows
            ]
            inside = _inside(rollups.joined(decoded), MAX_POINTS // level or 1, wanted)
            if len(inside):
                found[block_id] = inside
    return found


def _level(block: SeriesBlock, wanted: Selection) -> int:
    """Points of a cell of the roll-ups that answer this; 0: as they were measured."""
    if block.summary is None:
        return 0
    return rollups.level_for(summaries.points_in(block, wanted.step_from, wanted.step_to)) or 0


def _rollups(session: Session, block_ids: Sequence[int], level: int, wanted: Selection) -> dict[int, list[Any]]:
    columns = SeriesRollup.__table__.c
    query = select(*columns).where(columns.block_id.in_(block_ids), columns.level == level)
    if wanted.step_from is not None:
        query = query.where(columns.step_to >= wanted.step_from)
    if wanted.step_to is not None:
        query = query.where(columns.step_from <= wanted.step_to)
    by_block: dict[int, list[Any]] = {}
    for row in session.execute(query.order_by(columns.block_id, columns.step_from)).all():
        by_block.setdefault(row.block_id, []).append(row)
    return by_block


def _inside(cells: Cells, of_a_segment: int, wanted: Selection) -> Cells:
    """Cells that lie in the window, less the first and the last, from where a segment begins to where one ends."""
    first = 1 if wanted.step_from is None else max(1, int(np.searchsorted(cells.step_from_C, wanted.step_from)))
    last = len(cells) - 1
    if wanted.step_to is not None:
        last = min(last, int(np.searchsorted(cells.step_to_C, wanted.step_to, side="right")))
    first = -(-first // of_a_segment) * of_a_segment
    return cells.some(slice(first, max(first, last // of_a_segment * of_a_segment)))


def _ends(session: Session, cells: Mapping[int, Cells], wanted: Selection) -> dict[int, list[Any]]:
    """Segments before and behind these cells, by block."""
    if not cells:
        return {}
    columns = SeriesSegment.__table__.c
    before = columns.step_from < max(int(found.step_from_C[0]) for found in cells.values())
    behind = columns.step_from > min(int(found.step_to_C[-1]) for found in cells.values())
    if wanted.step_from is not None:
        before &= columns.step_to >= wanted.step_from
    if wanted.step_to is not None:
        behind &= columns.step_from <= wanted.step_to
    query = select(*columns).where(columns.block_id.in_(list(cells)), before | behind)
    by_block: dict[int, list[Any]] = {}
    for row in session.execute(query.order_by(columns.block_id, columns.step_from)).all():
        found = cells[row.block_id]  # blocks on other grids than this one's may have asked for more
        if row.step_from < found.step_from_C[0] or row.step_from > found.step_to_C[-1]:
            by_block.setdefault(row.block_id, []).append(row)
    return by_block


def _with_cells(steps: Steps, values: Values, cells: Cells, at: int, by: By) -> Piece:
    """The ends of a window as they were measured, and the cells between them."""
    count = len(steps) + int(cells.count_C.sum())
    shares = cells.count_C.astype(np.float64)
    if by == "means":
        middles = (cells.step_from_C.astype(np.float64) + cells.step_to_C) / 2
        parts = [(middles, cells.mean_QC[at], shares)]
    else:
        least, greatest, lost = (
            np.isfinite(cells.least_QC[at]),
            np.isfinite(cells.greatest_QC[at]),
            cells.lost_QC[at] > 0,
        )
        parts = [
            (cells.least_at_QC[at][least], cells.least_QC[at][least], shares[least] / 2),
            (cells.greatest_at_QC[at][greatest], cells.greatest_QC[at][greatest], shares[greatest] / 2),
            (cells.lost_at_QC[at][lost], cells.lost_value_QC[at][lost], shares[lost] / 2),
        ]
    parts.append((steps.astype(np.float64), values, np.ones(len(steps))))
    all_steps = np.concatenate([part[0] for part in parts], dtype=np.float64)
    order = np.argsort(all_steps, kind="stable")
    all_steps = all_steps[order]
    once = np.append(True, np.diff(all_steps) > 0) if by == "extremes" else slice(None)
    found = [np.concatenate([part[of] for part in parts])[order][once] for of in (1, 2)]
    return all_steps[once], found[0], found[1], count


def _joined(scope: Scope, pieces: Sequence[tuple[str, Piece]]) -> Overview:
    """One series from the blocks that it lies in."""
    unit, (steps, values, weights, count) = pieces[0]
    if len(pieces) > 1:
        steps = np.concatenate([piece[0] for _, piece in pieces])
        order = np.argsort(steps, kind="stable")
        steps = steps[order]
        values = np.concatenate([piece[1] for _, piece in pieces])[order]
        weights = np.concatenate([piece[2] for _, piece in pieces])[order]
        count = sum(piece[3] for _, piece in pieces)
    return Overview(*scope, unit=unit, steps=steps, values=values, weights=weights, count=count)
