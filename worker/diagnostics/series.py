"""Points on their way to the worker: grouped by scope and step grid, as blocks of float32."""

from collections.abc import Iterator
from typing import Literal, NamedTuple, final

import numpy as np

from specs.reports import Series, SeriesBlock
from worker.diagnostics.diagnostic import Point, Scope

Split = Literal["train", "validation", "test"]
MAX_FRAME_POINTS = 500_000
MAX_FRAME_BLOCKS = 1000


class _Key(NamedTuple):
    scope: Scope
    split: Split | None
    quantity: str
    unit: str


class OpenPoints(NamedTuple):
    """Points of one series, steps ascending. The lists belong to the buffer."""

    quantity: str
    layer: str | None
    split: Split | None
    steps: list[int]
    values: list[float]


@final
class SeriesBuffer:
    """Open points. ``take`` empties it into frames: quantities of one scope with one grid share a block."""

    def __init__(self) -> None:
        self._open: dict[_Key, tuple[list[int], list[float]]] = {}

    def add(self, step: int, point: Point, split: Split | None = "train") -> None:
        steps, values = self._open.setdefault(_Key(point.scope, split, point.quantity, point.unit), ([], []))
        steps.append(step)
        values.append(point.value)

    def __bool__(self) -> bool:
        return bool(self._open)

    def open_points(self) -> Iterator[OpenPoints]:
        """Everything that was not taken yet, series by series."""
        for key, (steps, values) in self._open.items():
            yield OpenPoints(key.quantity, key.scope.layer, key.split, steps, values)

    def drop(self, step: int) -> None:
        """Takes back the training points of the last step."""
        for key, (steps, values) in list(self._open.items()):
            if key.split == "train" and steps[-1] == step:
                steps.pop()
                values.pop()
                if not steps:
                    del self._open[key]

    def take(self) -> Iterator[Series]:
        """Frames with all open points, oldest scope first."""
        grids: dict[tuple[Scope, Split | None, tuple[int, ...]], list[_Key]] = {}
        for key, (steps, _) in self._open.items():
            grids.setdefault((key.scope, key.split, tuple(steps)), []).append(key)
        blocks: list[SeriesBlock] = []
        payload: list[bytes] = []
        points = 0
        for (scope, split, steps_), keys in grids.items():
            blocks.append(_block(scope, split, len(steps_), keys))
            payload.append(np.asarray(steps_, dtype="<i4").tobytes())
            with np.errstate(over="ignore"):  # beyond float32 is infinite there, and stays visible
                payload.append(
                    np.asarray([self._open[key][1] for key in keys], dtype=np.float64).astype("<f4").tobytes()
                )
            points += len(steps_) * (len(keys) + 1)
            if points > MAX_FRAME_POINTS or len(blocks) >= MAX_FRAME_BLOCKS:
                yield Series(blocks=tuple(blocks), payload=b"".join(payload))
                blocks, payload, points = [], [], 0
        self._open = {}
        if blocks:
            yield Series(blocks=tuple(blocks), payload=b"".join(payload))


def _block(scope: Scope, split: Split | None, count: int, keys: list[_Key]) -> SeriesBlock:
    return SeriesBlock(
        layer=scope.layer,
        layer_index=scope.order,
        split=split,
        quantities=tuple(key.quantity for key in keys),
        units=tuple(key.unit for key in keys),
        count=count,
    )
