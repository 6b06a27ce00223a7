"""The idx format of MNIST and its kin: two zero bytes, a type, the number of axes, their lengths, then the values."""

import math
import struct

import numpy as np

from worker.data_sources.source import Array, DataFinding

_UNSIGNED_BYTES = 8


def read(content: bytes, name: str, *, axes: int) -> Array:
    """An array of unsigned bytes with this many axes. Raises ``DataFinding`` where the header says otherwise."""
    header = 4 + 4 * axes
    if len(content) < header or content[:4] != bytes((0, 0, _UNSIGNED_BYTES, axes)):
        raise DataFinding("data_unreadable", f"{name} is not an idx file of bytes with {axes} axes")
    shape = struct.unpack_from(f">{axes}I", content, 4)
    if len(content) - header != math.prod(shape):
        raise DataFinding(
            "data_unreadable", f"{name} promises {math.prod(shape)} values, holds {len(content) - header}"
        )
    return np.frombuffer(content, dtype=np.uint8, offset=header).reshape(shape)
