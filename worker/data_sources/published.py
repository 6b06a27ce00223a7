"""Published data sets: from the data folder, else downloaded; checksums verified either way."""

import hashlib
import tempfile
import urllib.request
import zlib
from pathlib import Path

import numpy as np

from specs.data_sources import PublishedSpec
from worker.data_sources.source import Array, DataFinding, DataSource, Folders, Table

# MD5 of the decompressed files, as published with the originals
_MNIST = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
_MAX_FILE_BYTES = 64 << 20
_DOWNLOAD_TIMEOUT_S = 60


class Published(DataSource):
    """MNIST (LeCun, Cortes & Burges 1998), with its official test split."""

    def __init__(self, spec: PublishedSpec) -> None:
        self.spec = spec

    def load(self, folders: Folders) -> Table:
        parts = {name: _verified(name, checksum, folders) for name, checksum in _MNIST.items()}
        images = [_images(parts["train-images-idx3-ubyte"]), _images(parts["t10k-images-idx3-ubyte"])]
        labels = [_labels(parts["train-labels-idx1-ubyte"]), _labels(parts["t10k-labels-idx1-ubyte"])]
        return Table(
            x=np.concatenate(images),
            y=np.concatenate(labels),
            implied_task="classification",
            official_test=len(labels[1]),
        )


def _verified(name: str, checksum: str, folders: Folders) -> bytes:
    """The decompressed file. Places in order: the data folder, earlier downloads, the mirror."""
    for folder in (folders.data, folders.downloads):
        for path in () if folder is None else (folder / "mnist" / name, folder / "mnist" / f"{name}.gz"):
            if path.is_file():
                return _check(_decompress(path.read_bytes(), path.name), checksum, str(path.name))
    if not folders.mirror_url:
        raise DataFinding("data_unreadable", f"mnist/{name} is not in the data folder and no mirror is set")
    compressed = _download(f"{folders.mirror_url.rstrip('/')}/{name}.gz")
    content = _check(_decompress(compressed, f"{name}.gz"), checksum, f"{name}.gz of the mirror")
    _keep(folders.downloads / "mnist" / f"{name}.gz", compressed)
    return content


def _download(url: str) -> bytes:
    if not url.startswith(("https://", "http://")):
        raise DataFinding("data_unreadable", "the mirror of published data sets is not an http address", fault="system")
    try:
        with urllib.request.urlopen(url, timeout=_DOWNLOAD_TIMEOUT_S) as answer:  # noqa: S310 - scheme checked above
            content: bytes = answer.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise DataFinding("data_unreadable", f"download of {url} failed: {error}", fault="system") from None
    return content


def _decompress(content: bytes, name: str) -> bytes:
    if name.endswith(".gz"):
        unpacker = zlib.decompressobj(wbits=31)
        try:
            content = unpacker.decompress(content, _MAX_FILE_BYTES + 1)
        except zlib.error as error:
            raise DataFinding("data_unreadable", f"{name} is not a gzip file: {error}") from None
    if len(content) > _MAX_FILE_BYTES:
        raise DataFinding("data_unreadable", f"{name} is larger than {_MAX_FILE_BYTES} bytes")
    return content


def _check(content: bytes, checksum: str, what: str) -> bytes:
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != checksum:
        raise DataFinding("data_checksum", f"{what}: MD5 of the content is {found}, published is {checksum}")
    return content


def _keep(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as unfinished:
        unfinished.write(content)
    Path(unfinished.name).replace(path)


def _images(content: bytes) -> Array:
    return np.frombuffer(content, dtype=np.uint8, offset=16).reshape(-1, 1, 28, 28)


def _labels(content: bytes) -> Array:
    return np.frombuffer(content, dtype=np.uint8, offset=8).astype(np.int64)
