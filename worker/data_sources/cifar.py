"""The binary version of CIFAR: records of labels and 3 x 32 x 32 bytes, red first, row by row."""

import io
import tarfile

import numpy as np

from worker.data_sources.source import Array, DataFinding

PIXELS = 3 * 32 * 32


def read(content: bytes, name: str, *, labels: int, classes: int) -> tuple[Array, Array]:
    """Images [N,3,32,32] and classes [N], of records with this many labels; the last one, the finest, counts."""
    length = labels + PIXELS
    if not content or len(content) % length:
        raise DataFinding("data_unreadable", f"{name} has {len(content)} bytes, no multiple of {length}")
    records = np.frombuffer(content, dtype=np.uint8).reshape(-1, length)
    y = records[:, labels - 1].astype(np.int64)
    if y.max() >= classes:
        raise DataFinding("data_unreadable", f"{name} holds the class {y.max()}; there are {classes}")
    return records[:, labels:].reshape(-1, 3, 32, 32), y


def members(content: bytes, name: str, wanted: tuple[str, ...]) -> list[bytes]:
    """Files of a tar archive, read where they are: nothing is extracted to the disk."""
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
            opened = [archive.extractfile(member) for member in wanted]
            return [b"" if stream is None else stream.read() for stream in opened]
    except (tarfile.TarError, KeyError) as error:
        raise DataFinding("data_unreadable", f"{name}: {error}") from None
