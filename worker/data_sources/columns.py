"""Tables of named columns: csv with a header, and parquet."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from worker.data_sources.source import MAX_BYTES, Array, DataFinding, check_size


def read(path: Path, *, target: str | None) -> tuple[Array, Array, tuple[str, ...]]:
    """Features [N,D] float64, the target column, and the features' names."""
    try:
        table = _parquet(path) if path.suffix == ".parquet" else _csv(path)
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
        raise DataFinding("data_unreadable", f"{path.name}: {error}") from None
    names = table.column_names
    if len(set(names)) != len(names):
        raise DataFinding("data_mismatch", f"{path.name} names a column twice")
    if len(names) < 2:
        raise DataFinding("data_mismatch", f"{path.name} has {len(names)} column(s); features and a target are needed")
    chosen = names[-1] if target is None else target
    if chosen not in names:
        raise DataFinding("data_mismatch", f"{path.name} has no column {chosen!r}; it has {', '.join(names[:20])}")
    features = tuple(name for name in names if name != chosen)
    x = np.stack([_numbers(table.column(name), name) for name in features], axis=1)
    return x, _values(table.column(chosen), chosen), features


def _csv(path: Path) -> Any:
    if path.stat().st_size > MAX_BYTES:
        raise DataFinding("data_too_large", f"{path.name} is larger than {MAX_BYTES} bytes", fault="resource")
    # Not Arrow's threads: their order of work must not matter, and one is as many as a preparation gets.
    return pyarrow.csv.read_csv(path, read_options=pyarrow.csv.ReadOptions(use_threads=False))


def _parquet(path: Path) -> Any:
    file = pyarrow.parquet.ParquetFile(path)
    meta = file.metadata
    check_size((meta.num_rows, meta.num_columns), 8, path.name)
    packed = sum(meta.row_group(index).total_byte_size for index in range(meta.num_row_groups))
    check_size((packed,), 1, path.name)
    return file.read(use_threads=False)


def _numbers(column: Any, name: str) -> Array:
    kind = column.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        raise DataFinding("data_mismatch", f"feature column {name!r} holds {kind}, not numbers")
    return _values(column, name).astype(np.float64)


def _values(column: Any, name: str) -> Array:
    if column.null_count:
        row = next(index for index, value in enumerate(column) if not value.is_valid)
        raise DataFinding(
            "data_mismatch", f"column {name!r} has {column.null_count} empty value(s), first in row {row + 1}"
        )
    values: Array = column.to_numpy()
    if values.dtype.kind == "O":
        if not pa.types.is_string(column.type) and not pa.types.is_large_string(column.type):
            raise DataFinding("data_mismatch", f"column {name!r} holds {column.type}, neither numbers nor text")
        values = values.astype(str)
    if values.dtype.kind not in "biufU":
        raise DataFinding("data_mismatch", f"column {name!r} holds {column.type}, neither numbers nor text")
    return values
