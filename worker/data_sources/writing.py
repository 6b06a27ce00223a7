"""From a table to the prepared arrays: split, normalised by the training rows alone, written and hashed."""

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
from pydantic_core import PydanticCustomError

from specs.data_sources import DataSourceSpec, Normalization, SplitSpec, chosen_task, split_rows
from specs.signature import DataSignature
from specs.training import Precision
from worker.data_sources.source import Array, DataFinding, Table, check_size

_CHUNK_ROWS = 4096


def write(
    table: Table, dataset: DataSourceSpec, folder: Path, *, precision: Precision
) -> tuple[DataSignature, str, dict[str, Any]]:
    """Write ``{train,validation,test}_{x,y,dt}.npy``. Returns the signature, the digest of all arrays, the scaling."""
    dtype = np.dtype(np.float64 if precision == "float64" else np.float32)
    check_size(table.x.shape, dtype.itemsize, "the data set")
    rows = divide(len(table.x), dataset.split, official_test=table.official_test)
    if not len(rows["train"]):
        raise DataFinding("data_mismatch", f"{len(table.x)} rows leave none to train on after the split")
    signature = _signature(table, dataset, rows)
    shift, scale = scaling(table.x, rows["train"], dataset.normalize)
    digest = hashlib.sha256()
    for split, chosen in rows.items():
        _save(folder / f"{split}_x.npy", _scaled(table.x, chosen, shift, scale, dtype), digest)
        y = table.y[chosen]
        if signature.task == "regression":
            y = table.y.reshape(len(table.y), -1)[chosen].astype(dtype)
        _save(folder / f"{split}_y.npy", y, digest)
        if table.dt is not None:
            _save(folder / f"{split}_dt.npy", table.dt[chosen].astype(dtype), digest)
    kept = {"normalize": dataset.normalize, "shift": shift.reshape(-1).tolist(), "scale": scale.reshape(-1).tolist()}
    return signature, digest.hexdigest(), kept


def divide(rows: int, split: SplitSpec, *, official_test: int = 0) -> dict[str, Array]:
    """Which rows go where: drawn by the split's seed, in the source's order. An official test is the last rows."""
    pool = rows - official_test
    if official_test:
        split = split.model_copy(update={"test": 0.0})
    _, validation, test = split_rows(pool, split)
    drawn = np.random.Generator(np.random.PCG64(split.seed)).permutation(pool)
    tested = np.arange(pool, rows) if official_test else np.sort(drawn[validation : validation + test])
    return {
        "train": np.sort(drawn[validation + test :]),
        "validation": np.sort(drawn[:validation]),
        "test": tested,
    }


def scaling(x: Array, train: Array, normalize: Normalization) -> tuple[Array, Array]:
    """``shift`` and ``scale`` (x becomes (x - shift) / scale), float64, broadcastable against rows of ``x``.

    standard: per feature; per channel of an image. unit: per feature; one range for a whole image. A feature that
    does not vary over the training rows keeps scale 1.
    """
    if normalize == "none":
        return np.zeros(1), np.ones(1)
    seen = x[train]
    axes = tuple(range(seen.ndim - 1))  # vector and sequence: all but the feature
    if seen.ndim == 4:
        axes = (0, 2, 3) if normalize == "standard" else (0, 1, 2, 3)
    if normalize == "standard":
        shift = seen.mean(axis=axes, dtype=np.float64, keepdims=True)
        scale = seen.std(axis=axes, dtype=np.float64, keepdims=True)
    else:
        shift = seen.min(axis=axes, keepdims=True).astype(np.float64)
        scale = seen.max(axis=axes, keepdims=True).astype(np.float64) - shift
    return shift[0], np.where(scale > 0, scale, 1.0)[0]


def _scaled(x: Array, rows: Array, shift: Array, scale: Array, dtype: np.dtype[Any]) -> Array:
    """The chosen rows, scaled in float64 and rounded once. In chunks: a float64 copy of all rows may not fit."""
    out = np.empty((len(rows), *x.shape[1:]), dtype=dtype)
    for start in range(0, len(rows), _CHUNK_ROWS):
        chosen = x[rows[start : start + _CHUNK_ROWS]].astype(np.float64)
        out[start : start + _CHUNK_ROWS] = (chosen - shift) / scale
    return out


def _signature(table: Table, dataset: DataSourceSpec, rows: dict[str, Array]) -> DataSignature:
    try:
        task = chosen_task(dataset.task, table.implied_task)
    except PydanticCustomError as error:
        raise DataFinding("data_mismatch", f"task {dataset.task} does not fit: {error.message()}") from None
    outputs = (1 if table.y.ndim == 1 else int(table.y.shape[1])) if task == "regression" else int(table.y.max()) + 1
    return DataSignature(
        task=task,
        input_shape=tuple(int(length) for length in table.x.shape[1:]),
        outputs=outputs,
        has_dt=table.dt is not None,
        rows_train=len(rows["train"]),
        rows_validation=len(rows["validation"]),
        rows_test=len(rows["test"]),
        feature_names=table.feature_names,
        class_names=table.class_names,
    )


def _save(path: Path, array: Array, digest: Any) -> None:
    with path.open("wb") as stream:
        np.save(stream, array, allow_pickle=False)
        stream.flush()
        os.fsync(stream.fileno())
    digest.update(f"{path.name} {array.dtype} {array.shape}".encode())
    digest.update(np.ascontiguousarray(array).data if array.size else b"")
