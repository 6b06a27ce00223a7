"""Arrays ``x``, ``y`` and ``dt`` of an npz or safetensors file; what headers promise is checked before it is loaded."""

import math
import zipfile
from pathlib import Path

import numpy as np
import safetensors.numpy
from numpy.lib import format as npy
from safetensors import SafetensorError

from specs.uploads.findings import Unfit
from specs.uploads.safetensors import inspect
from worker.data_sources.source import Array, DataFinding, check_size

_ALLOWED = {"x": "biuf", "y": "biufU", "dt": "biuf"}


def read(path: Path) -> tuple[Array, Array, Array | None]:
    """``x`` float64, ``y`` as it is, ``dt`` float64 or None."""
    held = _safetensors(path) if path.suffix == ".safetensors" else _npz(path)
    x, y, dt = held["x"], held["y"], held.get("dt")
    _check_shapes(x, y, dt)
    return x.astype(np.float64), y, None if dt is None else dt.astype(np.float64)


def _npz(path: Path) -> dict[str, Array]:
    try:
        with zipfile.ZipFile(path) as archive:
            _check_headers(archive, path.name)
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in _ALLOWED.keys() & set(arrays.files)}
    except (zipfile.BadZipFile, ValueError, OSError, EOFError, NotImplementedError, RuntimeError) as error:
        raise DataFinding("data_unreadable", f"{path.name}: {error}") from None


def _safetensors(path: Path) -> dict[str, Array]:
    try:
        inspect(path)
        held = safetensors.numpy.load_file(path)
    except (Unfit, SafetensorError, ValueError, OSError) as error:
        raise DataFinding("data_unreadable", f"{path.name}: {error}") from None
    return {name: held[name] for name in _ALLOWED.keys() & held.keys()}


def _check_headers(archive: zipfile.ZipFile, name: str) -> None:
    members = {entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()}
    if len(members) != len(archive.infolist()) or not {"x", "y"} <= members.keys():
        raise DataFinding("data_mismatch", f"{name} must hold x and y once each; it holds {', '.join(members)[:200]}")
    for key in members.keys() & _ALLOWED.keys():
        with archive.open(members[key]) as stream:
            version = npy.read_magic(stream)
            if version not in ((1, 0), (2, 0)):
                raise DataFinding("data_unreadable", f"{name}: {key} has npy format {version}")
            header = npy.read_array_header_1_0(stream) if version == (1, 0) else npy.read_array_header_2_0(stream)
        shape, _, dtype = header
        if dtype.kind not in _ALLOWED[key]:
            raise DataFinding("data_mismatch", f"{name}: {key} has dtype {dtype}; numbers are needed")
        check_size(shape, max(dtype.itemsize, 8), f"{name}: {key}")
        if math.prod(shape) * dtype.itemsize > members[key].file_size:
            raise DataFinding("data_unreadable", f"{name}: {key} promises more than the file holds")


def _check_shapes(x: Array, y: Array, dt: Array | None) -> None:
    if x.ndim not in (2, 3, 4) or 0 in x.shape[1:]:
        raise DataFinding("data_mismatch", f"x has the shape {x.shape}; [N,D], [N,T,I] or [N,C,H,W] is needed")
    if y.ndim not in (1, 2) or len(y) != len(x):
        raise DataFinding("data_mismatch", f"y has the shape {y.shape}; {len(x)} rows are needed")
    if dt is None:
        return
    if x.ndim != 3 or dt.shape != x.shape[:2]:
        raise DataFinding(
            "data_mismatch", f"dt has the shape {dt.shape}; one time step per row and step of x is needed"
        )
    if not (np.isfinite(dt) & (dt >= 0)).all():
        raise DataFinding("data_mismatch", "dt holds negative or non-finite times")
