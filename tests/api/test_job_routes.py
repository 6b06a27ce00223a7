"""Jobs over HTTP: post, read, list, change, ask, delete; on both databases."""

import concurrent.futures
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.answers import Energy
from store.database import Database
from store.settings import Settings
from tests import lived_comparison
from tests.api import lived_job
from tests.api.lived_job import SPEC

both_databases = pytest.mark.parametrize("settings", ["sqlite", "postgresql"], indirect=True)


def post(http: TestClient, body: Any = SPEC, **headers: str) -> Any:
    return http.post("/v1/jobs", json=body, headers=headers)


@both_databases
def test_posted_job_is_accepted_and_read_back(http: TestClient) -> None:
    answer = post(http)
    assert answer.status_code == 202
    job = http.get(answer.headers["Location"]).json()
    assert job == answer.json()
    assert job["id"].startswith("job_")
    assert job["spec"] == SPEC
    assert (job["status"], job["phase"], job["desired_state"]) == ("queued", "pending", "run")
    assert job["resolved_spec"]["training"]["batch_size"] == 64
    assert job["created_at"].endswith("Z")
    assert job["result"] is None and job["started_at"] is None


def test_job_has_exactly_the_fields_of_the_contract(http: TestClient) -> None:
    named = (
        "id name labels priority spec resolved_spec forked_from spec_patch status phase desired_state status_reason "
        "attempt progress result error created_at started_at finished_at version"
    )
    assert list(post(http).json()) == named.split()


def test_recipe_is_stored_resolved(http: TestClient) -> None:
    job = post(http, {"recipe": "liquid", "training": {"epochs": 2}}).json()
    assert job["resolved_spec"]["network"]["kind"] == "cfc"
    assert job["resolved_spec"]["training"]["epochs"] == 2
    assert job["spec"] == {"recipe": "liquid", "training": {"epochs": 2}}


def test_queued_job_says_its_position_and_why_it_waits(http: TestClient, database: Database) -> None:
    assert post(http).json()["status_reason"]["code"] == "no_worker_of_class"
    lived_job.register_worker(database)
    second = post(http).json()
    assert second["status_reason"]["code"] == "waiting_for_capacity"
    assert "Position 2" in second["status_reason"]["message"]


def test_queue_lists_jobs_in_the_order_of_their_claims(http: TestClient) -> None:
    first, second = post(http).json()["id"], post(http).json()["id"]
    http.patch(f"/v1/jobs/{second}", json={"priority": 5})
    queue = http.get("/v1/queue").json()
    assert queue["counts"] == {"cpu": {"queued": 2}}
    assert [(row["job_id"], row["position"], row["jobs_ahead"]) for row in queue["data"]] == [
        (second, 1, 0),
        (first, 2, 1),
    ]
    lived = http.get(f"/v1/jobs/{first}").json()
    assert "Position 2" in lived["status_reason"]["message"]


@both_databases
def test_list_filters_by_every_field(http: TestClient) -> None:
    mine = post(http).json()
    other = {**SPEC, "labels": {"study": "other"}, "dataset": {"kind": "builtin", "name": "iris"}}
    post(http, {**other, "learner": {"kind": "mezo"}, "optimizer": {"kind": "sgd"}})
    for query in (
        {"learner": "backprop"},
        {"dataset": "digits"},
        {"label[study]": "tests"},
        {"learner": "backprop", "network": "mlp", "status": "queued,running", "label[study]": "tests"},
    ):
        assert [job["id"] for job in http.get("/v1/jobs", params=query).json()["data"]] == [mine["id"]], query
    since = http.get("/v1/jobs", params={"created_after": "2020-01-01T00:00:00Z"}).json()["data"]
    assert since[-1]["id"] == mine["id"]
    assert http.get("/v1/jobs", params={"created_after": "2200-01-01T00:00:00+02:00"}).json()["data"] == []
    assert http.get("/v1/jobs", params={"status": "failed"}).json()["data"] == []


@both_databases
def test_list_finds_jobs_by_name_and_tells_those_of_comparisons_apart(http: TestClient, database: Database) -> None:
    mine = post(http, {**SPEC, "name": "a name, with 100 %"}).json()["id"]
    comparison_id = lived_comparison.made(database)

    def found(**query: str) -> list[dict[str, Any]]:
        jobs: list[dict[str, Any]] = http.get("/v1/jobs", params=query).json()["data"]
        return jobs

    assert [job["id"] for job in found(name="a name, with 100 %")] == [mine]
    assert found(name="a name") == []
    assert [job["id"] for job in found(comparison="none")] == [mine]
    of_it = found(comparison=comparison_id)
    assert len(of_it) > 1
    assert {job["labels"]["comparison"] for job in of_it} == {comparison_id}
    assert len(found()) == 1 + len(of_it)
    assert found(comparison="cmp_" + "0" * 32) == []
    refused = http.get("/v1/jobs", params={"comparison": "some"})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/query/comparison")


def test_page_of_jobs_leaves_out_those_of_comparisons_and_says_so(http: TestClient, database: Database) -> None:
    mine = post(http).json()["id"]
    assert "of-comparisons" not in http.get("/").text
    comparison_id = lived_comparison.made(database)
    page = http.get("/").text
    assert (page.count("data-job="), mine in page) == (1, True)
    assert "Jobs of comparisons are not listed here." in page
    assert "comparison=none" in page, "the script asks for the same jobs"
    every = len(http.get("/v1/jobs").json()["data"])
    assert http.get("/?comparison=all").text.count("data-job=") == every
    assert http.get(f"/?comparison={comparison_id}").text.count("data-job=") == every - 1
    assert http.get("/?comparison=some").status_code == 422


@both_databases
def test_pages_meet_without_gap_or_repeat_while_jobs_arrive(http: TestClient) -> None:
    made = [post(http).json()["id"] for _ in range(5)]
    page = http.get("/v1/jobs", params={"limit": 2}).json()
    seen = [job["id"] for job in page["data"]]
    post(http)
    while page["has_more"]:
        page = http.get("/v1/jobs", params={"limit": 2, "after": page["next_cursor"]}).json()
        seen += [job["id"] for job in page["data"]]
    assert seen == made[::-1]
    assert page["next_cursor"] is None


def test_etag_spares_what_the_client_has(http: TestClient) -> None:
    location = post(http).headers["Location"]
    tag = http.get(location).headers["ETag"]
    assert tag.startswith('"')
    same = http.get(location, headers={"If-None-Match": f'"other", W/{tag}'})
    assert (same.status_code, same.content) == (304, b"")
    assert http.get(location, headers={"If-None-Match": "*"}).status_code == 304
    http.patch(location, json={"name": "another"})
    changed = http.get(location, headers={"If-None-Match": tag})
    assert changed.status_code == 200
    assert changed.headers["ETag"] != tag


@both_databases
def test_change_of_a_job_that_has_changed_is_refused(http: TestClient) -> None:
    location = post(http).headers["Location"]
    tag = http.get(location).headers["ETag"]
    changed = http.patch(location, json={"name": "new", "priority": 3}, headers={"If-Match": tag})
    assert changed.status_code == 200
    assert (changed.json()["name"], changed.json()["priority"]) == ("new", 3)
    assert changed.json()["labels"] == SPEC["labels"]
    stale = http.patch(location, json={"name": "newer"}, headers={"If-Match": tag})
    assert stale.status_code == 412
    assert http.patch(location, json={"labels": {}}, headers={"If-Match": changed.headers["ETag"]}).status_code == 200
    assert http.patch(location, json={"name": None}).json()["name"] is None


@both_databases
def test_cancel_repeated_is_the_same_and_a_cancelled_job_stays_so(http: TestClient) -> None:
    location = post(http).headers["Location"]
    first, again = http.post(f"{location}/cancel"), http.post(f"{location}/cancel")
    assert (first.status_code, first.json()["status"]) == (202, "cancelled")
    assert (again.status_code, again.json()) == (200, first.json())
    for action, allowed in (("resume", ["paused"]), ("pause", ["starting", "running"])):
        refused = http.post(f"{location}/{action}")
        assert refused.status_code == 409
        assert refused.json()["errors"][0]["allowed"] == allowed


def test_running_job_is_paused_and_a_paused_one_resumed(http: TestClient, database: Database) -> None:
    lived = lived_job.running(database)
    path = f"/v1/jobs/{lived.job_id}"
    assert http.post(f"{path}/resume").status_code == 200
    paused = http.post(f"{path}/pause")
    assert (paused.status_code, paused.json()["status"]) == (202, "pausing")
    assert http.post(f"{path}/pause").status_code == 200
    with database.writing.begin() as session:
        from store import settlement

        settlement.settle(session, lived.job_id, 1, charge=False, code="paused", message="Paused.")
    assert http.get(path).json()["status"] == "paused"
    resumed = http.post(f"{path}/resume")
    assert (resumed.status_code, resumed.json()["status"]) == (202, "queued")


@both_databases
def test_retry_makes_a_new_job_with_a_patched_spec(http: TestClient) -> None:
    old = post(http).json()
    patch = [{"op": "replace", "path": "/optimizer/lr", "value": 0.5}, {"op": "remove", "path": "/labels/study"}]
    answer = http.post(
        f"/v1/jobs/{old['id']}/retry", json=patch, headers={"Content-Type": "application/json-patch+json"}
    )
    new = answer.json()
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/v1/jobs/{new['id']}" != f"/v1/jobs/{old['id']}"
    assert (new["forked_from"], new["spec_patch"]) == (old["id"], patch)
    assert new["resolved_spec"]["optimizer"] == {**old["resolved_spec"]["optimizer"], "lr": 0.5}
    assert new["labels"] == {}
    assert http.get(f"/v1/jobs/{old['id']}").json()["resolved_spec"] == old["resolved_spec"]


def test_retry_waits_at_the_priority_of_the_old_job(http: TestClient) -> None:
    old = post(http).json()
    http.patch(f"/v1/jobs/{old['id']}", json={"priority": 5})
    assert http.post(f"/v1/jobs/{old['id']}/retry").json()["priority"] == 5


def test_retry_of_a_comparisons_job_does_not_stand_back_for_others(http: TestClient, database: Database) -> None:
    lived_comparison.made(database)
    [of_comparison, *_] = http.get("/v1/jobs").json()["data"]
    assert of_comparison["priority"] < 0
    assert http.post(f"/v1/jobs/{of_comparison['id']}/retry").json()["priority"] == 0


def test_example_of_every_network_is_taken_as_it_stands(http: TestClient) -> None:
    for network in http.get("/v1/networks").json()["data"]:
        answer = post(http, network["example"])
        assert (answer.status_code, answer.json()["resolved_spec"]["network"]["kind"]) == (202, network["kind"])


def test_recipe_of_a_rule_has_the_rules_title(http: TestClient) -> None:
    titles = {recipe["kind"]: recipe["title"] for recipe in http.get("/v1/recipes").json()["data"]}
    rules = {rule["kind"]: rule["title"] for rule in http.get("/v1/learners").json()["data"]}
    assert rules.items() <= titles.items()
    assert titles["lesson_dead_relu"] == "Lesson dead relu"


def test_retry_without_a_patch_repeats_the_resolved_spec(http: TestClient) -> None:
    old = post(http).json()
    http.patch(f"/v1/jobs/{old['id']}", json={"name": "renamed"})
    new = http.post(f"/v1/jobs/{old['id']}/retry").json()
    assert new["resolved_spec"] == {**old["resolved_spec"], "name": "renamed"}
    assert new["spec_patch"] == []


@pytest.mark.parametrize(
    ("patch", "status", "pointer"),
    [
        ([{"op": "replace", "path": "/optimizer/nothing", "value": 1}], 422, "/0"),
        ([{"op": "test", "path": "/training/seed", "value": 7}], 422, "/0"),
        ([{"op": "add", "path": "/training/epoch", "value": 7}], 422, "/training/epoch"),
        ([{"op": "add", "path": "/network/hidden/-", "value": 0}], 422, "/network/hidden/1"),
        ([{"op": "explode", "path": ""}], 422, "/0/op"),
        ({"op": "add"}, 422, ""),
    ],
)
def test_patch_that_does_not_apply_names_its_mistake(http: TestClient, patch: Any, status: int, pointer: str) -> None:
    old = post(http).json()
    refused = http.post(f"/v1/jobs/{old['id']}/retry", json=patch)
    assert refused.status_code == status
    assert refused.json()["errors"][0]["pointer"] == pointer
    assert len(http.get("/v1/jobs").json()["data"]) == 1


@both_databases
def test_only_an_ended_job_is_deleted_and_its_files_with_it(
    http: TestClient, database: Database, settings: Settings
) -> None:
    waiting = post(http).headers["Location"]
    refused = http.delete(waiting)
    assert refused.status_code == 409
    assert "succeeded" in refused.json()["errors"][0]["allowed"]
    http.post(f"{waiting}/cancel")
    ended = lived_job.succeeded(database, settings)
    assert (settings.artifacts_dir / ended).is_dir()
    assert http.delete(f"/v1/jobs/{ended}", headers={"If-Match": '"stale"'}).status_code == 412
    assert http.delete(f"/v1/jobs/{ended}").status_code == 204
    assert not (settings.artifacts_dir / ended).exists()
    assert http.get(f"/v1/jobs/{ended}").status_code == 404
    assert http.delete(f"/v1/jobs/{ended}").status_code == 404


@both_databases
def test_replayed_request_gives_the_same_job(http: TestClient) -> None:
    first = post(http, **{"Idempotency-Key": "key one"})
    again = post(http, dict(reversed(SPEC.items())), **{"Idempotency-Key": "key one"})
    assert (first.status_code, again.status_code) == (202, 200)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first.headers
    assert again.json() == first.json()
    other = post(http, {**SPEC, "name": "other"}, **{"Idempotency-Key": "key one"})
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


def test_refused_request_does_not_use_up_its_key(http: TestClient) -> None:
    assert post(http, {**SPEC, "network": {"kind": "none"}}, **{"Idempotency-Key": "k"}).status_code == 422
    assert post(http, **{"Idempotency-Key": "k"}).status_code == 202


@both_databases
def test_simultaneous_requests_with_one_key_make_one_job(http: TestClient) -> None:
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: post(http, **{"Idempotency-Key": "race"}), range(16)))
    statuses = {answer.status_code for answer in answers}
    assert statuses <= {200, 202, 409}
    assert [answer.status_code for answer in answers].count(202) == 1
    assert len(http.get("/v1/jobs").json()["data"]) == 1


@pytest.mark.parametrize("key", ["", " ", "x" * 256, "tab\there", "\x7f"])
def test_key_that_is_no_key_is_refused(http: TestClient, key: str) -> None:
    refused = post(http, **{"Idempotency-Key": key})
    assert (refused.status_code, refused.json()["code"]) == (400, "bad_idempotency_key")


def test_ended_job_carries_result_and_bill(http: TestClient, database: Database, settings: Settings) -> None:
    job = http.get(f"/v1/jobs/{lived_job.succeeded(database, settings)}").json()
    assert (job["status"], job["phase"]) == ("succeeded", "terminal")
    assert job["result"]["metrics"]["test"]["accuracy"] == 0.94
    # What the job did not say of its energy is null, and named all the same.
    energy = {**dict.fromkeys(Energy.model_fields), **lived_job.COST["energy"]}
    assert job["result"]["cost"] == {**lived_job.COST, "energy": energy}
    assert job["progress"]["step"] == 2000
    assert job["status_reason"] is None
    assert job["started_at"] <= job["finished_at"]


def test_failed_job_says_whose_fault_it_is(http: TestClient, database: Database) -> None:
    job = http.get(f"/v1/jobs/{lived_job.failed(database)}").json()
    assert job["error"] == {
        "kind": "diverged",
        "fault": "user",
        "message": "The loss is NaN at step 500.",
        "step": 500,
    }
    assert job["result"] is None
