"""Measured series: float32 segments with the attempt in the key, so that a resumed job doubles nothing.

A point of attempt a at step s counts unless a later attempt resumed from a step before s. A series is its name and
scope; which quantities travelled in one block is a matter of storage, so one series may lie in several blocks.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from specs.reports import SeriesBlock as Block
from store import segments
from store.segments import Steps, Values
from store.series_blocks import BlockIds, Scope, Selection, blocks_of, insert, names, scope_of
from store.small_segments import SmallSegments
from store.tables import Attempt, SeriesBlock, SeriesSegment

__all__ = ["BlockIds", "Points", "Selection", "append", "blocks_of", "names", "points_of", "read", "split"]

Stored = Sequence[Any]
"""Rows of segments: block_id, attempt, step_from, step_to, count, points."""


@dataclass(frozen=True)
class Points:
    """All points of one series: steps ascending, values float32 with NaN kept as NaN."""

    name: str
    layer: str | None
    layer_index: int
    parameter: str | None
    split: str | None
    unit: str
    steps: Steps
    values: Values


def append(
    session: Session,
    job_id: str,
    attempt: int,
    blocks: Sequence[Block],
    payload: bytes,
    *,
    ids: BlockIds,
    small: SmallSegments | None = None,
) -> int:
    """Stores blocks as they came from a trainer; returns the number of points. Writing twice changes nothing.

    With ``small``, which is of this attempt, the segments of earlier calls grow together with these.
    """
    rows = []
    points = 0
    pieces = list(split(blocks, payload))
    for block_id, (block, piece) in zip(ids.of(session, job_id, blocks), pieces, strict=True):
        steps = np.frombuffer(piece, "<i4", count=block.count)
        rows.append(
            {
                "block_id": block_id,
                "attempt": attempt,
                "step_from": int(steps.min()),  # a step that turned out bad later is reported behind its followers
                "step_to": int(steps.max()),
                "count": block.count,
                "points": piece,
            }
        )
        points += block.count * len(block.quantities)
    if rows:
        if small is not None:
            rows = small.grown(session, rows, [len(block.quantities) for block in blocks])
        session.execute(insert(session)(SeriesSegment.__table__).on_conflict_do_nothing(), rows)
    return points


def split(blocks: Sequence[Block], payload: bytes) -> Iterator[tuple[Block, bytes]]:
    """Each block with its bytes. ValueError when the payload is not exactly as long as the blocks say."""
    start = 0
    for block in blocks:
        end = start + 4 * block.count * (1 + len(block.quantities))
        if end > len(payload):
            raise ValueError("the payload is shorter than its blocks say")
        yield block, payload[start:end]
        start = end
    if start != len(payload):
        raise ValueError("the payload is longer than its blocks say")


def read(
    session: Session,
    job_id: str,
    *,
    names: Sequence[str] | None = None,
    layers: Sequence[str] | None = None,
    parameters: Sequence[str] | None = None,
    splits: Sequence[str] | None = None,
    step_from: int | None = None,
    step_to: int | None = None,
) -> list[Points]:
    """The wanted series with the points that count, in network order."""
    wanted = Selection(names, layers, parameters, splits, step_from, step_to)
    return points_of(session, job_id, blocks_of(session, job_id, wanted), wanted)


def points_of(session: Session, job_id: str, blocks: Sequence[SeriesBlock], wanted: Selection) -> list[Points]:
    """The wanted series of these blocks."""
    horizon = horizons(session, job_id) if blocks else {}
    stored = segments_of(session, blocks, wanted.step_from, wanted.step_to)
    pieces: dict[Scope, list[tuple[str, Steps, Values]]] = {}
    for block in blocks:
        chosen = wanted.quantities(block)
        steps, values = assembled(block, stored.get(block.id, []), horizon, chosen, wanted)
        for place, at in enumerate(chosen):
            pieces.setdefault(scope_of(block, at), []).append((block.units[at], steps, values[place]))
    return [_joined(scope, found) for scope, found in pieces.items()]


def horizons(session: Session, job_id: str) -> dict[int, float]:
    """For each attempt the last step whose points count: the least step that a later attempt resumed from."""
    rows = session.execute(
        select(Attempt.number, Attempt.resumed_from_step)
        .where(Attempt.job_id == job_id)
        .order_by(Attempt.number.desc())
    ).all()
    horizons: dict[int, float] = {}
    least = float("inf")
    for number, resumed_from in rows:
        horizons[number] = least
        if resumed_from is not None:
            least = min(least, resumed_from)
    return horizons


def segments_of(
    session: Session, blocks: Iterable[SeriesBlock], step_from: int | None = None, step_to: int | None = None
) -> dict[int, Stored]:
    """Rows of segments with steps in this window, by block."""
    columns = SeriesSegment.__table__.c
    query = select(*columns).where(columns.block_id.in_([block.id for block in blocks]))
    if step_from is not None:
        query = query.where(columns.step_to >= step_from)
    if step_to is not None:
        query = query.where(columns.step_from <= step_to)
    by_block: dict[int, list[Any]] = {}
    # In the order of the primary key: another one would sort the points themselves.
    for row in session.execute(query.order_by(columns.block_id, columns.attempt, columns.step_from)).all():
        by_block.setdefault(row.block_id, []).append(row)
    return dict(by_block)


def assembled(
    block: SeriesBlock, stored: Stored, horizon: dict[int, float], chosen: Sequence[int], wanted: Selection
) -> tuple[Steps, Values]:
    """Steps [n] ascending and values [chosen quantity, n] of one block, within the wanted steps."""
    first = -np.inf if wanted.step_from is None else wanted.step_from
    last = np.inf if wanted.step_to is None else wanted.step_to
    width = len(block.quantities)
    picked = _picked(chosen, width)
    steps_of, values_of = [np.empty(0, np.int32)], [np.empty((len(chosen), 0), np.float32)]
    for row in stored:
        steps, values = segments.decode(
            row.points, quantities=width, count=row.count, step_from=row.step_from, step_to=row.step_to
        )
        values = values[picked]
        ends = min(last, horizon.get(row.attempt, np.inf))
        if first > row.step_from or ends < row.step_to:
            kept = (steps >= first) & (steps <= ends)
            steps, values = steps[kept], values[:, kept]
        steps_of.append(steps)
        values_of.append(values)
    steps, values = np.concatenate(steps_of), np.concatenate(values_of, axis=1)
    if (np.diff(steps) < 0).any():
        order = np.argsort(steps, kind="stable")
        steps, values = steps[order], values[:, order]
    return steps, values


def _picked(chosen: Sequence[int], width: int) -> slice | list[int]:
    """An index of the chosen quantities that copies nothing where it can."""
    if len(chosen) == width:
        return slice(None)
    return slice(chosen[0], chosen[0] + 1) if len(chosen) == 1 else list(chosen)


def _joined(scope: Scope, pieces: Sequence[tuple[str, Steps, Values]]) -> Points:
    """One series from the blocks that it lies in."""
    unit, steps, values = pieces[0]
    if len(pieces) > 1:
        steps = np.concatenate([piece[1] for piece in pieces])
        order = np.argsort(steps, kind="stable")
        steps, values = steps[order], np.concatenate([piece[2] for piece in pieces])[order]
    return Points(*scope, unit=unit, steps=steps, values=values)
