"""Comparisons over HTTP: what is taken, what is refused, what is answered."""

import csv
import io
import json
import zipfile
from typing import Any

import pytest
from fastapi.testclient import TestClient

from store.database import Database
from store.settings import Settings
from tests import lived_comparison

SPEC: dict[str, Any] = {
    "name": "small",
    "dataset": {"kind": "builtin", "name": "digits"},
    "network": {"kind": "mlp", "hidden": [8]},
    "learners": ["mono_forward", {"name": "half", "learner": {"kind": "mono_forward", "schedule": "sequential"}}],
    "seeds": 3,
    "tuning": {"trials": 2},
}


@pytest.mark.parametrize("settings", ["sqlite", "postgresql"], indirect=True)
def test_comparison_is_taken_with_its_plan_and_its_power(http: TestClient) -> None:
    answer = http.post("/v1/comparisons", json=SPEC)
    assert answer.status_code == 202
    body = answer.json()
    assert answer.headers["Location"] == f"/v1/comparisons/{body['id']}"
    assert (body["status"], body["phase"], body["sentence"], body["result"]) == ("tuning", "active", None, None)
    assert [arm["name"] for arm in body["arms"]][:3] == ["backprop", "mono_forward", "half"]
    assert 0 < body["power"]["if_seeds_share_nothing"] < body["power"]["if_they_share_half"] < 1
    assert body["power"]["seeds_for_80_percent"] > 3
    assert body["progress"] == {"runs": 10, "ended": 0, "by_status": {"planned": 5, "queued": 5}}
    assert body["resolved_spec"]["resources"]["device"] == "cpu"
    assert {row["arm"] for row in body["rows"]} == {"backprop", "mono_forward", "half", "readout_only"} | {
        "backprop_auxiliary_heads"
    }
    job = http.get(f"/v1/jobs/{body['rows'][0]['job_id']}").json()
    assert job["labels"] == {"comparison": body["id"], "stage": "tuning"}
    again = http.get(f"/v1/comparisons/{body['id']}")
    assert again.json() == body
    tag = again.headers["ETag"]
    assert http.get(f"/v1/comparisons/{body['id']}", headers={"If-None-Match": tag}).status_code == 304


def test_key_never_makes_two_comparisons(http: TestClient) -> None:
    first = http.post("/v1/comparisons", json=SPEC, headers={"Idempotency-Key": "k"})
    again = http.post("/v1/comparisons", json=SPEC, headers={"Idempotency-Key": "k"})
    assert (again.status_code, again.headers["Idempotent-Replayed"]) == (200, "true")
    assert again.json()["id"] == first.json()["id"]
    assert len(http.get("/v1/comparisons").json()["data"]) == 1
    other = http.post("/v1/comparisons", json={**SPEC, "seeds": 2}, headers={"Idempotency-Key": "k"})
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    job = {name: SPEC[name] for name in ("dataset", "network")} | {"learner": {"kind": "backprop"}}
    assert http.post("/v1/jobs", json=job, headers={"Idempotency-Key": "k"}).status_code == 422


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"learner": []}, "/learner"),
        ({"learners": ["backprob"]}, "/learners/0"),
        ({"learners": [{"learner": {"kind": "backprob"}}]}, "/learners/0/learner/kind"),
        ({"learners": [{"learner": {"kind": "mezo", "num_direction": 2}}]}, "/learners/0/learner/num_direction"),
        ({"learners": "everything"}, "/learners"),
        ({"learners": None}, "/learners"),
        ({"learners": {"kind": "backprop"}}, "/learners"),
        ({"learners": [None]}, "/learners/0"),
        ({"learners": [7]}, "/learners/0"),
        ({"learners": [["backprop"]]}, "/learners/0"),
        ({"learners": [{}]}, "/learners/0/learner"),
        ({"learners": [{"learner": {"kind": "backprop"}, "name": ""}]}, "/learners/0/name"),
        ({"seeds": None}, "/seeds"),
        ({"depths": 4}, "/depths"),
        ({"network": None}, "/network"),
        ({"dataset": {"kind": "builtin"}}, "/dataset/name"),
        ({"learners": []}, "/learners"),
        ({"seeds": 0}, "/seeds"),
        ({"training": {"epochs": 0}}, "/training/epochs"),
        ({"tuning": {"seeds": [1]}}, "/tuning/seeds"),
        ({"margin": -1}, "/margin"),
        ({"template": "stairs"}, "/template"),
    ],
)
def test_mistake_is_named_by_its_place(http: TestClient, changes: dict[str, Any], pointer: str) -> None:
    answer = http.post("/v1/comparisons", json={**SPEC, **changes})
    assert answer.status_code == 422
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert pointer in [item["pointer"] for item in answer.json()["errors"]]


@pytest.mark.parametrize(
    ("entry", "pointer"),
    [
        ("hybrid", "/learners/0"),
        ({"kind": "hybrid", "phases": "…"}, "/learners/0/phases/0/until/value"),
        ({"learner": {"kind": "hybrid", "phases": "…"}}, "/learners/0/learner/phases/0/until/value"),
    ],
)
def test_refusal_of_a_learner_points_into_what_was_posted(http: TestClient, entry: Any, pointer: str) -> None:
    phases = [
        {"until": {"kind": "steps", "value": 500}, "segments": [{"learner": {"kind": "mono_forward"}}]},
        {"segments": [{"learner": {"kind": "backprop"}}]},
    ]
    if isinstance(entry, dict):
        entry = {**entry, "phases": phases} if "kind" in entry else {"learner": {**entry["learner"], "phases": phases}}
    answer = http.post("/v1/comparisons", json={**SPEC, "learners": [entry], "training": {"epochs": 1}})
    [item] = answer.json()["errors"]
    assert (answer.status_code, item["pointer"]) == (422, pointer)
    node: Any = {"learners": [entry]}
    for part in pointer.split("/")[1:]:
        node = node[int(part) if isinstance(node, list) else part]


def test_refused_pair_is_named_with_its_place_and_its_reason(http: TestClient) -> None:
    answer = http.post("/v1/comparisons", json={**SPEC, "network": {"kind": "mlp", "hidden": []}})
    [item] = answer.json()["errors"]
    assert answer.status_code == 422
    assert "/learners/0" in item["pointer"] + item["detail"]
    assert "none before its read-out" in item["detail"]


def test_all_learners_that_fit_are_taken_and_the_others_named(http: TestClient) -> None:
    spec = {**SPEC, "learners": "all", "network": {"kind": "mlp", "hidden": []}, "tuning": None}
    body = http.post("/v1/comparisons", json=spec).json()
    assert {"mono_forward", "forward_forward"} <= {left["name"] for left in body["left_out"]}
    assert body["status"] == "running"


def test_list_pages_meet_and_misspelt_parameters_are_refused(http: TestClient) -> None:
    ids = [http.post("/v1/comparisons", json={**SPEC, "tuning": None, "seeds": 2}).json()["id"] for _ in range(3)]
    first = http.get("/v1/comparisons", params={"limit": 2}).json()
    assert [row["id"] for row in first["data"]] == ids[:0:-1]
    rest = http.get("/v1/comparisons", params={"limit": 2, "after": first["next_cursor"]}).json()
    assert ([row["id"] for row in rest["data"]], rest["has_more"]) == ([ids[0]], False)
    assert http.get("/v1/comparisons", params={"status": "running"}).status_code == 422
    assert http.get("/v1/comparisons", params={"after": "x"}).status_code == 422


def test_cancelled_comparison_stays_so_with_all_its_jobs(http: TestClient) -> None:
    comparison_id = http.post("/v1/comparisons", json=SPEC).json()["id"]
    first = http.post(f"/v1/comparisons/{comparison_id}/cancel")
    assert (first.status_code, first.json()["status"]) == (202, "cancelled")
    assert http.post(f"/v1/comparisons/{comparison_id}/cancel").status_code == 200
    jobs = http.get("/v1/jobs", params={"label[comparison]": comparison_id, "limit": 200}).json()["data"]
    assert {job["status"] for job in jobs} == {"cancelled"}
    refused = http.delete(f"/v1/jobs/{jobs[0]['id']}")
    assert (refused.status_code, refused.json()["code"]) == (409, "belongs_to_comparison")
    assert comparison_id in refused.json()["detail"]
    assert http.get(f"/v1/jobs/{jobs[0]['id']}").status_code == 200


def test_answered_comparison_cannot_be_cancelled(http: TestClient, database: Database, settings: Settings) -> None:
    comparison_id = lived_comparison.answered(database, settings, tuning=None)
    refused = http.post(f"/v1/comparisons/{comparison_id}/cancel")
    assert (refused.status_code, refused.json()["code"]) == (409, "illegal_transition")
    assert "A comparison that is succeeded" in refused.json()["detail"]
    assert http.get(f"/v1/comparisons/{comparison_id}").json()["status"] == "succeeded"


def test_rows_come_as_csv_and_no_other_form(http: TestClient) -> None:
    comparison_id = http.post("/v1/comparisons", json=SPEC).json()["id"]
    answer = http.get(f"/v1/comparisons/{comparison_id}", headers={"Accept": "text/csv"})
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert len(rows) == 10
    assert {(row["trial"], row["status"]) for row in rows} == {("0", "queued"), ("1", "planned")}
    assert http.get(f"/v1/comparisons/{comparison_id}", headers={"Accept": "text/xml"}).status_code == 406


def test_unknown_comparison_is_not_found(http: TestClient) -> None:
    for path in ("cmp_" + "0" * 32, "job_" + "0" * 32, "x"):
        assert http.get(f"/v1/comparisons/{path}").status_code == 404
        assert http.get(f"/v1/comparisons/{path}/bundle").status_code == 404
        assert http.get(f"/v1/comparisons/{path}/page").status_code == 404
        assert http.get(f"/comparisons/{path}").status_code == 404
        assert http.post(f"/v1/comparisons/{path}/cancel").status_code == 404


def test_bundle_holds_specs_rows_receipts_and_protocol_and_is_the_same_again(
    http: TestClient, database: Database, settings: Settings
) -> None:
    comparison_id = lived_comparison.answered(database, settings)
    answer = http.get(f"/v1/comparisons/{comparison_id}/bundle")
    assert answer.headers["Content-Type"] == "application/zip"
    assert http.get(f"/v1/comparisons/{comparison_id}/bundle").content == answer.content
    archive = zipfile.ZipFile(io.BytesIO(answer.content))
    names = archive.namelist()
    rows = http.get(f"/v1/comparisons/{comparison_id}").json()["rows"]
    for row in rows:
        assert {f"{kind}/{row['stage']}/{row['job_id']}.json" for kind in ("specs", "receipts")} <= set(names)
    told = archive.read("README.txt").decode()
    assert "paired by seed" in told
    csv_rows = list(csv.DictReader(io.StringIO(archive.read("rows.csv").decode())))
    accuracies = [
        row for row in csv_rows if (row["stage"], row["split"], row["metric"]) == ("final", "test", "accuracy")
    ]
    assert len(accuracies) == 4 * 7
    again = http.post("/v1/comparisons", json=json.loads(archive.read("spec.json")))
    assert again.status_code == 202
    assert [arm["space"] for arm in again.json()["arms"]] == [
        arm["space"] for arm in http.get(f"/v1/comparisons/{comparison_id}").json()["arms"]
    ]


def test_page_as_one_file_loads_nothing_and_holds_no_markup_of_a_client(
    http: TestClient, database: Database, settings: Settings
) -> None:
    hostile = "</script><script>alert(1)</script>"
    comparison_id = lived_comparison.answered(database, settings, name=hostile)
    answer = http.get(f"/v1/comparisons/{comparison_id}/page")
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{comparison_id}.html"'
    assert hostile not in answer.text
    assert "<script src" not in answer.text
    assert "<link" not in answer.text
    assert http.get(f"/comparisons/{comparison_id}").status_code == 200
    assert hostile not in http.get(f"/comparisons/{comparison_id}").text
