"""Raw exports hold every point; and merging a job changes no answer about its series."""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from fastapi.testclient import TestClient

from api.parquet import MEDIA_TYPE, written
from specs.reports import SeriesBlock as Block
from store import series
from store.database import Database
from store.series import Points
from store.settings import Settings
from tests.api import lived_job
from worker.merger import merge_some


@pytest.fixture
def job(database: Database, settings: Settings) -> str:
    """A job that is over, with a long series of a parameter that holds what is not finite."""
    job_id = lived_job.succeeded(database, settings)
    values = np.random.default_rng(0).normal(size=(1, 9000)).astype("<f4")
    values[0, [5, 50, 500]] = np.nan, np.inf, -np.inf
    steps = np.arange(3, 27_003, 3).astype("<i4")
    block = Block(
        layer="blocks.0", parameter='odd, "name"', quantities=("histogram_width",), units=("1",), count=len(steps)
    )
    with database.writing.begin() as session:
        series.append(session, job_id, 1, [block], steps.tobytes() + values.tobytes(), ids=series.BlockIds())
    return job_id


def points_of(database: Database, job: str, **wanted: Any) -> dict[tuple[Any, ...], tuple[list[int], list[float]]]:
    with database.reading() as session:
        found = series.read(session, job, **wanted)
    return {
        (each.name, each.layer, each.parameter, each.split, each.unit): (each.steps.tolist(), each.values.tolist())
        for each in found
    }


def grouped(rows: list[dict[str, Any]]) -> dict[tuple[Any, ...], tuple[list[int], list[float]]]:
    found: dict[tuple[Any, ...], tuple[list[int], list[float]]] = {}
    for row in rows:
        scope = (*(row[name] or None for name in ("name", "layer", "parameter", "split")), row["unit"])
        steps, values = found.setdefault(scope, ([], []))
        steps.append(int(row["step"]))
        values.append(float(np.float32(row["value"])))
    return found


@pytest.mark.parametrize("merged", [False, True])
@pytest.mark.parametrize("wanted", [{}, {"names": ["loss", "histogram_width"], "step_from": 300, "step_to": 9000}])
def test_exports_hold_every_point(
    http: TestClient, database: Database, job: str, merged: bool, wanted: dict[str, Any]
) -> None:
    expected = points_of(database, job, **wanted)
    assert sum(len(steps) for steps, _ in expected.values()) > 2000
    if merged:
        assert merge_some(database)
    query = {{"step_from": "from_step", "step_to": "to_step"}.get(name, name): value for name, value in wanted.items()}
    as_csv = http.get(f"/v1/jobs/{job}/series/export", params=query)
    assert as_csv.headers["Content-Type"].startswith("text/csv")
    assert as_csv.headers["Content-Disposition"] == f'attachment; filename="{job}.csv"'
    assert repr(grouped(list(csv.DictReader(io.StringIO(as_csv.text))))) == repr(expected)
    as_parquet = http.get(f"/v1/jobs/{job}/series/export", params=query, headers={"Accept": MEDIA_TYPE})
    assert as_parquet.headers["Content-Type"] == MEDIA_TYPE
    table = pa.parquet.read_table(io.BytesIO(as_parquet.content))
    assert repr(grouped(table.to_pylist())) == repr(expected)


def test_parquet_says_its_types_and_nulls(http: TestClient, job: str, tmp_path: Path) -> None:
    path = tmp_path / "series.parquet"
    path.write_bytes(http.get(f"/v1/jobs/{job}/series/export", headers={"Accept": MEDIA_TYPE}).content)
    file = pa.parquet.ParquetFile(path)
    assert [(field.name, str(field.type), field.nullable) for field in file.schema_arrow] == [
        ("name", "string", False),
        ("layer", "string", True),
        ("parameter", "string", True),
        ("split", "string", True),
        ("unit", "string", False),
        ("step", "int32", False),
        ("value", "float", False),
    ]
    parameters = {row["parameter"] for row in file.read().to_pylist()}
    assert parameters == {None, 'odd, "name"'}


def test_file_is_sent_series_by_series() -> None:
    values = np.arange(70_000, dtype=np.float32)
    points = Points("loss", None, -1, None, "train", "", np.arange(len(values), dtype=np.int32), values)
    pieces = list(written(iter([points, points])))
    assert [len(piece) > 100_000 for piece in pieces] == [True, True, False]
    table = pa.parquet.read_table(io.BytesIO(b"".join(pieces)))
    assert table["value"].to_numpy().tobytes() == 2 * values.tobytes()
    assert table["layer"].null_count == table.num_rows


def test_export_of_nothing_is_a_file_without_rows(http: TestClient) -> None:
    waiting = http.post("/v1/jobs", json=lived_job.SPEC).json()["id"]
    assert http.get(f"/v1/jobs/{waiting}/series/export").text == "name,layer,parameter,split,unit,step,value\r\n"
    as_parquet = http.get(f"/v1/jobs/{waiting}/series/export", headers={"Accept": MEDIA_TYPE})
    assert pa.parquet.read_table(io.BytesIO(as_parquet.content)).num_rows == 0


def test_export_refuses_what_the_query_refuses(http: TestClient, job: str) -> None:
    path = f"/v1/jobs/{job}/series/export"
    assert http.get(path, params={"names": "loss,grad_nrm"}).status_code == 422
    assert http.get(path, params={"max_points": 5}).status_code == 422
    refused = http.get(path, headers={"Accept": "application/json"})
    assert (refused.status_code, refused.json()["errors"][0]["allowed"]) == (406, ["text/csv", MEDIA_TYPE])
    assert http.get("/v1/jobs/job_0/series/export").status_code == 404


def test_no_answer_about_series_changes_when_the_job_is_merged(http: TestClient, database: Database, job: str) -> None:
    paths = [
        "series",
        "diagnostics",
        "series/query?max_points=2000&names=loss,grad_norm",
        "series/query?names=loss&x=wall_s",
    ]
    paths += [f"series/query?names=loss&max_points=20&method={method}" for method in ("minmax", "lttb", "mean", "last")]
    before = [http.get(f"/v1/jobs/{job}/{path}").json() for path in paths]
    whole = http.get(f"/v1/jobs/{job}/series/query", params={"names": "histogram_width"}).json()["data"]
    assert merge_some(database)
    for path, answer in zip(paths, before, strict=True):
        assert http.get(f"/v1/jobs/{job}/{path}").json() == answer
    # A series so long that it is drawn from cells: other points between, the same ends, extremes and count.
    [drawn] = http.get(f"/v1/jobs/{job}/series/query", params={"names": "histogram_width"}).json()["data"]
    assert (drawn["raw_count"], drawn["sampled"]) == (whole[0]["raw_count"], True) == (9000, True)
    assert (drawn["x"][0], drawn["x"][-1]) == (3, 27_000)
    known = [value for value in drawn["y"] if value is not None]
    all_known = [value for value in whole[0]["y"] if value is not None]
    assert (min(known), max(known)) == (min(all_known), max(all_known))
    assert [found["kind"] for found in drawn["nonfinite"]] == ["nan", "inf", "-inf"]
    assert [found["step"] for found in drawn["nonfinite"]] == [18, 153, 1503]
