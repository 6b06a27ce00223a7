"""Roll-ups: what so many neighbouring points of a series come to, so that long series are drawn from few cells.

A cell holds the least and the greatest finite value with their steps, the mean of all values, and, where some were not
finite, how many and the first of them. So neither a spike nor a NaN is lost, nor the step where it stood.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from store.segments import Steps, Values

FIRST_LEVEL = 16
FACTOR = 4
MAX_CELLS = 2000
"""A series, or a window of it, is answered from at most so many cells of one block ..."""
MAX_RAW = FIRST_LEVEL * MAX_CELLS // FACTOR
"""... or from so many points as they were measured: the level above would have a quarter of the cells."""
CELLS_OF_A_ROW = 1024

_LOST = np.dtype([("cell", "<u4"), ("quantity", "<u2"), ("count", "<u4"), ("step", "<i4"), ("value", "<f4")])
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Cells:
    """Cells of several series over one grid. Q = quantities, C = cells.

    ``least``, ``greatest``: NaN where no value of the cell is finite. ``mean`` is of all values, so that it is not
    finite where one of them is not. ``lost``: values that are not finite; ``lost_at``, ``lost_value``: the first one.
    """

    step_from_C: Steps
    step_to_C: Steps
    count_C: Counts
    least_QC: Values
    greatest_QC: Values
    mean_QC: Values
    least_at_QC: Steps
    greatest_at_QC: Steps
    lost_QC: Counts
    lost_at_QC: Steps
    lost_value_QC: Values

    def __len__(self) -> int:
        return len(self.step_from_C)

    def some(self, chosen: slice) -> "Cells":
        """These cells alone."""
        over_cells = (getattr(self, name)[..., chosen] for name in self.__dataclass_fields__)
        return Cells(*over_cells)


def levels(count: int) -> Iterator[int]:
    """The levels that a series of ``count`` points needs: points of a cell, finest first."""
    level, answered = FIRST_LEVEL, MAX_RAW
    while count > answered:
        yield level
        answered, level = MAX_CELLS * level, level * FACTOR


def level_for(count: int) -> int | None:
    """The finest level that answers ``count`` points from at most ``MAX_CELLS`` cells; None: as they were measured."""
    if count <= MAX_RAW:
        return None
    level = FIRST_LEVEL
    while count > MAX_CELLS * level:
        level *= FACTOR
    return level


def roll_up(steps: Steps, values: Values, level: int) -> Cells:
    """Cells of ``level`` points each, the last of what is left, of steps [n] and values [Q, n]."""
    starts = np.arange(0, len(steps), level)
    ends = np.append(starts[1:], len(steps))
    finite = np.isfinite(values)
    least_at = first_of_each(np.where(finite, values, np.float32(np.inf)), starts, np.minimum)
    greatest_at = first_of_each(np.where(finite, values, np.float32(-np.inf)), starts, np.maximum)
    lost = np.add.reduceat(~finite, starts, axis=1, dtype=np.int64)
    lost_at = first_of_each(~finite, starts, np.maximum)
    none = lost == ends - starts
    count = ends - starts
    with np.errstate(invalid="ignore", over="ignore"):
        mean = (np.add.reduceat(values.astype(np.float64), starts, axis=1) / count).astype(np.float32)
    return Cells(
        step_from_C=steps[starts],
        step_to_C=steps[ends - 1],
        count_C=count,
        least_QC=np.where(none, np.float32(np.nan), np.take_along_axis(values, least_at, 1)),
        greatest_QC=np.where(none, np.float32(np.nan), np.take_along_axis(values, greatest_at, 1)),
        mean_QC=mean,
        least_at_QC=steps[least_at],
        greatest_at_QC=steps[greatest_at],
        lost_QC=lost,
        lost_at_QC=np.where(lost, steps[lost_at], np.int32(0)),
        lost_value_QC=np.where(lost, np.take_along_axis(values, lost_at, 1), np.float32(0)),
    )


def encode(cells: Cells) -> bytes:
    """The bytes of the cells: their grid, floats, offsets of steps in as few bytes as they need, what was lost."""
    offsets = np.concatenate([cells.least_at_QC, cells.greatest_at_QC]) - cells.step_from_C
    width = 2 if int(offsets.max(initial=0)) <= 0xFFFF else 4
    quantity, cell = np.nonzero(cells.lost_QC)
    lost = np.zeros(len(cell), _LOST)
    lost["cell"], lost["quantity"] = cell, quantity
    lost["count"] = cells.lost_QC[quantity, cell]
    lost["step"], lost["value"] = cells.lost_at_QC[quantity, cell], cells.lost_value_QC[quantity, cell]
    floats = np.stack([cells.least_QC, cells.greatest_QC, cells.mean_QC])
    grid = np.stack([cells.step_from_C, cells.step_to_C])
    parts = (grid.astype("<i4"), floats.astype("<f4"), offsets.astype(f"<u{width}"), lost)
    return b"".join(part.tobytes() for part in parts)


def decode(stored: bytes, *, level: int, count: int, quantities: int, lost: int) -> Cells:
    """The cells of ``count`` points, ``lost`` of whose cells [quantity, cell] hold a value that is not finite."""
    size = -(-count // level)
    width = (len(stored) - 8 * size - _LOST.itemsize * lost) // (2 * quantities * size) - 6
    at = 8 * size
    step_from, step_to = np.frombuffer(stored, "<i4", count=2 * size).reshape(2, size)
    floats = np.frombuffer(stored, "<f4", count=3 * quantities * size, offset=at)
    least, greatest, mean = floats.reshape(3, quantities, size)
    at += floats.nbytes
    offsets = np.frombuffer(stored, f"<u{width}", count=2 * quantities * size, offset=at)
    least_at, greatest_at = step_from + offsets.reshape(2, quantities, size).astype(np.int32)
    rows = np.frombuffer(stored, _LOST, count=lost, offset=at + offsets.nbytes)
    where = rows["quantity"], rows["cell"]
    lost_count, lost_at = np.zeros((quantities, size), np.int64), np.zeros((quantities, size), np.int32)
    lost_value = np.zeros((quantities, size), np.float32)
    lost_count[where], lost_at[where], lost_value[where] = rows["count"], rows["step"], rows["value"]
    counts = np.full(size, level, np.int64)
    counts[-1] = count - level * (size - 1)
    return Cells(
        step_from,
        step_to,
        counts,
        least,
        greatest,
        mean,
        least_at,
        greatest_at,
        lost_count,
        lost_at,
        lost_value,
    )


def joined(parts: Sequence[Cells]) -> Cells:
    """The cells of neighbouring rows as one."""
    if len(parts) == 1:
        return parts[0]
    names = Cells.__dataclass_fields__
    return Cells(*(np.concatenate([getattr(part, name) for part in parts], axis=-1) for name in names))


def lost_cells(cells: Cells) -> int:
    """How many of the cells [quantity, cell] hold a value that is not finite."""
    return int(np.count_nonzero(cells.lost_QC))


def first_of_each(
    values: npt.NDArray[np.generic], starts: npt.NDArray[np.intp], extreme: np.ufunc
) -> npt.NDArray[np.intp]:
    """Where in [Q, n] the extreme of each cell first stands: [Q, C]."""
    size = values.shape[1]
    extremes = extreme.reduceat(values, starts, axis=1)
    hit = values == np.repeat(extremes, np.diff(np.append(starts, size)), axis=1)
    places = np.where(hit, np.arange(size), size)
    return np.minimum.reduceat(places, starts, axis=1)
