"""Segments of a job that runs, grown as they come: a flush brings few points of each block, and many rows read slowly.

What is put together is of one attempt and one block, so which points count stays as it was.
"""

from collections.abc import Sequence
from typing import Any, Final, cast

import numpy as np
from sqlalchemy import Table, bindparam, delete
from sqlalchemy.orm import Session

from store import segments
from store.tables import SeriesSegment

ENOUGH: Final = 512
"""Points of a segment that is grown no further until the job is over."""
MAX_KEPT_BYTES: Final = 16 << 20

Row = dict[str, Any]


class SmallSegments:
    """The small segments of one attempt, kept until they are enough for a large one that takes their place.

    ``begin`` forgets what a transaction that was rolled back had grown; ``committed`` confirms it.
    """

    def __init__(self) -> None:
        self._kept: dict[int, tuple[Row, ...]] = {}
        self._new: dict[int, tuple[Row, ...]] = {}

    def begin(self) -> None:
        self._new = {}

    def committed(self) -> None:
        self._kept |= self._new
        self._new = {}
        if sum(len(row["points"]) for rows in self._kept.values() for row in rows) > MAX_KEPT_BYTES:
            self._kept = {}  # they stay small until the job is over

    def grown(self, session: Session, rows: Sequence[Row], quantities: Sequence[int]) -> list[Row]:
        """The rows to insert: large ones where a block has enough points, whose small ones are deleted."""
        grown: list[Row] = []
        replaced: list[Row] = []
        for row, width in zip(rows, quantities, strict=True):
            block_id = row["block_id"]
            small = self._new.get(block_id, self._kept.get(block_id, ()))
            if row["count"] >= ENOUGH:
                grown.append(row)
            elif sum(each["count"] for each in small) + row["count"] < ENOUGH:
                self._new[block_id] = (*small, row)
                grown.append(row)
            else:
                self._new[block_id] = ()
                replaced += small
                grown.append(_together((*small, row), width))
        if replaced:
            _delete(session, replaced)
        return grown


def _together(rows: Sequence[Row], quantities: int) -> Row:
    grid = ("count", "step_from", "step_to")
    decoded = [
        segments.decode(row["points"], quantities=quantities, **{name: row[name] for name in grid}) for row in rows
    ]
    steps = np.concatenate([steps for steps, _ in decoded])
    order = np.argsort(steps, kind="stable")
    steps, values = steps[order], np.concatenate([values for _, values in decoded], axis=1)[:, order]
    ends = {"count": len(steps), "step_from": int(steps[0]), "step_to": int(steps[-1])}
    return {**rows[0], **ends, "points": segments.encode(steps, values)}


def _delete(session: Session, rows: Sequence[Row]) -> None:
    table = cast(Table, SeriesSegment.__table__)  # the class itself would take no list of keys
    columns = table.c
    statement = delete(table).where(
        columns.block_id == bindparam("of_block"),
        columns.attempt == bindparam("of_attempt"),
        columns.step_from == bindparam("from_step"),
    )
    keys = [{"of_block": row["block_id"], "of_attempt": row["attempt"], "from_step": row["step_from"]} for row in rows]
    session.execute(statement, keys)
