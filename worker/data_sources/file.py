"""The user's own files: csv with a header, npz, parquet; nothing outside the data folder, nothing executed."""

from pathlib import Path

import numpy as np

from specs.data_sources import FileSpec
from specs.signature import TaskName
from worker.data_sources import arrays, columns, images
from worker.data_sources.source import Array, DataFinding, DataSource, Folders, Table, located, numbered_classes


class File(DataSource):
    """One file of the data folder."""

    def __init__(self, spec: FileSpec) -> None:
        self.spec = spec

    def load(self, folders: Folders) -> Table:
        return table_of(located(self.spec.path, folders.data), target=self.spec.target, task=self.spec.task)


def table_of(path: Path, *, target: str | None, task: str) -> Table:
    """The rows of a file, by its suffix."""
    dt: Array | None = None
    names: tuple[str, ...] | None = None
    if path.suffix in (".npz", ".safetensors"):
        x, labels, dt = arrays.read(path)
    elif path.suffix == ".zip":
        x, labels = images.read(path)
    else:
        x, labels, names = columns.read(path, target=target)
    if x.shape[0] == 0:
        raise DataFinding("data_mismatch", "the file has no rows")
    _check_finite(x, "the features")
    y, implied, class_names = _target(labels, task, is_sequence=x.ndim == 3)
    return Table(x=x, y=y, dt=dt, implied_task=implied, feature_names=names, class_names=class_names)


def _check_finite(values: Array, what: str) -> None:
    finite = np.isfinite(values)
    if not finite.all():
        row = int(np.argwhere(~finite)[0][0])
        raise DataFinding("data_mismatch", f"{what} hold NaN or infinity, first in row {row + 1}")


def _target(target: Array, choice: str, *, is_sequence: bool) -> tuple[Array, TaskName, tuple[str, ...] | None]:
    """The target as the task needs it: classes 0..K-1, or numbers [N,K]."""
    classes: TaskName = "sequence_classification" if is_sequence else "classification"
    if target.dtype.kind == "f":
        _check_finite(target, "the target")
        if "classification" in choice and target.ndim == 1 and (target == np.floor(target)).all():
            target = target.astype(np.int64)
    if target.dtype.kind == "f" or (choice == "regression" and target.dtype.kind in "iub"):
        return target.reshape(len(target), -1).astype(np.float64), "regression", None
    if target.ndim != 1:
        raise DataFinding("data_mismatch", f"classes are one column; this target has the shape {target.shape}")
    y, names = numbered_classes(target)
    if len(names) < 2:
        raise DataFinding("data_mismatch", "the target has only one class")
    return y, classes, names
