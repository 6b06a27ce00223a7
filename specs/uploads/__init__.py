"""Uploaded files: what a file claims to hold, read from its head before anything parses it.

Nothing here allocates by a size that a file names, follows a name inside it or executes anything. ``inspect`` runs in a
process with limits all the same.
"""

from pathlib import Path
from typing import Final

from specs.uploads import csv_table, image_folder, npz, parquet, safetensors
from specs.uploads.findings import Contents, Unfit

FORMATS: Final = ("csv", "npz", "parquet", "safetensors", "zip")

MEDIA_TYPES: Final = {
    "text/csv": "csv",
    "application/x-npz": "npz",
    "application/vnd.apache.parquet": "parquet",
    "application/x-safetensors": "safetensors",
    "application/zip": "zip",
}
"""What a body may be sent as; ``application/octet-stream`` leaves it to the name."""

_INSPECTORS = {
    "csv": csv_table.inspect,
    "npz": npz.inspect,
    "parquet": parquet.inspect,
    "safetensors": safetensors.inspect,
    "zip": image_folder.inspect,
}
_MAGIC: Final = {"npz": b"PK\x03\x04", "parquet": b"PAR1", "zip": b"PK\x03\x04"}
_PICKLES: Final = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


def check_magic(head: bytes, kind: str) -> None:
    """Refuses a file that is not what it is called, by its first bytes."""
    if not head:
        raise Unfit("empty_file", "the file is empty")
    if head.startswith(_PICKLES):
        raise Unfit("pickle", "the file is a pickle, which is code; send csv, npz, parquet, safetensors or zip")
    wanted = _MAGIC.get(kind)
    if wanted is not None and not head.startswith(wanted):
        raise Unfit("wrong_magic", f"the file does not begin as a {kind} file does")


def inspect(path: Path, kind: str) -> Contents:
    """What the file claims to hold. Raises ``Unfit`` for whatever can be told before it is parsed."""
    with path.open("rb") as file:
        check_magic(file.read(8), kind)
    return _INSPECTORS[kind](path)
