"""The digests of a receipt, worked out again from specs, losses and files alone: neither torch nor numpy is needed.

They are those of the service, written out a second time: a check that ran the same code would agree with its mistakes.
"""

import hashlib
import json
import struct
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

NOT_TRAINED: Final = ("name", "labels")
_DTYPES: Final = {
    "F64": "torch.float64",
    "F32": "torch.float32",
    "F16": "torch.float16",
    "BF16": "torch.bfloat16",
    "I64": "torch.int64",
    "I32": "torch.int32",
    "I16": "torch.int16",
    "I8": "torch.int8",
    "U8": "torch.uint8",
    "BOOL": "torch.bool",
}
_MAX_HEADER_BYTES: Final = 100 << 20
_PIECE_BYTES: Final = 1 << 20


class UnreadableWeights(Exception):
    """The file is not a safetensors file."""


def spec_digest(resolved: Mapping[str, Any], *, without: Iterable[str] = NOT_TRAINED) -> str:
    """Of a resolved spec as JSON with sorted names."""
    counted = {name: value for name, value in resolved.items() if name not in without}
    return hashlib.sha256(json.dumps(counted, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def loss_trace_digest(losses: Iterable[tuple[int, float]]) -> str:
    """Of all logged steps and losses, each hashed with all before it."""
    digest = bytes(32)
    for step, loss in losses:
        digest = hashlib.sha256(digest + struct.pack("<qd", step, loss)).digest()
    return digest.hex()


def weights_digest(path: Path) -> str:
    """Of names, dtypes, shapes and bytes of all tensors of a safetensors file. Raises ``UnreadableWeights``."""
    digest = hashlib.sha256()
    try:
        for piece in _pieces(path):
            digest.update(piece)
    except (OSError, ValueError, KeyError, TypeError, struct.error) as error:
        raise UnreadableWeights(f"{path.name}: {error}") from None
    return digest.hexdigest()


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        if length > _MAX_HEADER_BYTES:
            raise ValueError(f"a header of {length} bytes")
        header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        for name in sorted(header):
            tensor = header[name]
            yield f"{name} {_DTYPES[tensor['dtype']]} {tuple(tensor['shape'])}".encode()
            start, end = tensor["data_offsets"]
            file.seek(8 + length + start)
            while start < end:
                piece = file.read(min(_PIECE_BYTES, end - start))
                if not piece:
                    raise ValueError("it ends before its last tensor")
                start += len(piece)
                yield piece
