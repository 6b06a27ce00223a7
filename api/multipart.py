"""The one file of a ``multipart/form-data`` body, piece by piece; python-multipart does the parsing."""

from typing import Any, Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from api.errors import Refused

MAX_PARTS: Final = 8
MAX_HEADER_BYTES: Final = 8 << 10
MAX_BOUNDARY_BYTES: Final = 70
"""RFC 2046, section 5.1.1."""


class FilePart:
    """Takes pieces of the body and gives back those of the file."""

    def __init__(self, options: str) -> None:
        _, parameters = parse_options_header(f"multipart/form-data;{options}")
        boundary = parameters.get(b"boundary", b"")
        if not 1 <= len(boundary) <= MAX_BOUNDARY_BYTES:
            raise _malformed(f"the boundary must have 1 to {MAX_BOUNDARY_BYTES} bytes")
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._header_name,
                "on_header_value": self._header_value,
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_finished,
                "on_part_data": self._content,
                "on_end": self._end,
            },
        )
        self._parts = 0
        self._files = 0
        self._ended = False
        self._name = ""
        self._in_file = False
        self._field = bytearray()
        self._value = bytearray()
        self._disposition = b""
        self._pieces: list[bytes] = []

    def feed(self, piece: bytes) -> list[bytes]:
        """What of this piece belongs to the file. Refused: 400."""
        self._pieces = []
        try:
            self._parser.write(piece)
        except FormParserError as error:
            raise _malformed(str(error)[:120]) from None
        return self._pieces

    def finished(self) -> str:
        """The file's name, once the body has ended. Refused without a file, or with several."""
        if not self._ended:
            raise _malformed("the form ends in the middle")
        if self._files != 1:
            raise _malformed(f"the form holds {self._files} files; one is needed: curl -F file=@measurements.csv")
        return self._name

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise _malformed(f"the form has more than {MAX_PARTS} parts")
        self._in_file = False
        self._disposition = b""
        self._clear()

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._grow(self._field, data[start:end])

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._grow(self._value, data[start:end])

    def _header_end(self) -> None:
        if bytes(self._field).lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._clear()

    def _headers_finished(self) -> None:
        _, parameters = parse_options_header(self._disposition)
        name = parameters.get(b"filename")
        if name is not None:
            self._in_file = True
            self._files += 1
            self._name = name.decode("utf-8", "replace")

    def _content(self, data: bytes, start: int, end: int) -> None:
        if self._in_file and self._files == 1:
            self._pieces.append(data[start:end])

    def _end(self) -> None:
        self._ended = True

    def _clear(self) -> None:
        self._field.clear()
        self._value.clear()

    @staticmethod
    def _grow(buffer: bytearray, more: Any) -> None:
        buffer += more
        if len(buffer) > MAX_HEADER_BYTES:
            raise _malformed(f"a part has a header of more than {MAX_HEADER_BYTES} bytes")


def _malformed(detail: str) -> Refused:
    return Refused("malformed_request", f"The form cannot be read: {detail}.")
