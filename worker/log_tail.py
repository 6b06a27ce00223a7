"""The lines that a trainer prints, read from the end of its log file as they come."""

from pathlib import Path
from typing import Final

from worker.storable import storable_text

MAX_LINE_BYTES: Final = 8 << 10
MAX_LOG_BYTES: Final = 8 << 20
_PIECE_BYTES: Final = 256 << 10


class LogTail:
    """Reads a growing file once, in whole lines, up to a bound."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._rest = b""

    def take(self, *, ended: bool = False) -> list[str]:
        """The lines that came since the last call; a last line without an end only when nothing more will come."""
        if self._offset >= MAX_LOG_BYTES:
            return []
        with self._path.open("rb") as file:
            file.seek(self._offset)
            piece = file.read(min(_PIECE_BYTES, MAX_LOG_BYTES - self._offset))
        self._offset += len(piece)
        *lines, self._rest = (self._rest + piece).split(b"\n")
        if self._rest and (ended or len(self._rest) > MAX_LINE_BYTES):
            lines.append(self._rest)
            self._rest = b""
        texts = [storable_text(line[:MAX_LINE_BYTES].decode(errors="replace")) for line in lines]
        if self._offset >= MAX_LOG_BYTES:
            texts.append(f"[the log goes on; the first {MAX_LOG_BYTES} bytes are kept]")
        return texts
