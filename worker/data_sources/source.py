"""The interface of a data source: rows as arrays, and what is wrong with them as a finding."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from specs.signature import TaskName

Array = NDArray[Any]

MAX_BYTES = 8 << 30
"""Of one data set in memory. More is refused before it is allocated."""


class DataFinding(Exception):
    """Something is wrong with the data of a job; the message is for the person who posted it."""

    def __init__(self, kind: str, message: str, *, fault: Literal["user", "system", "resource"] = "user") -> None:
        super().__init__(message)
        self.kind = kind
        self.fault = fault


@dataclass(frozen=True)
class Table:
    """Rows of a source in its own order and precision, not yet split or normalised.

    ``x`` [N,D] | [N,C,H,W] | [N,T,I]; ``y`` [N] classes 0..K-1 (int64) or [N,K] numbers; ``dt`` [N,T].
    The last ``official_test`` rows are the source's own test split.
    """

    x: Array
    y: Array
    implied_task: TaskName
    dt: Array | None = None
    official_test: int = 0
    feature_names: tuple[str, ...] | None = None
    class_names: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Folders:
    """Where a source may read, and where MNIST may be downloaded from; without ``mirror_url`` nothing is downloaded."""

    data: Path | None
    downloads: Path
    mirror_url: str | None = field(default=None)
    uploads: Path | None = field(default=None)


class DataSource(ABC):
    """Reads one kind of source. Raises ``DataFinding`` for everything that a user can put right."""

    @abstractmethod
    def load(self, folders: Folders) -> Table:
        """All rows. Called once, in a process of its own."""


def numbered_classes(labels: Array) -> tuple[Array, tuple[str, ...]]:
    """Labels as 0..K-1 in sorted order, and their names."""
    names, numbers = np.unique(labels, return_inverse=True)
    if len(names) > 10_000:
        raise DataFinding("data_mismatch", f"{len(names)} classes: is this a regression target? Say so with task.")
    return numbers.astype(np.int64).reshape(-1), tuple(str(name) for name in names.tolist())


def check_size(shape: Sequence[int], itemsize: int, what: str) -> None:
    """Refuse an array before it is allocated."""
    size = itemsize
    for length in shape:
        size *= int(length)
    if size > MAX_BYTES:
        raise DataFinding("data_too_large", f"{what} would take {size} bytes; at most {MAX_BYTES}", fault="resource")


def located(name: str, folder: Path | None) -> Path:
    """The file that ``name`` means. Links are followed first: what lies outside the folder is refused."""
    if folder is None:
        raise DataFinding("data_not_found", "this worker has no data folder")
    root = folder.resolve()
    path = (root / name).resolve()
    if not path.is_relative_to(root) or not path.is_file():
        raise DataFinding("data_not_found", f"{name} is not a file of the data folder")
    return path
