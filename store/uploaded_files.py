"""Where uploaded files lie: one file for each data set, named by its id alone. What a client called it is a label."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


def path_of(folder: Path, dataset_id: str, kind: str) -> Path:
    """The file of a data set. The id is one of ours: no text of a client is part of a path."""
    return folder / f"{dataset_id}.{kind}"


@contextmanager
def arriving(folder: Path) -> Iterator[tuple[Path, IO[bytes]]]:
    """A new file that is gone on the way out, unless it was moved to its place."""
    folder.mkdir(parents=True, exist_ok=True)
    fd, name = tempfile.mkstemp(dir=folder, prefix=".arriving-")
    path = Path(name)
    try:
        with os.fdopen(fd, "wb") as file:
            yield path, file
    finally:
        path.unlink(missing_ok=True)


def settle(arrived: Path, target: Path) -> None:
    """Moves the file to its place; after this it survives a power loss."""
    with arrived.open("rb") as file:
        os.fsync(file.fileno())
    arrived.chmod(0o644)
    arrived.replace(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
