"""Verifications over HTTP: asked for, read, listed; what cannot be replayed is refused with the reason."""

from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import delete, update

from store import verifications
from store.database import Database
from store.settings import Settings
from store.tables import Checkpoint, Job
from tests.api import lived_job

BOTH = pytest.mark.parametrize("settings", ["sqlite", "postgresql"], indirect=True)
FOUND: dict[str, Any] = {
    "from_step": 2000,
    "to_step": 2000,
    "compared_at": [2000],
    "tensors": 2,
    "values": 170,
    "losses": 0,
    "largest_relative_difference": 0.25,
    "first_difference": {
        "tensor": "network.readout.weight",
        "step": 2000,
        "index": [3, 2],
        "stored": 1.5,
        "replayed": 2.0,
    },
    "first_loss_difference": None,
    "metrics_equal": False,
    "state_differs": [],
    "diverged": None,
    "circumstances": {"threads": {"job": 1, "replay": 2}},
}


@pytest.fixture
def ended(http: TestClient, database: Database, settings: Settings) -> str:
    """A job of 2000 steps whose result says so, with a checkpoint at its end."""
    job_id = lived_job.succeeded(database, settings)
    with database.writing.begin() as session:
        job = session.get_one(Job, job_id)
        job.result = {**(job.result or {}), "step": 2000}
    return job_id


@BOTH
def test_verification_is_asked_for_and_read(http: TestClient, database: Database, ended: str) -> None:
    made = http.post(f"/v1/jobs/{ended}/verify-resume")
    asked = made.json()
    assert made.status_code == 202, asked
    assert made.headers["Location"] == f"/v1/jobs/{ended}/verifications/{asked['id']}"
    assert (asked["status"], asked["from_step"], asked["verdict"], asked["result"]) == ("queued", 2000, None, None)
    with database.writing.begin() as session:
        claim = verifications.claim(session, worker_id="wrk_1", classes=["cpu"], lease_s=60)
        assert claim is not None and verifications.finish(session, claim, verdict="different", result=FOUND)
    read = http.get(made.headers["Location"])
    assert (read.json()["status"], read.json()["verdict"], read.json()["result"]) == ("done", "different", FOUND)
    assert read.json()["finished_at"] >= read.json()["started_at"] >= read.json()["created_at"]
    tag = {"If-None-Match": read.headers["ETag"]}
    assert http.get(made.headers["Location"], headers=tag).status_code == 304
    second = http.post(f"/v1/jobs/{ended}/verify-resume", json={"from_step": 0, "tolerance": 0.5}).json()
    assert (second["from_step"], second["tolerance"]) == (0, 0.5)
    listed = http.get(f"/v1/jobs/{ended}/verifications").json()["data"]
    assert [entry["id"] for entry in listed] == [second["id"], asked["id"]]


def test_same_key_makes_one_verification(http: TestClient, ended: str) -> None:
    key = {"Idempotency-Key": "once"}
    first, second = (http.post(f"/v1/jobs/{ended}/verify-resume", headers=key) for _ in range(2))
    assert (first.status_code, second.status_code) == (202, 200)
    assert first.json()["id"] == second.json()["id"]
    other = http.post(f"/v1/jobs/{ended}/verify-resume", json={"from_step": 0}, headers=key)
    assert other.status_code == 422 and other.json()["code"] == "idempotency_key_reused"


def test_job_without_a_result_is_refused_by_its_status(http: TestClient, database: Database) -> None:
    for job_id in (lived_job.queued(database), lived_job.failed(database)):
        refused = http.post(f"/v1/jobs/{job_id}/verify-resume")
        assert (refused.status_code, refused.json()["code"]) == (409, "illegal_transition")
        assert refused.json()["errors"][0]["allowed"] == ["succeeded"]


def test_step_without_a_checkpoint_is_refused_with_those_that_are_kept(http: TestClient, ended: str) -> None:
    refused = http.post(f"/v1/jobs/{ended}/verify-resume", json={"from_step": 7})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == "/from_step"
    assert refused.json()["errors"][0]["allowed"] == [0, 2000]


def test_job_without_checkpoints_is_replayed_from_the_start_if_it_was_short(
    http: TestClient, database: Database, ended: str
) -> None:
    with database.writing.begin() as session:
        session.execute(update(Job).values(checkpoint_id=None))
        session.execute(delete(Checkpoint))
    assert http.post(f"/v1/jobs/{ended}/verify-resume").json()["from_step"] == 0
    with database.writing.begin() as session:
        job = session.get_one(Job, ended)
        job.result = {**(job.result or {}), "cost": {**lived_job.COST, "wall_s": 5000.0}}
    refused = http.post(f"/v1/jobs/{ended}/verify-resume")
    assert (refused.status_code, refused.json()["code"]) == (409, "not_replayable")
    assert "no checkpoint is kept" in refused.json()["detail"] and "5000 s" in refused.json()["detail"]


def test_phase_that_a_clock_ends_is_not_replayable(http: TestClient, database: Database, ended: str) -> None:
    segments = [{"learner": {"kind": "backprop"}}]
    phases = [{"until": {"kind": "seconds", "value": 1.0}, "segments": segments}, {"segments": segments}]
    with database.writing.begin() as session:
        job = session.get_one(Job, ended)
        job.resolved_spec = {**job.resolved_spec, "learner": {"kind": "hybrid", "phases": phases}}
    refused = http.post(f"/v1/jobs/{ended}/verify-resume")
    assert (refused.status_code, refused.json()["code"]) == (409, "not_replayable")
    assert "clock" in refused.json()["detail"]


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"from_step": -1}, "/from_step"),
        ({"from_step": 1.5}, "/from_step"),
        ({"from_step": "0"}, "/from_step"),
        ({"tolerance": 2}, "/tolerance"),
        ({"tolerance": -1e-9}, "/tolerance"),
        ({"step": 3}, "/step"),
        ([], ""),
    ],
)
def test_bad_request_is_told_where_it_is_wrong(http: TestClient, ended: str, fields: Any, pointer: str) -> None:
    refused = http.post(f"/v1/jobs/{ended}/verify-resume", json=fields)
    assert refused.status_code == 422, refused.text
    assert refused.headers["Content-Type"] == "application/problem+json"
    assert refused.json()["errors"][0]["pointer"] == pointer


def test_verification_of_another_job_is_not_found(http: TestClient, database: Database, ended: str) -> None:
    made = http.post(f"/v1/jobs/{ended}/verify-resume").json()["id"]
    other = lived_job.queued(database)
    for path in (f"{other}/verifications/{made}", f"{ended}/verifications/vrf_1", f"{ended}/verifications/{ended}"):
        assert http.get(f"/v1/jobs/{path}").status_code == 404
    assert http.post(f"/v1/jobs/job_{32 * '0'}/verify-resume").status_code == 404
