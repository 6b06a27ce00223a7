"""Parquet files of series, written row group by row group, so that a long job is never whole in memory.

pyarrow is imported by the first request that asks for such a file: an API that is never asked does without its memory.
"""

from collections.abc import Iterator
from typing import Final, final

from store.series import Points

MEDIA_TYPE: Final = "application/vnd.apache.parquet"
_SCOPE: Final = ("name", "layer", "parameter", "split", "unit")
_NEVER_NULL: Final = ("name", "unit")


def written(series: Iterator[Points]) -> Iterator[bytes]:
    """Pieces of a file with one row a point and a row group a series; NaN and infinity stay what they are."""
    import pyarrow as arrow
    from pyarrow import parquet

    scope = [arrow.field(name, arrow.string(), nullable=name not in _NEVER_NULL) for name in _SCOPE]
    numbers = [
        arrow.field("step", arrow.int32(), nullable=False),
        arrow.field("value", arrow.float32(), nullable=False),
    ]
    pieces = _Pieces()
    with parquet.ParquetWriter(arrow.PythonFile(pieces, "w"), arrow.schema([*scope, *numbers])) as file:
        for points in series:
            texts = (arrow.scalar(getattr(points, name), arrow.string()) for name in _SCOPE)
            columns = [*(arrow.repeat(text, len(points.steps)) for text in texts), points.steps, points.values]
            file.write_table(arrow.table(columns, schema=file.schema), row_group_size=len(points.steps))
            yield pieces.take()
    yield pieces.take()


@final
class _Pieces:
    """A file of which only what was written since the last look is kept."""

    closed = False

    def __init__(self) -> None:
        self._kept = bytearray()

    def write(self, piece: bytes) -> int:
        self._kept += piece
        return len(piece)

    def take(self) -> bytes:
        taken, self._kept = bytes(self._kept), bytearray()
        return taken

    def flush(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        self.closed = True
