"""A safetensors file: its JSON header against its length, before a tensor is read."""

import json
import math
from pathlib import Path
from typing import Any, Final

from specs.uploads.arrays import ALLOWED, contents
from specs.uploads.findings import MAX_UNPACKED_BYTES, Contents, Unfit

MAX_HEADER_BYTES: Final = 10 << 20
"""The format allows 100 MB; a data set of a few arrays needs none of that."""
MAX_TENSORS: Final = 64
_DTYPES: Final = {"BOOL": ("b", 1), "F16": ("f", 2), "F32": ("f", 4), "F64": ("f", 8)} | {
    f"{letter.upper()}{8 * size}": (letter, size) for letter in "iu" for size in (1, 2, 4, 8)
}


def inspect(path: Path) -> Contents:
    """Rows and shape by the header. Raises ``Unfit``."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > size - 8 or length > MAX_HEADER_BYTES:
            most = min(max(size - 8, 0), MAX_HEADER_BYTES)
            raise Unfit("safetensors_header", f"the header promises {length} bytes; at most {most} can be there")
        tensors = _tensors(file.read(length))
    shapes: dict[str, tuple[str, tuple[int, ...]]] = {}
    spans = []
    for name, tensor in tensors.items():
        kind, shape, begin, end = _claim(name[:80], tensor)
        spans.append((begin, end))
        if name in ALLOWED:
            shapes[name] = (kind, shape)
    _check_spans(spans, size - 8 - length)
    return contents(shapes)


def _tensors(text: bytes) -> dict[str, Any]:
    try:
        header = json.loads(text)
    except (ValueError, RecursionError):
        raise Unfit("safetensors_header", "the header is not JSON") from None
    if not isinstance(header, dict):
        raise Unfit("safetensors_header", "the header is not a JSON object")
    header.pop("__metadata__", None)
    if len(header) > MAX_TENSORS:
        raise Unfit("too_many_tensors", f"the file has {len(header)} tensors; at most {MAX_TENSORS}")
    return header


def _claim(name: str, tensor: Any) -> tuple[str, tuple[int, ...], int, int]:
    try:
        dtype, shape, (begin, end) = tensor["dtype"], tensor["shape"], tensor["data_offsets"]
        kind, itemsize = _DTYPES[dtype]
    except (KeyError, TypeError, ValueError):
        raise Unfit("safetensors_header", f"{name!r} is not described as a tensor of numbers") from None
    numbers = [begin, end, *(shape if isinstance(shape, list) else [None])]
    if any(type(one) is not int or not 0 <= one < 2**63 for one in numbers) or len(shape) > 4:
        raise Unfit("safetensors_header", f"{name!r} has a shape or offsets that are no sizes")
    if math.prod(shape) * itemsize != end - begin:
        raise Unfit("safetensors_header", f"{name!r} has {end - begin} bytes; its shape needs another number")
    if math.prod(shape) * max(itemsize, 8) > MAX_UNPACKED_BYTES:
        raise Unfit("too_large", f"{name!r} would take more than {MAX_UNPACKED_BYTES} bytes")
    return kind, tuple(shape), begin, end


def _check_spans(spans: list[tuple[int, int]], length: int) -> None:
    at = 0
    for begin, end in sorted(spans):
        if begin != at:
            raise Unfit("safetensors_header", "the tensors overlap or leave a gap")
        at = end
    if at != length:
        raise Unfit("truncated", f"the tensors take {at} bytes and the file has {length}")
