"""The header of an ``.npy`` array (NumPy format 1.0 and 2.0), read without NumPy and without trusting it."""

import ast
import math
import re
from dataclasses import dataclass
from typing import IO, Final

from specs.uploads.findings import MAX_UNPACKED_BYTES, Unfit

MAGIC: Final = b"\x93NUMPY"
MAX_HEADER_BYTES: Final = 10_000
_DTYPE = re.compile(r"[<>|=]?([biufU])(\d{1,4})")


@dataclass(frozen=True)
class ArrayHeader:
    """What an array promises to be."""

    kind: str
    itemsize: int
    shape: tuple[int, ...]
    header_bytes: int

    @property
    def array_bytes(self) -> int:
        return math.prod(self.shape) * self.itemsize


def read_header(stream: IO[bytes], name: str) -> ArrayHeader:
    """The header at the stream's position. Raises ``Unfit`` for one that NumPy would not read, or should not."""
    start = stream.read(8)
    if len(start) < 8 or not start.startswith(MAGIC):
        raise Unfit("wrong_magic", f"{name} is not an npy array")
    wide = {b"\x01\x00": 2, b"\x02\x00": 4}.get(start[6:8])
    if wide is None:
        raise Unfit("npy_version", f"{name} has npy format {start[6]}.{start[7]}; 1.0 and 2.0 are read")
    length = int.from_bytes(stream.read(wide), "little")
    if length > MAX_HEADER_BYTES:
        raise Unfit("npy_header", f"{name} has a header of {length} bytes; at most {MAX_HEADER_BYTES}")
    text = stream.read(length)
    if len(text) < length:
        raise Unfit("truncated", f"{name} ends within its header")
    return _parsed(text, name, header_bytes=8 + wide + length)


def _parsed(text: bytes, name: str, *, header_bytes: int) -> ArrayHeader:
    try:
        fields = ast.literal_eval(text.decode("latin-1").strip())
        descr, order, shape = fields["descr"], fields["fortran_order"], fields["shape"]
    except (ValueError, SyntaxError, KeyError, TypeError, MemoryError, RecursionError):
        raise Unfit("npy_header", f"{name} has a header that cannot be read") from None
    kind = _DTYPE.fullmatch(descr) if isinstance(descr, str) else None
    if kind is None:
        shown = str(descr)[:40]
        raise Unfit("npy_dtype", f"{name} holds {shown}: numbers or text are read, objects and records are not")
    if not isinstance(order, bool) or not isinstance(shape, tuple) or not all(type(one) is int for one in shape):
        raise Unfit("npy_header", f"{name} has a header that cannot be read")
    if len(shape) > 4 or any(not 0 <= one < 2**63 for one in shape):
        raise Unfit("npy_shape", f"{name} has the shape {str(shape)[:80]}")
    itemsize = int(kind[2]) * (4 if kind[1] == "U" else 1)
    header = ArrayHeader(kind[1], itemsize, shape, header_bytes)
    if math.prod(shape) * max(itemsize, 8) > MAX_UNPACKED_BYTES:
        raise Unfit("too_large", f"{name} would take {header.array_bytes} bytes; at most {MAX_UNPACKED_BYTES}")
    return header
