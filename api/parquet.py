"""Parquet files of series, written row group by row group, so that a long job is never whole in memory.

Written here, because a library for it would double the memory of the API for one request in a thousand. The format:
https://parquet.apache.org/docs/file-format/ (plain values, one page a column; what is constant is a dictionary of one).
"""

import struct
from typing import Any, Final, NamedTuple, final

from store.series import Points

MEDIA_TYPE: Final = "application/vnd.apache.parquet"

_MAGIC: Final = b"PAR1"
_INT32, _FLOAT, _BYTE_ARRAY = 1, 4, 6
_REQUIRED, _OPTIONAL, _UTF8 = 0, 1, 0
_PLAIN, _RLE, _RLE_DICTIONARY = 0, 3, 8
_DATA_PAGE, _DICTIONARY_PAGE = 0, 2
_TEXTS: Final = {"name": _REQUIRED, "layer": _OPTIONAL, "parameter": _OPTIONAL, "split": _OPTIONAL, "unit": _REQUIRED}


class _I32(NamedTuple):
    value: int


class _I64(NamedTuple):
    value: int


class _Column(NamedTuple):
    """A column of a row group as it will be written: its pages, and what the footer says of it."""

    name: str
    type: int
    pages: bytes
    dictionary_bytes: int
    encodings: tuple[int, ...]


@final
class ParquetFile:
    """Bytes of a file with one row a point. ``begin``, then ``row_group`` for each series, then ``end``."""

    def __init__(self) -> None:
        self._at = 0
        self._rows = 0
        self._row_groups: list[dict[int, Any]] = []

    def begin(self) -> bytes:
        return self._written(_MAGIC)

    def row_group(self, points: Points) -> bytes:
        """All points of one series, which must have some."""
        count = len(points.steps)
        columns = [_text(name, getattr(points, name), count, kind) for name, kind in _TEXTS.items()]
        columns += [
            _numbers("step", _INT32, points.steps.astype("<i4").tobytes(), count),
            _numbers("value", _FLOAT, points.values.astype("<f4").tobytes(), count),
        ]
        chunks = []
        for column in columns:
            chunks.append(self._chunk(column, count))
            self._at += len(column.pages)
        pages = b"".join(column.pages for column in columns)
        self._row_groups.append({1: chunks, 2: _I64(len(pages)), 3: _I64(count)})
        self._rows += count
        return pages

    def end(self) -> bytes:
        fields: list[dict[int, Any]] = [{4: "series", 5: _I32(len(_TEXTS) + 2)}]
        fields += [{1: _I32(_BYTE_ARRAY), 3: _I32(kind), 4: name, 6: _I32(_UTF8)} for name, kind in _TEXTS.items()]
        fields += [{1: _I32(_INT32), 3: _I32(_REQUIRED), 4: "step"}, {1: _I32(_FLOAT), 3: _I32(_REQUIRED), 4: "value"}]
        footer = _thrift({1: _I32(1), 2: fields, 3: _I64(self._rows), 4: self._row_groups, 6: "afterprop"})
        return self._written(footer + struct.pack("<I", len(footer)) + _MAGIC)

    def _written(self, piece: bytes) -> bytes:
        self._at += len(piece)
        return piece

    def _chunk(self, column: _Column, count: int) -> dict[int, Any]:
        size = _I64(len(column.pages))
        meta: dict[int, Any] = {
            1: _I32(column.type),
            2: [_I32(encoding) for encoding in column.encodings],
            3: [column.name],
            4: _I32(0),  # not compressed
            5: _I64(count),
            6: size,
            7: size,
            9: _I64(self._at + column.dictionary_bytes),
        }
        if column.dictionary_bytes:
            meta[11] = _I64(self._at)
        return {2: _I64(self._at), 3: meta}


def _numbers(name: str, type: int, values: bytes, count: int) -> _Column:
    return _Column(name, type, _data_page(values, count, _PLAIN), 0, (_PLAIN, _RLE))


def _text(name: str, value: str | None, count: int, kind: int) -> _Column:
    """The same text, or null, in every row."""
    levels = b""
    if kind == _OPTIONAL:
        run = _run(0 if value is None else 1, count)
        levels = struct.pack("<I", len(run)) + run
    if value is None:
        return _Column(name, _BYTE_ARRAY, _data_page(levels, count, _PLAIN), 0, (_PLAIN, _RLE))
    text = value.encode()
    entry = struct.pack("<I", len(text)) + text
    size = _I32(len(entry))
    head = {1: _I32(_DICTIONARY_PAGE), 2: size, 3: size, 7: {1: _I32(1), 2: _I32(_PLAIN)}}
    dictionary = _thrift(head) + entry
    page = _data_page(levels + b"\x01" + _run(0, count), count, _RLE_DICTIONARY)  # indices of one bit
    return _Column(name, _BYTE_ARRAY, dictionary + page, len(dictionary), (_PLAIN, _RLE, _RLE_DICTIONARY))


def _data_page(body: bytes, count: int, encoding: int) -> bytes:
    size = _I32(len(body))
    of_values = {1: _I32(count), 2: _I32(encoding), 3: _I32(_RLE), 4: _I32(_RLE)}
    return _thrift({1: _I32(_DATA_PAGE), 2: size, 3: size, 5: of_values}) + body


def _run(bit: int, count: int) -> bytes:
    """So many equal bits, run-length encoded."""
    return _varint(count << 1) + bytes([bit])


def _thrift(fields: dict[int, Any]) -> bytes:
    """A struct in Thrift's compact protocol; its fields by number, ascending."""
    out, last = bytearray(), 0
    for number, value in fields.items():
        out.append((number - last) << 4 | _thrift_type(value))
        out += _thrift_value(value)
        last = number
    return bytes(out) + b"\x00"


def _thrift_type(value: Any) -> int:
    return {_I32: 5, _I64: 6, str: 8, list: 9, dict: 12}[type(value)]


def _thrift_value(value: Any) -> bytes:
    if isinstance(value, _I32 | _I64):
        return _varint(value.value << 1)  # zigzag of what is never negative
    if isinstance(value, str):
        return _varint(len(value.encode())) + value.encode()
    if isinstance(value, dict):
        return _thrift(value)
    kind = _thrift_type(value[0]) if value else 12
    size = bytes([len(value) << 4 | kind]) if len(value) < 15 else bytes([0xF0 | kind]) + _varint(len(value))
    return size + b"".join(_thrift_value(each) for each in value)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
