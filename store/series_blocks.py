"""Blocks of series: which there are, and the row of each. A block is several quantities of one scope on one grid."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from specs.reports import SeriesBlock as Block
from store.tables import SeriesBlock

Scope = tuple[str, str | None, int, str | None, str | None]
"""Name, layer, its place in the network, parameter, split."""


@dataclass(frozen=True)
class Selection:
    """Which series, and which of their steps. None: all."""

    names: Sequence[str] | None = None
    layers: Sequence[str] | None = None
    parameters: Sequence[str] | None = None
    splits: Sequence[str] | None = None
    step_from: int | None = None
    step_to: int | None = None

    def quantities(self, block: SeriesBlock) -> list[int]:
        """Places of the wanted quantities in a block."""
        wanted = None if self.names is None else set(self.names)
        return [at for at, name in enumerate(block.quantities) if wanted is None or name in wanted]


class BlockIds:
    """Remembers the row ids of the blocks of one job, so that a flush looks nothing up twice.

    A transaction that is rolled back takes the ids of its new blocks with it: ``begin`` forgets those that
    ``committed`` did not confirm.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[object, ...], int] = {}
        self._new: dict[tuple[object, ...], int] = {}

    def begin(self) -> None:
        self._new = {}

    def committed(self) -> None:
        self._kept |= self._new
        self._new = {}

    def of(self, session: Session, job_id: str, blocks: Sequence[Block]) -> list[int]:
        """The ids of these blocks, in order; a row is made for each new one."""
        identities = [(block.layer, block.parameter, block.split, block.quantities) for block in blocks]
        known = self._kept | self._new if self._new else self._kept
        missing = {
            _key(block): (identity, block)
            for identity, block in zip(identities, blocks, strict=True)
            if identity not in known
        }
        if missing:
            found = _block_ids(session, job_id, {key: block for key, (_, block) in missing.items()})
            self._new |= {identity: found[key] for key, (identity, _) in missing.items()}
            known = self._kept | self._new
        return [known[identity] for identity in identities]


def names(session: Session, job_id: str) -> set[str]:
    """Names of all series of the job."""
    query = select(SeriesBlock.quantities).where(SeriesBlock.job_id == job_id)
    return {name for quantities in session.scalars(query) for name in quantities}


def blocks_of(session: Session, job_id: str, wanted: Selection) -> list[SeriesBlock]:
    """The blocks that hold the wanted series, in network order."""
    query = select(SeriesBlock).where(SeriesBlock.job_id == job_id)
    for column, chosen in (
        (SeriesBlock.layer, wanted.layers),
        (SeriesBlock.parameter, wanted.parameters),
        (SeriesBlock.split, wanted.splits),
    ):
        if chosen is not None:
            query = query.where(column.in_(list(chosen)))
    ordered = query.order_by(SeriesBlock.layer_index, SeriesBlock.id)
    return [block for block in session.scalars(ordered) if wanted.quantities(block)]


def scope_of(block: SeriesBlock, at: int) -> Scope:
    """Which series the quantity at this place of a block is."""
    return block.quantities[at], block.layer, block.layer_index, block.parameter, block.split


def insert(session: Session):  # type: ignore[no-untyped-def]  # one of two dialects' constructs, alike in use
    """The dialect's own insert, which knows ``on_conflict_do_nothing``."""
    return sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert


def _key(block: Block) -> str:
    scope = "\0".join([block.layer or "", block.parameter or "", block.split or "", *block.quantities])
    return hashlib.sha256(scope.encode()).hexdigest()


def _block_ids(session: Session, job_id: str, missing: dict[str, Block]) -> dict[str, int]:
    rows = [
        {
            "job_id": job_id,
            "key": key,
            "layer": block.layer,
            "layer_index": block.layer_index,
            "parameter": block.parameter,
            "split": block.split,
            "quantities": list(block.quantities),
            "units": list(block.units),
        }
        for key, block in missing.items()
    ]
    session.execute(insert(session)(SeriesBlock.__table__).on_conflict_do_nothing(), rows)
    wanted = select(SeriesBlock.key, SeriesBlock.id).where(
        SeriesBlock.job_id == job_id, SeriesBlock.key.in_(list(missing))
    )
    return {row.key: row.id for row in session.execute(wanted)}
