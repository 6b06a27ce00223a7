"""Probes over HTTP: asked for, read, listed; what is wrong with a request is said."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from store import probes
from store.database import Database
from store.settings import Settings
from tests.api import lived_job

BOTH = pytest.mark.parametrize("settings", ["sqlite", "postgresql"], indirect=True)


@BOTH
def test_probe_is_asked_for_and_read(http: TestClient, database: Database, settings: Settings) -> None:
    job_id = lived_job.succeeded(database, settings)
    made = http.post(f"/v1/jobs/{job_id}/probes", json={"kind": "sharpness", "iterations": 9})
    probe = made.json()
    assert made.status_code == 202 and made.headers["Location"] == f"/v1/jobs/{job_id}/probes/{probe['id']}"
    assert (probe["status"], probe["result"], probe["error"]) == ("queued", None, None)
    assert probe["spec"] == {"kind": "sharpness", "rows": 256, "iterations": 9, "tolerance": 0.001, "seed": 0}
    with database.writing.begin() as session:
        claim = probes.claim(session, worker_id="wrk_1", lease_s=60)
        assert claim is not None
        found: dict[str, Any] = {"largest": None, "nonfinite": [{"pointer": "/largest", "kind": "nan"}]}
        assert probes.finish(session, claim, result=found, step=2000, weights="final")
    read = http.get(made.headers["Location"]).json()
    page = http.get(f"/jobs/{job_id}").text
    assert "Probes</h2>" in page and f"/v1/jobs/{job_id}/probes/{probe['id']}" in page
    assert (read["status"], read["step"], read["weights"], read["result"]) == ("done", 2000, "final", found)
    assert read["finished_at"] >= read["started_at"] >= read["created_at"]
    tag = http.get(made.headers["Location"]).headers["ETag"]
    assert tag != made.headers["ETag"]
    assert http.get(made.headers["Location"], headers={"If-None-Match": tag}).status_code == 304
    second = http.post(f"/v1/jobs/{job_id}/probes", json={"kind": "histogram"}).json()
    listed = http.get(f"/v1/jobs/{job_id}/probes").json()["data"]
    assert [entry["id"] for entry in listed] == [second["id"], probe["id"]]
    assert len(http.get(f"/v1/jobs/{job_id}/probes?limit=1").json()["data"]) == 1


def test_same_key_makes_one_probe(http: TestClient, database: Database) -> None:
    job_id = lived_job.queued(database)
    first, second = (
        http.post(f"/v1/jobs/{job_id}/probes", json={"kind": "histogram"}, headers={"Idempotency-Key": "once"})
        for _ in range(2)
    )
    assert (first.status_code, second.status_code) == (202, 200)
    assert first.json()["id"] == second.json()["id"]


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({}, "/kind"),
        ({"kind": "hessian"}, "/kind"),
        ({"kind": "histogram", "rows": 0}, "/rows"),
        ({"kind": "sharpness", "iteration": 3}, "/iteration"),
        ({"kind": "cka"}, "/job_id"),
        ({"kind": "cka", "job_id": "job_1"}, "/job_id"),
        ({"kind": "cka", "job_id": f"job_{32 * '0'}"}, "/job_id"),
        ([], ""),
    ],
)
def test_bad_request_is_told_where_it_is_wrong(http: TestClient, database: Database, fields: Any, pointer: str) -> None:
    job_id = lived_job.queued(database)
    refused = http.post(f"/v1/jobs/{job_id}/probes", json=fields)
    assert refused.status_code == 422
    assert refused.headers["Content-Type"] == "application/problem+json"
    assert refused.json()["errors"][0]["pointer"] == pointer
    assert http.get(f"/v1/jobs/{job_id}/probes").json()["data"] == []


def test_layers_are_compared_on_the_same_rows_alone(http: TestClient, database: Database) -> None:
    job_id = lived_job.queued(database)
    same = lived_job.queued(database, learner={"kind": "forward_forward"})
    other = lived_job.queued(database, dataset={"kind": "builtin", "name": "digits", "split": {"seed": 9}})
    answers = [http.post(f"/v1/jobs/{job_id}/probes", json={"kind": "cka", "job_id": found}) for found in (same, other)]
    assert [answer.status_code for answer in answers] == [202, 422]
    assert answers[1].json()["errors"][0]["code"] == "other_dataset"


def test_probes_end_with_their_job_and_belong_to_it(http: TestClient, database: Database, settings: Settings) -> None:
    job_id, stranger = lived_job.succeeded(database, settings), lived_job.queued(database)
    probe = http.post(f"/v1/jobs/{job_id}/probes", json={"kind": "histogram"}).json()["id"]
    for path in (f"{stranger}/probes/{probe}", f"{job_id}/probes/prb_{32 * '0'}", f"{job_id}/probes/x", "x/probes"):
        assert http.get(f"/v1/jobs/{path}").status_code == 404
    assert http.delete(f"/v1/jobs/{job_id}").status_code == 204
    with database.reading() as session:
        assert probes.of_job(session, job_id, limit=9) == []
