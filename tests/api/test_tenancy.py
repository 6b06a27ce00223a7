"""Nobody sees what another project has: every route, every verb, every foreign id, made from the application's routes.

Bad input 62. A new route with a parameter in its path is asked here too, and fails until THINGS knows whose it is.
"""

import re
import statistics
import time
from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response

from api.app import create_app
from store.database import Database
from store.identifiers import new_id
from store.settings import Settings
from tests.api import lived_job
from tests.api.two_projects import OWNER, TwoProjects, key_of, operations, two_projects

NOBODYS = {"kind", "slug"}
"""Parameters that name what is the same for everybody: the catalog, the pages about errors."""
NOBODYS_ROUTES = {"/static/{name}"}
ADMINS = {"key_id"}
"""What is of the whole service: a key of a project may not even ask."""
THINGS = {
    "job_id": "job",
    "comparison_id": "cmp",
    "dataset_id": "ds",
    "kind_or_id": "ds",
    "probe_id": "prb",
    "verdict_id": "vrd",
    "verification_id": "vrf",
    "webhook_id": "whk",
}
"""Path parameters whose values belong to a project, with the prefix of their ids."""
FIXED = {"name": "weights.safetensors"}
BODIES: dict[tuple[str, str], Any] = {
    ("PATCH", "/v1/jobs/{job_id}"): {"name": "taken"},
    ("POST", "/v1/jobs/{job_id}/probes"): {"kind": "histogram"},
}
CONFLICTS = {409, 304}
"""What the owner may be told of a thing that is there: it has ended already."""


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"keys": "required"})


@pytest.fixture
def projects(database: Database, settings: Settings) -> TwoProjects:
    return two_projects(database, settings)


def owned_operations() -> list[tuple[str, str]]:
    found = []
    for method, path in operations(create_app(Settings(keys="required"))):
        parameters = set(re.findall(r"{(\w+)}", path))
        if not parameters or path in NOBODYS_ROUTES or parameters <= NOBODYS | ADMINS:
            continue
        found.append((method, path))
    return sorted(found, key=lambda one: one[0] == "DELETE")  # what the owner deletes is deleted last


def test_every_parameter_of_a_path_is_somebodys_or_nobodys() -> None:
    for _, path in operations(create_app(Settings())):
        unknown = set(re.findall(r"{(\w+)}", path)) - set(THINGS) - set(FIXED) - NOBODYS - ADMINS
        assert not unknown, f"{path}: say in THINGS or NOBODYS whose {unknown} is"


@pytest.mark.parametrize("settings", ["sqlite", "postgresql"], indirect=True)
def test_a_foreign_id_is_answered_as_a_missing_one(http: TestClient, projects: TwoProjects) -> None:
    missing = {name: new_id(prefix) for name, prefix in THINGS.items()}
    for method, path in owned_operations():
        for headers in ({}, {"Accept": "text/event-stream"}, {"Accept": "text/csv"}):
            asked = {"headers": projects.foreigner | headers, "json": BODIES.get((method, path))}
            foreign = http.request(method, path.format(**projects.things, **FIXED), **asked)
            absent = http.request(method, path.format(**missing, **FIXED), **asked)
            assert foreign.status_code == absent.status_code, f"{method} {path}: {foreign.text}"
            assert foreign.status_code in ({404} if not headers else {404, 406}), f"{method} {path}: {foreign.text}"
            assert _told(foreign, projects.things) == _told(absent, missing), f"{method} {path}"
    # The same requests by the owner: what is refused above is there.
    for method, path in owned_operations():
        asked = {"headers": projects.owner, "json": BODIES.get((method, path))}
        own = http.request(method, path.format(**projects.things, **FIXED), **asked)
        assert own.status_code < 400 or own.status_code in CONFLICTS, f"{method} {path}: {own.text}"


def test_a_known_job_does_not_open_another_ones_parts(
    http: TestClient, projects: TwoProjects, database: Database, settings: Settings
) -> None:
    """A foreign probe or verdict below an own job is as good as none."""
    own = lived_job.queued(database)
    key = key_of(database, "default", "write")
    for method, path in owned_operations():
        if path.count("{") == 2 and "{name}" not in path:
            foreign = http.request(method, path.format(**{**projects.things, "job_id": own}), headers=key)
            assert foreign.status_code == 404, f"{method} {path}: {foreign.text}"


def test_no_list_and_no_page_names_what_is_foreign(http: TestClient, projects: TwoProjects) -> None:
    named = [*projects.things.values(), OWNER, "lived"]
    seen_by_owner = 0
    for method, path in operations(http.app):  # type: ignore[arg-type]
        if method != "GET" or "{" in path:
            continue
        told = http.get(path, headers=projects.foreigner).text
        assert not [name for name in named if name in told], path
        owners = http.get(path, headers=projects.owner).text
        seen_by_owner += any(name in owners for name in projects.things.values())
    assert seen_by_owner >= 2  # the lists of jobs and of comparisons; more where pages have sessions


def test_filters_cursors_and_bodies_reach_nothing_foreign(
    http: TestClient, projects: TwoProjects, database: Database
) -> None:
    assert http.post("/v1/jobs", json=lived_job.SPEC, headers=projects.owner).status_code == 202
    foreign = projects.things
    found = http.get("/v1/jobs", params={"comparison": foreign["comparison_id"]}, headers=projects.foreigner).json()
    assert found["data"] == []
    page = http.get("/v1/jobs", params={"limit": 1}, headers=projects.owner).json()
    assert page["has_more"]
    after = {"after": page["next_cursor"]}
    assert http.get("/v1/jobs", params=after, headers=projects.foreigner).json()["data"] == []
    own = http.post("/v1/jobs", json=lived_job.SPEC, headers=projects.foreigner).json()
    assert [job["id"] for job in http.get("/v1/jobs", headers=projects.foreigner).json()["data"]] == [own["id"]]
    told = []
    for other in (foreign["job_id"], new_id("job")):
        body = {"kind": "cka", "job_id": other}
        answer = http.post(f"/v1/jobs/{own['id']}/probes", json=body, headers=projects.foreigner)
        assert answer.status_code == 422
        told.append(_told(answer, {"job_id": other}))
    assert told[0] == told[1]
    told = []
    for dataset in (foreign["dataset_id"], new_id("ds")):
        body = {**lived_job.SPEC, "dataset": {"kind": "uploaded", "id": dataset}}
        for path in ("/v1/jobs", "/v1/estimates"):
            answer = http.post(path, json=body, headers=projects.foreigner)
            assert answer.status_code == 422, answer.text
            told.append(_told(answer, {"dataset_id": dataset}))
    assert told[:2] == told[2:]
    queue = http.get("/v1/queue", headers=projects.foreigner).json()
    assert [waiting["job_id"] for waiting in queue["data"]] == [own["id"]]
    assert queue["data"][0]["position"] == 1  # of its own


def test_an_idempotency_key_is_of_its_project(http: TestClient, projects: TwoProjects) -> None:
    key = {"Idempotency-Key": "the same"}
    first = http.post("/v1/jobs", json=lived_job.SPEC, headers=projects.owner | key)
    second = http.post("/v1/jobs", json={**lived_job.SPEC, "name": "other"}, headers=projects.foreigner | key)
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json()["id"] != second.json()["id"]
    assert http.post("/v1/jobs", json=lived_job.SPEC, headers=projects.owner | key).json()["id"] == first.json()["id"]


def test_forks_and_jobs_of_comparisons_stay_in_their_project(
    http: TestClient, projects: TwoProjects, database: Database
) -> None:
    fork = http.post(f"/v1/jobs/{projects.things['job_id']}/retry", headers=projects.owner).json()
    assert http.get(f"/v1/jobs/{fork['id']}", headers=projects.owner).status_code == 200
    assert http.get(f"/v1/jobs/{fork['id']}", headers=projects.foreigner).status_code == 404
    body = {**lived_job.SPEC, "learners": ["mono_forward"], "seeds": 2}
    body.pop("learner")
    made = http.post("/v1/comparisons", json=body, headers=projects.foreigner)
    assert made.status_code == 202, made.text
    jobs = {run["job_id"] for run in made.json()["rows"] if run["job_id"]}
    assert jobs
    assert {http.get(f"/v1/jobs/{job}", headers=projects.foreigner).status_code for job in jobs} == {200}
    assert {http.get(f"/v1/jobs/{job}", headers=projects.owner).status_code for job in jobs} == {404}


def test_a_foreign_id_takes_as_long_as_a_missing_one(http: TestClient, projects: TwoProjects) -> None:
    """Within a fifth, by the medians of interleaved requests; a busy machine may have three tries."""
    foreign, missing = f"/v1/jobs/{projects.things['job_id']}", f"/v1/jobs/{new_id('job')}"
    for _ in range(3):
        took: dict[str, list[float]] = {foreign: [], missing: []}
        for _ in range(60):
            for path, times in took.items():
                began = time.perf_counter()
                http.get(path, headers=projects.foreigner)
                times.append(time.perf_counter() - began)
        ratio = statistics.median(took[foreign]) / statistics.median(took[missing])
        if 1 / 1.2 <= ratio <= 1.2:
            return
    raise AssertionError(f"a foreign id takes {ratio:.2f} times as long")


def _told(answer: Response, ids: dict[str, str]) -> tuple[int, dict[str, str], str]:
    """All of an answer but the ids that were asked for, and the number of the request."""
    text = answer.text
    for value in ids.values():
        text = text.replace(value, "id")
    text = re.sub(r"req_[0-9a-f]{32}", "request", text)
    headers = {name: value for name, value in answer.headers.items() if name not in ("x-request-id", "content-length")}
    return answer.status_code, headers, text
