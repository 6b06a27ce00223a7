"""Merging: the points of a job that is over, in segments of a kilo-point, with roll-ups and a summary beside them.

What a later attempt replaced is left out for good. A block is merged in one transaction, which its ``summary`` fences:
a worker that dies between two blocks leaves both readable, and merging twice changes nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from store import rollups, segments
from store.segments import Steps, Values
from store.series import assembled, horizons, segments_of
from store.series_blocks import Selection, insert
from store.summaries import summed_up
from store.tables import Attempt, Job, SeriesBlock, SeriesRollup, SeriesSegment


@dataclass(frozen=True)
class Merged:
    """A block as it will stand. ``attempt``: the job's last one, all of whose points count."""

    block_id: int
    attempt: int
    steps: Steps
    values: Values

    @property
    def points(self) -> int:
        return self.values.size


def waiting(session: Session, *, limit: int) -> Sequence[SeriesBlock]:
    """Blocks of jobs that are over, not merged yet: so many of them."""
    over = select(Job.id).where(Job.phase == "terminal")
    query = select(SeriesBlock).where(SeriesBlock.summary.is_(None), SeriesBlock.job_id.in_(over))
    return session.scalars(query.order_by(SeriesBlock.id).limit(limit)).all()


def merged(session: Session, block: SeriesBlock) -> Merged:
    """What a block of a job that is over comes to. Only reads: nobody writes to such a block any more but a merger."""
    stored = segments_of(session, [block]).get(block.id, [])
    every = range(len(block.quantities))
    steps, values = assembled(block, stored, horizons(session, block.job_id), every, Selection())
    attempt = select(func.max(Attempt.number)).where(Attempt.job_id == block.job_id)
    return Merged(block.id, session.execute(attempt).scalar() or 0, steps, values)


def write(session: Session, block: Merged) -> bool:
    """Puts the merged block in the place of its segments. False: another worker was first, or the job was deleted."""
    summary = summed_up(block.steps, block.values).tobytes()
    fence = update(SeriesBlock).where(SeriesBlock.id == block.block_id, SeriesBlock.summary.is_(None))
    if session.execute(fence.values(summary=summary).returning(SeriesBlock.id)).scalar() is None:
        return False
    session.execute(delete(SeriesSegment).where(SeriesSegment.block_id == block.block_id))
    if rows := _segments(block):
        session.execute(insert(session)(SeriesSegment.__table__), rows)
    if rows := _rollups(block):
        session.execute(insert(session)(SeriesRollup.__table__), rows)
    return True


def _segments(block: Merged) -> list[dict[str, Any]]:
    return [
        {
            "block_id": block.block_id,
            "attempt": block.attempt,
            "step_from": int(steps[0]),
            "step_to": int(steps[-1]),
            "count": len(steps),
            "points": segments.encode(steps, values),
        }
        for steps, values in segments.cut(block.steps, block.values)
    ]


def _rollups(block: Merged) -> list[dict[str, Any]]:
    rows = []
    for level in rollups.levels(len(block.steps)):
        cells = rollups.roll_up(block.steps, block.values, level)
        for start in range(0, len(cells), rollups.CELLS_OF_A_ROW):
            part = cells.some(slice(start, start + rollups.CELLS_OF_A_ROW))
            rows.append(
                {
                    "block_id": block.block_id,
                    "level": level,
                    "step_from": int(part.step_from_C[0]),
                    "step_to": int(part.step_to_C[-1]),
                    "count": int(part.count_C.sum()),
                    "lost": rollups.lost_cells(part),
                    "cells": rollups.encode(part),
                }
            )
    return rows
