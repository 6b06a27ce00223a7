"""From a source to arrays on the disk: right numbers, once, and findings instead of tracebacks."""

import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from pydantic import TypeAdapter, ValidationError

from specs.data_sources import DatasetSpec, FileSpec, known_signature
from worker.data_sources.source import DataFinding, located
from worker.prepare import cached, prepare

ALL = {"validation": 0, "test": 0}


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


def _order(dataset: dict[str, Any], tmp_path: Path, precision: str = "float64") -> dict[str, Any]:
    return {
        "dataset": dataset,
        "precision": precision,
        "data_dir": str(tmp_path / "data"),
        "prepared_dir": str(tmp_path / "prepared"),
        "mirror_url": None,
    }


def _arrays(answer: dict[str, Any]) -> dict[str, np.ndarray]:
    assert "error" not in answer, answer
    return {path.stem: np.load(path) for path in Path(answer["folder"]).glob("*.npy")}


def _file(path: str, **fields: Any) -> dict[str, Any]:
    return {"kind": "file", "path": path, "split": ALL, **fields}


BUILTIN = ["digits", "iris", "wine", "breast_cancer", "diabetes"]
SYNTHETIC = ["event_xor", "parity", "sequence_image"]


@pytest.mark.parametrize(
    "dataset",
    [{"kind": "builtin", "name": name} for name in BUILTIN]
    + [{"kind": "synthetic", "name": name, "rows": 60} for name in SYNTHETIC],
)
def test_door_knows_what_preparation_finds(dataset: dict[str, Any], tmp_path: Path) -> None:
    answer = prepare(_order(dataset, tmp_path))
    known = known_signature(TypeAdapter(DatasetSpec).validate_python(dataset))
    assert known is not None
    assert known.model_dump(mode="json") == answer["signature"]
    arrays = _arrays(answer)
    assert arrays["train_x"].shape == (known.rows_train, *known.input_shape)
    assert ("train_dt" in arrays) == known.has_dt


def test_second_order_is_answered_from_the_cache(tmp_path: Path) -> None:
    order = _order({"kind": "builtin", "name": "iris"}, tmp_path)
    assert cached(order) is None
    answer = prepare(order)
    assert cached(order) == answer
    assert cached({**order, "precision": "bfloat16"}) is None


def test_changed_file_is_prepared_again(data_dir: Path, tmp_path: Path) -> None:
    order = _order(_file("a.csv"), tmp_path)
    (data_dir / "a.csv").write_text("x,y\n1,0.5\n2,1.5\n")
    first = prepare(order)
    (data_dir / "a.csv").write_text("x,y\n1,0.5\n2,1.5\n3,2.5\n")
    assert cached(order) is None
    assert prepare(order)["sha256"] != first["sha256"]


def test_splits_are_disjoint_complete_and_in_the_sources_order(data_dir: Path, tmp_path: Path) -> None:
    np.savez(data_dir / "a.npz", x=np.arange(100.0)[:, None], y=np.arange(100.0))
    arrays = _arrays(prepare(_order(_file("a.npz", split={"validation": 0.25, "test": 0.1, "seed": 3}), tmp_path)))
    parts = [arrays[f"{split}_y"].reshape(-1) for split in ("train", "validation", "test")]
    assert [len(part) for part in parts] == [65, 25, 10]
    assert sorted(np.concatenate(parts)) == list(range(100))
    assert all((np.diff(part) > 0).all() for part in parts)


def test_scaling_uses_the_training_rows_alone(data_dir: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(5, 3, size=(50, 2))
    x[:, 1] = 7  # does not vary
    np.savez(data_dir / "a.npz", x=x, y=rng.integers(0, 2, 50))
    order = _order(_file("a.npz", split={"validation": 0.2, "test": 0.2}, normalize="standard"), tmp_path)
    arrays = _arrays(prepare(order))
    assert np.abs(arrays["train_x"][:, 0].mean()) < 1e-12
    assert abs(arrays["train_x"][:, 0].std() - 1) < 1e-12
    assert abs(arrays["test_x"][:, 0].mean()) > 1e-6
    assert (arrays["train_x"][:, 1] == 0).all()


def test_float64_values_pass_unrounded(data_dir: Path, tmp_path: Path) -> None:
    values = [0.1, 1 / 3, 1e-300, 123456789.123456789]
    (data_dir / "a.csv").write_text("x,y\n" + "".join(f"{v!r},{v / 7!r}\n" for v in values))
    arrays = _arrays(prepare(_order(_file("a.csv"), tmp_path)))
    assert arrays["train_x"].reshape(-1).tolist() == values
    assert arrays["train_y"].reshape(-1).tolist() == [v / 7 for v in values]


def test_csv_and_parquet_and_npz_of_the_same_rows_are_equal(data_dir: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(30, 2)), rng.integers(0, 3, 30)
    np.savez(data_dir / "a.npz", x=x, y=y)
    columns = {"a": x[:, 0], "b": x[:, 1], "kind": y}
    pa.parquet.write_table(pa.table(columns), data_dir / "a.parquet")
    lines = [f"{a!r},{b!r},{c}" for a, b, c in zip(x[:, 0].tolist(), x[:, 1].tolist(), y.tolist(), strict=True)]
    (data_dir / "a.csv").write_text("\n".join(["a,b,kind", *lines]))
    sums = {prepare(_order(_file(f"a.{kind}"), tmp_path))["sha256"] for kind in ("npz", "parquet", "csv")}
    assert len(sums) == 1


def test_text_target_becomes_classes_with_names(data_dir: Path, tmp_path: Path) -> None:
    (data_dir / "a.csv").write_text("kind,x\ncat,1\ndog,2\ncat,3\n")
    answer = prepare(_order(_file("a.csv", target="kind"), tmp_path))
    assert answer["signature"]["class_names"] == ["cat", "dog"]
    assert answer["signature"]["feature_names"] == ["x"]
    assert _arrays(answer)["train_y"].tolist() == [0, 1, 0]


def test_sequences_keep_their_times(data_dir: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    dt = rng.uniform(0, 2, (12, 5))
    np.savez(data_dir / "s.npz", x=rng.normal(size=(12, 5, 3)), y=rng.integers(0, 2, 12), dt=dt)
    answer = prepare(_order(_file("s.npz"), tmp_path))
    assert answer["signature"]["task"] == "sequence_classification"
    assert answer["signature"]["has_dt"]
    assert (_arrays(answer)["train_dt"] == dt).all()


def test_event_xor_is_the_parity_of_its_events(tmp_path: Path) -> None:
    spec = {"kind": "synthetic", "name": "event_xor", "bits": 6, "rows": 200, "jitter": 0.05, "split": ALL}
    arrays = _arrays(prepare(_order(spec, tmp_path)))
    x, dt, y = arrays["train_x"], arrays["train_dt"], arrays["train_y"]
    runs = np.rint(dt)  # bits of a run, whose times are irregular
    assert (runs.sum(axis=1) == 6).all()
    assert (dt[dt > 0] != runs[dt > 0]).all()
    ones = (runs * (x[:, :, 0] > 0)).sum(axis=1)
    assert (ones % 2 == y).all()
    assert 0.3 < y.mean() < 0.7
    assert (x[:, :, 1] == (dt > 0)).all()


BAD_FILES = {
    "empty.csv": b"",
    "header_only.csv": b"a,b\n",
    "one_column.csv": b"a\n1\n2\n",
    "text_feature.csv": b"a,b\nx,1\ny,2\n",
    "hole.csv": b"a,b\n1,2\n,3\n",
    "ragged.csv": b"a,b\n1,2\n3\n",
    "infinite.csv": b"a,b\n1,2\ninf,3\n",
    "twice.csv": b"a,a,b\n1,2,3\n",
    "one_class.csv": b"a,b\n1,0\n2,0\n",
    "not_utf8.csv": b"a,b\n\xff\xfe,1\n2,\xff\n",
    "not_a_zip.npz": b"PK\x03\x04 nonsense",
    "not_parquet.parquet": b"PAR1 nonsense PAR1",
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_file_is_a_finding_of_the_user(name: str, data_dir: Path, tmp_path: Path) -> None:
    (data_dir / name).write_bytes(BAD_FILES[name])
    error = prepare(_order(_file(name), tmp_path))["error"]
    assert error["kind"] in ("data_mismatch", "data_unreadable")
    assert error["fault"] == "user"
    assert len(error["message"]) > 10


def _npz(path: Path, **arrays: np.ndarray) -> None:
    np.savez(path, **arrays)


def test_bad_arrays_are_findings(data_dir: Path, tmp_path: Path) -> None:
    x, y = np.zeros((4, 2)), np.arange(4) % 2
    bad: list[dict[str, Any]] = [
        {"x": x},
        {"x": x, "y": y[:3]},
        {"x": np.zeros(4), "y": y},
        {"x": x, "y": y, "dt": np.ones((4, 2))},
        {"x": np.zeros((4, 3, 2)), "y": y, "dt": -np.ones((4, 3))},
        {"x": np.array([[object()]] * 4), "y": y},
        {"x": np.full((4, 2), np.nan), "y": y},
    ]
    for index, arrays in enumerate(bad):
        np.savez(data_dir / f"{index}.npz", **arrays)
        error = prepare(_order(_file(f"{index}.npz"), tmp_path))["error"]
        assert error["kind"] in ("data_mismatch", "data_unreadable"), (index, error)


def test_array_that_promises_more_than_the_file_holds_is_not_allocated(data_dir: Path, tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (1 << 40, 8)})
    with zipfile.ZipFile(data_dir / "bomb.npz", "w") as archive:
        archive.writestr("x.npy", header.getvalue())
        archive.writestr("y.npy", header.getvalue())
    error = prepare(_order(_file("bomb.npz"), tmp_path))["error"]
    assert (error["kind"], error["fault"]) == ("data_too_large", "resource")


@pytest.mark.parametrize("path", ["link.csv", "missing.csv", "folder.csv"])
def test_nothing_outside_the_data_folder_is_read(path: str, data_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "outside.csv").write_text("a,b\n1,2\n3,4\n")
    (data_dir / "link.csv").symlink_to(tmp_path / "outside.csv")
    (data_dir / "folder.csv").mkdir()
    order = _order(_file(path), tmp_path)
    assert prepare(order)["error"]["kind"] == "data_not_found"
    assert cached(order) is None


@pytest.mark.parametrize("path", ["../outside.csv", "below/../../outside.csv", "/etc/hosts.csv"])
def test_no_file_outside_the_data_folder_is_located(path: str, data_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "outside.csv").write_text("a,b\n1,2\n3,4\n")
    with pytest.raises(ValidationError, match="leads out of the data folder"):
        FileSpec(path=path)
    with pytest.raises(DataFinding):
        located(path, data_dir)


def test_program_answers_in_json_and_the_worker_needs_neither_numpy_nor_torch(tmp_path: Path) -> None:
    order = _order({"kind": "builtin", "name": "iris"}, tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "worker.prepare"], input=json.dumps(order), capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == cached(order)
    code = "import sys; from worker.prepare import cached; assert not {'numpy', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
