"""How the points of a segment are written: steps as short as their grid allows, then float32 values [quantity, count].

The length says how the steps are written: not at all where they are evenly spaced, as differences of 1 or 2 bytes, or
as int32 each, which is how they come from a trainer.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Steps = npt.NDArray[np.int32]
Values = npt.NDArray[np.float32]

MAX_POINTS = 1024
"""Points of one merged segment."""


def encode(steps: Steps, values: Values) -> bytes:
    """The bytes of steps [n], ascending, and values [quantity, n]."""
    return _encoded_steps(steps) + values.astype("<f4", copy=False).tobytes()


def decode(points: bytes, *, quantities: int, count: int, step_from: int, step_to: int) -> tuple[Steps, Values]:
    """Steps [n] and values [quantity, n], as views of ``points`` where possible. ValueError for another length."""
    width, rest = divmod(len(points) - 4 * quantities * count, count)
    if rest or width not in (0, 1, 2, 4):
        raise ValueError(f"{len(points)} bytes are no segment of {count} points of {quantities} quantities")
    values = np.frombuffer(points, "<f4", offset=width * count).reshape(quantities, count)
    if width == 0:
        stride = (step_to - step_from) // max(count - 1, 1)
        return step_from + stride * np.arange(count, dtype=np.int32), values
    if width == 4:
        return np.frombuffer(points, "<i4", count=count), values
    differences = np.frombuffer(points, f"<u{width}", count=count)
    return step_from + np.cumsum(differences, dtype=np.int32), values


def cut(steps: Steps, values: Values) -> Iterator[tuple[Steps, Values]]:
    """The points in pieces, each of a whole segment, the last of what is left."""
    for start in range(0, len(steps), MAX_POINTS):
        yield steps[start : start + MAX_POINTS], values[:, start : start + MAX_POINTS]


def _encoded_steps(steps: Steps) -> bytes:
    differences = np.diff(steps)
    if len(steps) < 2 or (differences == differences[0]).all():
        return b""
    largest = int(differences.max())
    if largest > 0xFFFF or int(differences.min()) < 0:
        return steps.astype("<i4").tobytes()
    width = 1 if largest <= 0xFF else 2
    return np.concatenate([[0], differences]).astype(f"<u{width}").tobytes()
