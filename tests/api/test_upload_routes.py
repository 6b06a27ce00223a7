"""Uploads: what is taken, what is refused and how, and that nothing is left of what was refused."""

import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from fastapi.testclient import TestClient

from api.app import create_app
from specs.limits import Limits
from store.database import Database
from store.settings import Settings
from tests.api.test_bad_requests import assert_problem

GOOD_CSV = b"a,b,kind\n1,2,x\n3,4,y\n5,6,x\n"
X, Y = np.arange(12, dtype=np.float32).reshape(4, 3), np.array([0, 1, 0, 1])
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b55"
    "0000000a49444154789c63600000000200014e6a3bd20000000049454e44ae426082"
)


def npz(**arrays: Any) -> bytes:
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)
    return out.getvalue()


def zipped(*entries: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in entries:
            archive.writestr(zipfile.ZipInfo(name), content, compress_type=method)
    return out.getvalue()


def npy(shape: str, descr: str = "<f4", content: bytes = b"") -> bytes:
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + content


def with_x(x: bytes) -> bytes:
    good = io.BytesIO()
    np.save(good, Y)
    return zipped(("x.npy", x), ("y.npy", good.getvalue()))


def tensors(header: Any, content: bytes = b"", *, length: int | None = None) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + content


def tensor(shape: list[int], begin: int, end: int, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def linked() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        link = zipfile.ZipInfo("cat/a.png")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    return out.getvalue()


def encrypted() -> bytes:
    content = bytearray(zipped(("cat/a.png", PNG), ("dog/b.png", PNG)))
    for at in (content.index(b"PK\x03\x04") + 6, content.index(b"PK\x01\x02") + 8):
        content[at] |= 1
    return bytes(content)


def objects() -> bytes:
    out = io.BytesIO()
    np.save(out, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    return out.getvalue()


WELL: dict[str, tuple[str, bytes]] = {
    "csv": ("a.csv", GOOD_CSV),
    "csv with a byte order mark and CRLF": ("a.csv", b"\xef\xbb\xbf" + GOOD_CSV.replace(b"\n", b"\r\n")),
    "csv with a formula": ("a.csv", b"a,b\n1,=cmd|' /C calc'!A0\n2,y\n"),
    "npz": ("a.npz", npz(x=X, y=Y)),
    "safetensors": ("a.safetensors", safetensors.numpy.save({"x": X, "y": Y})),
    "zip": ("a.zip", zipped(("cat/1.png", PNG), ("dog/1.png", PNG))),
}

BAD: dict[str, tuple[str, str, bytes | Callable[[], bytes]]] = {
    "37 bomb": ("zip_bomb", "a.npz", lambda: zipped(("x.npy", b"\0" * (64 << 20)))),
    "37 too many entries": ("too_many_entries", "a.npz", zipped(*((f"{i}.npy", b"") for i in range(99)))),
    "38 shape beyond memory": ("too_large", "a.npz", with_x(npy("(1000000000, 1000)"))),
    "39 negative shape": ("npy_shape", "a.npz", with_x(npy("(-5, 3)"))),
    "40 shape of 2**70": ("npy_shape", "a.npz", with_x(npy(f"({2**70}, 1)"))),
    "41 objects": ("npy_dtype", "a.npz", with_x(objects())),
    "42 pkl": ("unsupported_media_type", "a.pkl", pickle.dumps([1])),
    "42 pt": ("unsupported_media_type", "model.pt", b"PK\x03\x04"),
    "42 h5": ("unsupported_media_type", "a.h5", b"\x89HDF"),
    "43 pickle as csv": ("pickle", "a.csv", pickle.dumps({"a": 1})),
    "43 pickle as safetensors": ("pickle", "a.safetensors", pickle.dumps({"a": 1})),
    "44 truncated": ("truncated", "a.npz", with_x(npy("(4, 3)", content=b"\0" * 10))),
    "44 header cut": ("truncated", "a.npz", with_x(npy("(4, 3)")[:40])),
    "45 zip slip": ("path_outside", "a.zip", zipped(("../../etc/cron.d/x.png", PNG))),
    "45 absolute": ("path_outside", "a.zip", zipped(("/etc/x.png", PNG))),
    "45 drive": ("path_outside", "a.zip", zipped(("C:/x.png", PNG))),
    "45 backslashes": ("path_outside", "a.zip", zipped(("..\\..\\x.png", PNG))),
    "45 link": ("link", "a.zip", linked()),
    "45 encrypted": ("encrypted", "a.zip", encrypted()),
    "45 method": ("compression", "a.zip", zipped(("a/b.png", PNG), method=zipfile.ZIP_LZMA)),
    "45 nested": ("not_an_image", "a.zip", zipped(("cat/inner.zip", zipped(("a", b"1"))))),
    "45 cut": ("unreadable_archive", "a.zip", zipped(("cat/1.png", PNG))[:-30]),
    "46 one long line": ("csv_line", "a.csv", lambda: b"a,b\n" + b"1" * (2 << 20)),
    "46 columns": ("csv_columns", "a.csv", lambda: ",".join(map(str, range(20_000))).encode() + b"\n"),
    "46 open quote": ("csv_syntax", "a.csv", b'a,b\n1,"2\n3,4\n'),
    "47 nan": ("csv_cells", "a.csv", b"a,b\n1,2\nnan,4\n"),
    "47 inf": ("csv_cells", "a.csv", b"a,b\n1,2\n1e999,4\n"),
    "47 empty cell": ("csv_cells", "a.csv", b"a,b\n1,2\n,4\n"),
    "47 decimal comma": ("csv_cells", "a.csv", b'a,b\n"1,5",2\n3,4\n'),
    "47 mixed types": ("csv_cells", "a.csv", b"a,b\n1,2\nx,4\n"),
    "47 UTF-16": ("csv_encoding", "a.csv", GOOD_CSV.decode().encode("utf-16")),
    "47 NUL": ("csv_encoding", "a.csv", b"a,b\n1,\0\n2,3\n"),
    "47 header twice": ("csv_columns", "a.csv", b"a,a\n1,2\n3,4\n"),
    "47 ragged": ("csv_cells", "a.csv", b"a,b\n1,2\n3\n"),
    "49 parquet footer": ("parquet_footer", "a.parquet", b"PAR1" + b"\0" * 8 + b"\xff\xff\xff\x7fPAR1"),
    "49 parquet cut": ("truncated", "a.parquet", b"PAR1" + b"\0" * 20),
    "50 gzip": ("unsupported_media_type", "a.csv.gz", b"\x1f\x8b"),
    "51 no bytes": ("empty_file", "a.csv", b""),
    "51 no rows": ("too_few_rows", "a.csv", b"a,b\n"),
    "51 one row": ("too_few_rows", "a.csv", b"a,b\n1,2\n"),
    "51 one class": ("single_class", "a.csv", b"a,b\n1,2\n3,2\n"),
    "58 header of 2**63": ("safetensors_header", "a.safetensors", tensors({}, length=2**63)),
    "58 overlap": (
        "safetensors_header", "a.safetensors",
        tensors({"x": tensor([2, 2], 0, 16), "y": tensor([2], 8, 16)}, b"\0" * 16),
    ),
    "58 past the end": (
        "truncated", "a.safetensors",
        tensors({"x": tensor([2, 2], 0, 16), "y": tensor([2], 16, 24)}, b"\0" * 16),
    ),
    "58 many": (
        "too_many_tensors", "a.safetensors",
        tensors({str(number): tensor([0], 0, 0) for number in range(1000)}),
    ),
    "58 shape mismatch": (
        "safetensors_header", "a.safetensors", tensors({"x": tensor([9, 9], 0, 16)}, b"\0" * 16),
    ),
    "58 deep": ("safetensors_header", "a.safetensors", struct.pack("<Q", 200_000) + b"[" * 200_000),
    "61 beyond float32": ("csv_cells", "a.csv", b"a,b\n1,2\n1e39,4\n"),
}  # fmt: skip


def upload(http: TestClient, name: str, content: bytes, **headers: str) -> Any:
    types = {"Content-Type": "application/octet-stream", **headers}
    return http.post("/v1/datasets", params={"name": name}, content=content, headers=types)


def left(settings: Settings) -> list[Path]:
    return sorted(settings.uploads_dir.iterdir()) if settings.uploads_dir.exists() else []


@pytest.mark.parametrize("case", WELL)
def test_good_file_is_kept_once_and_listed(http: TestClient, settings: Settings, case: str) -> None:
    name, content = WELL[case]
    first = upload(http, name, content)
    assert first.status_code == 201, first.text
    answer = first.json()
    assert first.headers["location"] == f"/v1/datasets/{answer['id']}"
    assert answer["rows"] == {"csv": 3, "npz": 4, "safetensors": 4, "zip": 2}[answer["format"]] - ("formula" in case)
    again = upload(http, "another name." + answer["format"], content)
    assert (again.status_code, again.json()["id"]) == (200, answer["id"])
    assert [path.name for path in left(settings)] == [f"{answer['id']}.{answer['format']}"]
    listed = [entry["id"] for entry in http.get("/v1/datasets").json()["data"] if entry["kind"] == "uploaded"]
    assert listed == [answer["id"]]
    assert http.delete(f"/v1/datasets/{answer['id']}").status_code == 204
    assert left(settings) == []
    assert_problem(http.get(f"/v1/datasets/{answer['id']}"), 404, "not_found")


@pytest.mark.parametrize("case", BAD)
def test_bad_file_is_refused_and_nothing_is_left(shared_http: TestClient, case: str) -> None:
    finding, name, content = BAD[case]
    answer = upload(shared_http, name, content() if callable(content) else content)
    status, code = (415, finding) if finding == "unsupported_media_type" else (422, "unfit_file")
    problem = assert_problem(answer, status, code)
    assert problem["errors"][0]["code"] == finding, problem
    assert left(shared_http.app.state.door.settings) == []  # type: ignore[attr-defined]


def test_form_of_curl_is_read(http: TestClient) -> None:
    answer = http.post("/v1/datasets", files={"file": ("measurements.csv", GOOD_CSV, "text/csv")})
    assert answer.status_code == 201, answer.text
    assert answer.json()["name"] == "measurements.csv"
    assert answer.json()["columns"] == ["a", "b", "kind"]


@pytest.mark.parametrize("name", ["../../x.csv", "CON.csv", "a\nb.csv", "ünï.csv"])
def test_name_is_a_label_and_no_path(http: TestClient, settings: Settings, name: str) -> None:
    answer = upload(http, name, GOOD_CSV)
    assert answer.status_code == 201
    assert answer.json()["name"] == name
    assert [path.name for path in left(settings)] == [f"{answer.json()['id']}.csv"]


def test_name_is_bounded_and_holds_no_nul(http: TestClient) -> None:
    assert_problem(upload(http, "a" * 4096 + ".csv", GOOD_CSV), 422)
    assert_problem(upload(http, "a\0.csv", GOOD_CSV), 422)


@pytest.mark.parametrize(
    ("headers", "content"),
    [
        ({"Content-Type": "multipart/form-data; boundary=" + "b" * 10_000}, b"--b"),
        ({"Content-Type": "multipart/form-data"}, b"--b"),
        ({"Content-Type": "multipart/form-data; boundary=b"}, b'--b\r\nX: y\r\n\r\n1\r\n' * 100_000),
        ({"Content-Type": "multipart/form-data; boundary=b"}, b"--b\r\nX: " + b"y" * (1 << 20)),
        ({"Content-Type": "multipart/form-data; boundary=b"}, b"no form"),
        (
            {"Content-Type": "multipart/form-data; boundary=b"},
            b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--b--\r\n',
        ),
    ],
    ids=["boundary", "no boundary", "parts", "header", "garbage", "no file"],
)  # fmt: skip
def test_bad_form_is_refused(http: TestClient, headers: dict[str, str], content: bytes, settings: Settings) -> None:
    assert_problem(http.post("/v1/datasets", content=content, headers=headers), 400, "malformed_request")
    assert left(settings) == []


def test_other_media_types_are_not_read(http: TestClient) -> None:
    assert_problem(upload(http, "a.csv", GOOD_CSV, **{"Content-Type": "application/json"}), 415)
    assert_problem(upload(http, "a.csv", GOOD_CSV, **{"Content-Encoding": "gzip"}), 415)
    assert_problem(upload(http, "a", GOOD_CSV), 415)


def test_upload_beyond_the_limit_or_the_quota_is_refused(database: Database, settings: Settings) -> None:
    small = settings.model_copy(update={"limits": Limits(upload_bytes=100_000, project_upload_bytes=60)})
    with TestClient(create_app(small), base_url="http://127.0.0.1") as http:
        assert_problem(upload(http, "a.csv", b"a,b\n" + b"1,2\n" * 50_000), 413, "body_too_large")
        assert upload(http, "a.csv", GOOD_CSV).status_code == 201
        assert_problem(upload(http, "b.csv", GOOD_CSV + b"7,8,y\n" * 10), 413, "quota")
    assert len(left(settings)) == 1


def test_data_set_of_a_waiting_job_is_not_deleted(http: TestClient) -> None:
    dataset_id = upload(http, "a.csv", GOOD_CSV).json()["id"]
    job = {
        "dataset": {"kind": "uploaded", "id": dataset_id},
        "network": {"kind": "mlp", "hidden": [4]},
        "learner": {"kind": "backprop"},
    }
    posted = http.post("/v1/jobs", json=job)
    assert posted.status_code == 202, posted.text
    assert_problem(http.delete(f"/v1/datasets/{dataset_id}"), 409, "dataset_in_use")
    assert http.post(f"{posted.headers['location']}/cancel").status_code == 202
    assert http.delete(f"/v1/datasets/{dataset_id}").status_code == 204
    problem = assert_problem(http.post("/v1/jobs", json=job), 422, "invalid_request")
    assert problem["errors"][0]["pointer"] == "/dataset/id"
