"""The directory of a zip archive, checked before a member is read: bombs, doubles, ways out of the folder."""

import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Final

from specs.uploads.findings import MAX_UNPACKED_BYTES, Unfit

MAX_RATIO: Final = 100
"""Unpacked bytes for a packed one, beyond the first MiB."""
_UNREADABLE = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, ValueError, NotImplementedError)


@contextmanager
def opened(path: Path, *, most_entries: int) -> Iterator[zipfile.ZipFile]:
    """The archive, whose directory holds nothing that is refused. What it then cannot read is ``Unfit`` too."""
    try:
        with zipfile.ZipFile(path) as archive:
            _check(archive, path.stat().st_size, most_entries)
            yield archive
    except _UNREADABLE as error:
        raise Unfit("unreadable_archive", f"the archive cannot be read: {str(error)[:120]}") from None
    except RuntimeError as error:  # zipfile's word for a password that is missing
        raise Unfit("encrypted", f"the archive cannot be read: {str(error)[:120]}") from None


def _check(archive: zipfile.ZipFile, packed_bytes: int, most_entries: int) -> None:
    entries = archive.infolist()
    if len(entries) > most_entries:
        raise Unfit("too_many_entries", f"the archive has {len(entries)} entries; at most {most_entries}")
    names: set[str] = set()
    unpacked = 0
    spans = []
    for entry in entries:
        _check_entry(entry)
        if entry.filename in names:
            raise Unfit("duplicate_entry", f"the archive holds {entry.filename[:80]!r} twice")
        names.add(entry.filename)
        unpacked += entry.file_size
        spans.append((entry.header_offset, entry.header_offset + 30 + entry.compress_size))
    if unpacked > MAX_UNPACKED_BYTES:
        raise Unfit("too_large", f"the archive unpacks to {unpacked} bytes; at most {MAX_UNPACKED_BYTES}")
    if unpacked > (1 << 20) + MAX_RATIO * packed_bytes:
        raise Unfit("zip_bomb", f"{packed_bytes} bytes that unpack to {unpacked}: more than {MAX_RATIO} for one")
    spans.sort()
    if any(end > begin for (_, end), (begin, _) in pairwise(spans)):
        raise Unfit("overlapping_entries", "entries of the archive overlap")


def _check_entry(entry: zipfile.ZipInfo) -> None:
    name = entry.orig_filename
    parts = name.replace("\\", "/").split("/")
    if name.startswith(("/", "\\")) or ".." in parts or ":" in parts[0] or "\0" in name or len(name) > 512:
        raise Unfit("path_outside", f"the entry {name[:80]!r} leads out of the archive")
    if entry.flag_bits & 0x1:
        raise Unfit("encrypted", f"the entry {name[:80]!r} is encrypted")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise Unfit("compression", f"the entry {name[:80]!r} is packed by method {entry.compress_type}; use deflate")
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise Unfit("link", f"the entry {name[:80]!r} is a link")
