"""Measured series: float32 segments with the attempt in the key, so that a resumed job doubles nothing.

A point of attempt a at step s counts unless a later attempt resumed from a step before s. A series is its name and
scope; which quantities travelled in one block is a matter of storage, so one series may lie in several blocks.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from specs.reports import SeriesBlock as Block
from store.tables import Attempt, SeriesBlock, SeriesSegment

Steps = npt.NDArray[np.int32]
Values = npt.NDArray[np.float32]
Scope = tuple[str, str | None, int, str | None, str | None]

MAX_POINTS = 1024  # of one segment


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


class BlockIds:
    """Remembers the row ids of the blocks of one attempt, so that a flush looks nothing up twice."""

    def __init__(self) -> None:
        self._ids: dict[str, int] = {}

    def of(self, session: Session, job_id: str, block: Block) -> int:
        key = _key(block)
        found = self._ids.get(key)
        if found is None:
            found = self._ids[key] = _block_id(session, job_id, key, block)
        return found


def append(
    session: Session, job_id: str, attempt: int, blocks: Sequence[Block], payload: bytes, *, ids: BlockIds
) -> int:
    """Stores blocks as they came from a trainer; returns the number of points. Writing twice changes nothing."""
    rows = []
    points = 0
    for block, piece in split(blocks, payload):
        steps = np.frombuffer(piece, dtype="<i4", count=block.count)
        rows.append(
            {
                "block_id": ids.of(session, job_id, block),
                "attempt": attempt,
                "step_from": int(steps[0]),
                "step_to": int(steps[-1]),
                "count": block.count,
                "points": piece,
            }
        )
        points += block.count * len(block.quantities)
    if rows:
        session.execute(_insert(session)(SeriesSegment).on_conflict_do_nothing(), rows)
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
    query = select(SeriesBlock).where(SeriesBlock.job_id == job_id)
    if layers is not None:
        query = query.where(SeriesBlock.layer.in_(list(layers)))
    if parameters is not None:
        query = query.where(SeriesBlock.parameter.in_(list(parameters)))
    if splits is not None:
        query = query.where(SeriesBlock.split.in_(list(splits)))
    ordered = query.order_by(SeriesBlock.layer_index, SeriesBlock.id)
    blocks = [row for row in session.scalars(ordered) if names is None or set(names) & set(row.quantities)]
    if not blocks:
        return []
    horizon = _horizons(session, job_id)
    segments = _segments(session, [row.id for row in blocks], step_from, step_to)
    pieces: dict[Scope, list[tuple[str, Steps, Values]]] = {}
    for row in blocks:
        steps, values = _assemble(row, segments.get(row.id, []), horizon, step_from, step_to)
        for index, (name, unit) in enumerate(zip(row.quantities, row.units, strict=True)):
            if names is None or name in names:
                scope = (name, row.layer, row.layer_index, row.parameter, row.split)
                pieces.setdefault(scope, []).append((unit, steps, values[index]))
    return [_joined(scope, found) for scope, found in pieces.items()]


def names(session: Session, job_id: str) -> set[str]:
    """Names of all series of the job."""
    query = select(SeriesBlock.quantities).where(SeriesBlock.job_id == job_id)
    return {name for quantities in session.scalars(query) for name in quantities}


def _joined(scope: Scope, pieces: Sequence[tuple[str, Steps, Values]]) -> Points:
    """One series from the blocks that it lies in."""
    steps = np.concatenate([piece[1] for piece in pieces])
    order = np.argsort(steps, kind="stable")
    values = np.concatenate([piece[2] for piece in pieces])
    return Points(*scope, unit=pieces[0][0], steps=steps[order], values=values[order])


def _key(block: Block) -> str:
    scope = "\0".join([block.layer or "", block.parameter or "", block.split or "", *block.quantities])
    return hashlib.sha256(scope.encode()).hexdigest()


def _block_id(session: Session, job_id: str, key: str, block: Block) -> int:
    session.execute(
        _insert(session)(SeriesBlock).on_conflict_do_nothing(),
        {
            "job_id": job_id,
            "key": key,
            "layer": block.layer,
            "layer_index": block.layer_index,
            "parameter": block.parameter,
            "split": block.split,
            "quantities": list(block.quantities),
            "units": list(block.units),
        },
    )
    wanted = select(SeriesBlock.id).where(SeriesBlock.job_id == job_id, SeriesBlock.key == key)
    return session.execute(wanted).scalar_one()


def _insert(session: Session):  # type: ignore[no-untyped-def]  # one of two dialects' constructs, alike in use
    return sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert


def _horizons(session: Session, job_id: str) -> dict[int, float]:
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


def _segments(
    session: Session, block_ids: Sequence[int], step_from: int | None, step_to: int | None
) -> dict[int, list[SeriesSegment]]:
    query = select(SeriesSegment).where(SeriesSegment.block_id.in_(block_ids))
    if step_from is not None:
        query = query.where(SeriesSegment.step_to >= step_from)
    if step_to is not None:
        query = query.where(SeriesSegment.step_from <= step_to)
    by_block: dict[int, list[SeriesSegment]] = {}
    for segment in session.scalars(query.order_by(SeriesSegment.attempt, SeriesSegment.step_from)):
        by_block.setdefault(segment.block_id, []).append(segment)
    return by_block


def _assemble(
    row: SeriesBlock,
    segments: Sequence[SeriesSegment],
    horizon: dict[int, float],
    step_from: int | None,
    step_to: int | None,
) -> tuple[Steps, Values]:
    """Steps [n] ascending and values [Q,n] of one block."""
    steps_of, values_of = [np.empty(0, np.int32)], [np.empty((len(row.quantities), 0), np.float32)]
    for segment in segments:
        steps = np.frombuffer(segment.points, dtype="<i4", count=segment.count)
        values = np.frombuffer(segment.points, dtype="<f4", offset=4 * segment.count).reshape(-1, segment.count)
        keep = steps <= horizon.get(segment.attempt, float("inf"))
        if step_from is not None:
            keep &= steps >= step_from
        if step_to is not None:
            keep &= steps <= step_to
        steps_of.append(steps[keep])
        values_of.append(values[:, keep])
    steps, values = np.concatenate(steps_of), np.concatenate(values_of, axis=1)
    order = np.argsort(steps, kind="stable")
    return steps[order], values[:, order]
