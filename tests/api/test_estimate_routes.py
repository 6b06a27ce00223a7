"""Estimates over HTTP, from the side of the API: who may ask, what is refused, and how long it waits."""

import threading
import time
from typing import Any

import pytest
from fastapi.testclient import TestClient

from specs.estimate import Estimate, MemoryForecast
from specs.job import JobSpec
from store import estimates
from store.database import Database
from store.settings import Settings
from tests.api import lived_job

JOB: dict[str, Any] = {
    "dataset": {"kind": "builtin", "name": "iris"},
    "network": {"kind": "mlp", "hidden": [8]},
    "learner": {"kind": "backprop"},
}
MEMORY = MemoryForecast(weights=4, data=8, peak_bytes=12, basis="rehearsed")
ANSWER = Estimate(device="cpu", parameters=1, memory=MEMORY, steps=3, flops=6.0, fits=True).model_dump(mode="json")


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"estimate_wait_s": 0.3})


def answer_next(database: Database, answer: dict[str, Any]) -> None:
    """What a worker would do: take the question, and answer it."""
    ends_at = time.monotonic() + 10
    while time.monotonic() < ends_at:
        with database.writing.begin() as session:
            asked = estimates.take(session, "wrk_1", classes=("cpu",))
            if asked is not None:
                estimates.write_answer(session, asked.id, answer)
                return
        time.sleep(0.01)


def posted(http: TestClient, database: Database, answer: dict[str, Any]) -> Any:
    worker = threading.Thread(target=answer_next, args=(database, answer))
    worker.start()
    response = http.post("/v1/estimates", json=JOB)
    worker.join()
    return response


def test_without_a_worker_nobody_can_tell(http: TestClient) -> None:
    refused = http.post("/v1/estimates", json=JOB)
    assert (refused.status_code, refused.json()["code"]) == (503, "no_worker")
    assert refused.headers["content-type"] == "application/problem+json"
    assert int(refused.headers["retry-after"]) > 0


def test_job_that_cannot_train_is_refused_like_a_job(http: TestClient) -> None:
    wrong = {**JOB, "learner": {"kind": "backprob"}}
    refused, told = http.post("/v1/estimates", json=wrong), http.post("/v1/jobs", json=wrong)
    assert refused.status_code == told.status_code == 422
    assert refused.json()["errors"] == told.json()["errors"]


def test_question_that_takes_longer_is_answered_when_it_is_asked_again(http: TestClient, database: Database) -> None:
    lived_job.register_worker(database)
    late = http.post("/v1/estimates", json=JOB)
    assert (late.status_code, late.json()["code"]) == (503, "estimate_not_ready")
    assert int(late.headers["retry-after"]) > 0
    answer_next(database, ANSWER)
    again = http.post("/v1/estimates", json={**JOB, "name": "the same job"})
    assert again.status_code == 200
    assert again.json() == ANSWER
    assert http.get("/v1/jobs").json()["data"] == []


def test_data_that_cannot_be_read_is_the_clients_fault_and_a_crash_is_not(http: TestClient, database: Database) -> None:
    lived_job.register_worker(database)
    unread = {"kind": "data_unreadable", "fault": "user", "message": "there is no such file"}
    refused = posted(http, database, {"error": unread})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == "/dataset"
    crashed = posted(http, database, {"error": {"kind": "crashed", "fault": "system", "message": "it died"}})
    assert (crashed.status_code, crashed.json()["code"]) == (503, "estimate_failed")


def test_receipt_shows_what_was_said_before_the_job_and_what_it_took(
    http: TestClient, database: Database, settings: Settings
) -> None:
    unasked = http.get(f"/v1/jobs/{lived_job.succeeded(database, settings)}/receipt").json()
    assert unasked["estimate"] is None
    assert unasked["cost"]["peak_bytes"] == lived_job.COST["peak_bytes"]
    with database.writing.begin() as session:
        resolved = JobSpec.model_validate(lived_job.SPEC).resolved()
        estimates.write_answer(session, estimates.ask(session, resolved, resource_class="cpu"), ANSWER)
    foretold = http.get(f"/v1/jobs/{lived_job.succeeded(database, settings)}/receipt").json()
    assert foretold["estimate"] == ANSWER
