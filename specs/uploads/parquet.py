"""A parquet file: that its footer can be where it says. The rest is Arrow's, in the process that prepares a job."""

from pathlib import Path
from typing import Final

from specs.uploads.findings import Contents, Unfit

MAX_FOOTER_BYTES: Final = 16 << 20
_END: Final = b"PAR1"


def inspect(path: Path) -> Contents:
    """Nothing but the form: rows and columns are told when a job prepares the file. Raises ``Unfit``."""
    size = path.stat().st_size
    if size < 12:
        raise Unfit("truncated", "the file is shorter than an empty parquet file")
    with path.open("rb") as file:
        file.seek(size - 8)
        length, end = int.from_bytes(file.read(4), "little"), file.read(4)
    if end != _END:
        raise Unfit("truncated", "the file does not end as a parquet file does")
    if length > min(size - 12, MAX_FOOTER_BYTES):
        raise Unfit("parquet_footer", f"the footer promises {length} bytes; {min(size - 12, MAX_FOOTER_BYTES)} at most")
    return Contents()
