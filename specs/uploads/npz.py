"""An npz file: arrays ``x`` and ``y``, for sequences ``dt``; their headers against what the archive holds."""

from pathlib import Path
from typing import Final

from specs.uploads.archive import opened
from specs.uploads.arrays import ALLOWED, contents
from specs.uploads.findings import Contents, Unfit
from specs.uploads.npy import ArrayHeader, read_header

MAX_ENTRIES: Final = 64


def inspect(path: Path) -> Contents:
    """Rows and shape by the headers. Raises ``Unfit``."""
    headers: dict[str, ArrayHeader] = {}
    with opened(path, most_entries=MAX_ENTRIES) as archive:
        for entry in archive.infolist():
            name = entry.filename.removesuffix(".npy")
            with archive.open(entry) as stream:
                headers[name] = header = read_header(stream, name[:80])
            if header.header_bytes + header.array_bytes != entry.file_size:
                promised = header.header_bytes + header.array_bytes
                raise Unfit("truncated", f"{name[:80]} promises {promised} bytes and has {entry.file_size}")
    shapes = {name: (header.kind, header.shape) for name, header in headers.items() if name in ALLOWED}
    return contents(shapes)
