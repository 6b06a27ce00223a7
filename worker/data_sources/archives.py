"""Files of published data sets: from the data folder, else from an earlier download, else from their publisher.

A packed file is verified by the checksum that its publisher states. An unpacked one has no such checksum unless the
publisher states it of the content; then its reader checks the structure alone.
"""

import hashlib
import tempfile
import urllib.request
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from worker.data_sources.source import DataFinding, Folders

MAX_FILE_BYTES = 256 << 20
DOWNLOAD_TIMEOUT_S = 60


@dataclass(frozen=True)
class Archive:
    """A gzip file: ``name`` in its folder and at its publisher, with the MD5 of the file or of what is inside."""

    name: str
    md5: str
    md5_of: Literal["file", "content"]

    @property
    def unpacked(self) -> str:
        """The name of its content."""
        return self.name.removesuffix(".gz")


def content(archive: Archive, folder: str, url: str | None, folders: Folders) -> bytes:
    """What is inside ``archive``, verified. Raises ``DataFinding``."""
    for path in _places(archive.unpacked, folder, folders):
        if path.is_file():
            found = bounded(path)
            return _check(found, archive, path.name) if archive.md5_of == "content" else found
    for path in _places(archive.name, folder, folders):
        if path.is_file():
            return _opened(bounded(path), archive, path.name)
    if not url or not folders.mirror_url:
        raise DataFinding("data_unreadable", f"{folder}/{archive.name} is not in the data folder and no mirror is set")
    packed = _download(f"{url.rstrip('/')}/{archive.name}")
    opened = _opened(packed, archive, f"{archive.name} of the mirror")
    _keep(folders.downloads / folder / archive.name, packed)
    return opened


def bounded(path: Path) -> bytes:
    """The file's bytes, unless there are absurdly many."""
    if path.stat().st_size > MAX_FILE_BYTES:
        raise DataFinding("data_unreadable", f"{path.name} is larger than {MAX_FILE_BYTES} bytes")
    return path.read_bytes()


def _places(name: str, folder: str, folders: Folders) -> Iterator[Path]:
    for root in (folders.data, folders.downloads):
        if root is not None:
            yield root / folder / name


def _opened(packed: bytes, archive: Archive, what: str) -> bytes:
    if archive.md5_of == "file":
        return _decompressed(_check(packed, archive, what), what)
    return _check(_decompressed(packed, what), archive, what)


def _download(url: str) -> bytes:
    if not url.startswith(("https://", "http://")):
        raise DataFinding("data_unreadable", "the mirror of published data sets is not an http address", fault="system")
    try:
        with urllib.request.urlopen(url, timeout=DOWNLOAD_TIMEOUT_S) as answer:  # noqa: S310 - scheme checked above
            packed: bytes = answer.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise DataFinding("data_unreadable", f"download of {url} failed: {error}", fault="system") from None
    return packed


def _decompressed(packed: bytes, what: str) -> bytes:
    unpacker = zlib.decompressobj(wbits=31)
    try:
        opened = unpacker.decompress(packed, MAX_FILE_BYTES + 1)
    except zlib.error as error:
        raise DataFinding("data_unreadable", f"{what} is not a gzip file: {error}") from None
    if len(opened) > MAX_FILE_BYTES:
        raise DataFinding("data_unreadable", f"{what} holds more than {MAX_FILE_BYTES} bytes")
    return opened


def _check(found: bytes, archive: Archive, what: str) -> bytes:
    digest = hashlib.md5(found, usedforsecurity=False).hexdigest()
    if digest != archive.md5:
        message = f"{what}: MD5 of the {archive.md5_of} is {digest}, published is {archive.md5}"
        raise DataFinding("data_checksum", message)
    return found


def _keep(path: Path, packed: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as unfinished:
        unfinished.write(packed)
    Path(unfinished.name).replace(path)
