"""What one project may take of a service that asks for keys: the rest is told when to come again."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from specs.quotas import Quotas
from store import attempts
from store.database import Database
from store.settings import Settings
from tests.api import lived_job
from tests.api.two_projects import key_of
from tests.store.test_turns import queued

BOTH = pytest.mark.parametrize("settings", ["sqlite", "postgresql"], indirect=True)


def guarded(settings: Settings, **quotas: Any) -> TestClient:
    asking = settings.model_copy(update={"keys": "required", "quotas": Quotas(**quotas)})
    return TestClient(create_app(asking), base_url="http://127.0.0.1")


def posted(http: TestClient, key: dict[str, str], count: int = 1) -> list[Any]:
    return [http.post("/v1/jobs", json=lived_job.SPEC, headers=key) for _ in range(count)]


@BOTH
def test_project_that_posts_too_fast_is_told_when_to_come_again_and_others_are_not(
    settings: Settings, database: Database
) -> None:
    eager, calm = key_of(database, "eager", "write"), key_of(database, "calm", "write")
    with guarded(settings, jobs_per_minute=5) as http:
        answers = posted(http, eager, 8)
        assert [answer.status_code for answer in answers] == [202] * 5 + [429] * 3
        problem = answers[-1].json()
        assert (problem["code"], problem["errors"][0]["code"]) == ("rate_limited", "jobs_per_minute")
        assert 1 <= int(answers[-1].headers["Retry-After"]) <= 60
        assert [answer.status_code for answer in posted(http, calm, 5)] == [202] * 5, "another project is not held up"
        used = {entry["name"]: entry for entry in http.get("/v1/usage", headers=eager).json()["data"]}
    assert (used["jobs_per_minute"]["used"], used["jobs_per_minute"]["limit"]) == (5, 5)
    assert used["queued_jobs"]["used"] == 5 and used["running_jobs"]["limit"] is None


def test_queue_of_a_project_ends_where_its_quota_does(settings: Settings, database: Database) -> None:
    key = key_of(database, "a", "write")
    with guarded(settings, queued_jobs=2) as http:
        answers = posted(http, key, 3)
        assert [answer.status_code for answer in answers] == [202, 202, 429]
        assert answers[2].json()["code"] == "quota_exceeded" and "Retry-After" in answers[2].headers
        http.post(f"{answers[0].headers['Location']}/cancel", headers=key)
        assert posted(http, key)[0].status_code == 202


def test_job_beyond_those_that_may_run_waits_and_says_why(settings: Settings, database: Database) -> None:
    lived_job.register_worker(database)
    queued(database, "default", 1)
    with database.writing.begin() as session:
        claimed = {"worker_id": "wrk_1", "host": "here", "worker_pid": 1, "resource_class": "cpu", "lease_s": 60}
        assert attempts.claim(session, **claimed, most_of_a_project=1) is not None
    (waiting,) = queued(database, "default", 1)
    with database.writing.begin() as session:
        assert attempts.claim(session, **claimed, most_of_a_project=1) is None
    limited = settings.model_copy(update={"quotas": Quotas(running_jobs=1)})
    with TestClient(create_app(limited), base_url="http://127.0.0.1") as http:
        assert http.get(f"/v1/jobs/{waiting}").json()["status_reason"]["code"] == "quota_exceeded"


def test_nobody_is_counted_where_everybody_is_let_in(settings: Settings, database: Database) -> None:
    generous = settings.model_copy(update={"quotas": Quotas(jobs_per_minute=1, queued_jobs=1)})
    with TestClient(create_app(generous), base_url="http://127.0.0.1") as http:
        assert [answer.status_code for answer in posted(http, {}, 3)] == [202] * 3
        assert http.get("/v1/usage").json()["enforced"] is False
