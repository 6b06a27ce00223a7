"""Framed messages over a pipe: a length, a JSON object, and raw bytes where the object says so.

4 bytes little-endian length of the JSON; the JSON, ``{"type": ..., ...}``; ``nbytes`` raw bytes if it names
them. Both lengths are checked against their caps before anything is allocated, because the other end runs a
client's numbers. NaN may travel inside the JSON: a loss that is not a number is a result, not an accident.
"""

import json
import os
import struct
from dataclasses import dataclass
from typing import Any, Final

MAX_JSON_BYTES: Final = 1 << 20
MAX_PAYLOAD_BYTES: Final = 8 << 20
_LENGTH: Final = struct.Struct("<I")


class ProtocolError(Exception):
    """The other end of the pipe sent something that is not a frame."""


@dataclass(frozen=True)
class Frame:
    """One message: its type, its other JSON fields, its raw bytes."""

    type: str
    fields: dict[str, Any]
    payload: bytes = b""


def encode(type: str, payload: bytes = b"", **fields: Any) -> bytes:
    """The bytes of one frame. Raises ``ProtocolError`` above the caps."""
    if payload:
        fields["nbytes"] = len(payload)
    text = json.dumps({"type": type, **fields}, separators=(",", ":")).encode()
    if len(text) > MAX_JSON_BYTES or len(payload) > MAX_PAYLOAD_BYTES:
        raise ProtocolError(f"a {type} frame of {len(text)} + {len(payload)} bytes is above the caps")
    return b"".join((_LENGTH.pack(len(text)), text, payload))


def send(fd: int, type: str, payload: bytes = b"", **fields: Any) -> None:
    """Write one whole frame. On a non-blocking pipe a frame up to 4096 bytes goes whole or not at all."""
    rest = memoryview(encode(type, payload, **fields))
    while rest:
        rest = rest[os.write(fd, rest) :]


def read(fd: int) -> Frame | None:
    """The next frame, waiting for it, and not one byte more; None at the end (a half frame is dropped)."""
    head = _read_exactly(fd, _LENGTH.size)
    text = None if head is None else _read_exactly(fd, _json_length(head))
    if text is None:
        return None
    type, fields, nbytes = _parse(text)
    payload = _read_exactly(fd, nbytes)
    return None if payload is None else Frame(type, fields, payload)


class Decoder:
    """Bytes as they come in, whole frames out. What is left at the end of the pipe is a half frame."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._head: tuple[str, dict[str, Any], int] | None = None

    def feed(self, received: bytes) -> list[Frame]:
        """The frames that ``received`` completes, in order."""
        self._buffer += received
        frames = []
        while (frame := self._next()) is not None:
            frames.append(frame)
        return frames

    def _next(self) -> Frame | None:
        if self._head is None and not self._take_head():
            return None
        assert self._head is not None
        type, fields, nbytes = self._head
        if len(self._buffer) < nbytes:
            return None
        self._head = None
        return Frame(type, fields, self._take(nbytes))

    def _take_head(self) -> bool:
        if len(self._buffer) < _LENGTH.size:
            return False
        length = _json_length(self._buffer[: _LENGTH.size])
        if len(self._buffer) < _LENGTH.size + length:
            return False
        self._head = _parse(self._take(_LENGTH.size + length)[_LENGTH.size :])
        return True

    def _take(self, count: int) -> bytes:
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken


def _json_length(head: bytes | bytearray) -> int:
    length: int = _LENGTH.unpack(head)[0]
    if not 0 < length <= MAX_JSON_BYTES:
        raise ProtocolError(f"a JSON part of {length} bytes; 1 to {MAX_JSON_BYTES} are allowed")
    return length


def _parse(text: bytes) -> tuple[str, dict[str, Any], int]:
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"not JSON: {error}") from None
    if not isinstance(fields, dict) or not isinstance(type := fields.pop("type", None), str):
        raise ProtocolError("a frame is a JSON object with a type")
    nbytes = fields.pop("nbytes", 0)
    if isinstance(nbytes, bool) or not isinstance(nbytes, int) or not 0 <= nbytes <= MAX_PAYLOAD_BYTES:
        raise ProtocolError(f"nbytes is {nbytes!r}; 0 to {MAX_PAYLOAD_BYTES} are allowed")
    return type, fields, nbytes


def _read_exactly(fd: int, count: int) -> bytes | None:
    parts = []
    while count:
        part = os.read(fd, min(count, 1 << 16))
        if not part:
            return None
        parts.append(part)
        count -= len(part)
    return b"".join(parts)
