"""Verdicts over HTTP: root causes first, remedies applied by a fork, and what became of it."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from store import attempts, series, verdicts
from store.database import Database
from store.settings import Settings
from store.tables import Job
from tests.api import lived_job

BOTH = pytest.mark.parametrize("settings", ["sqlite", "postgresql"], indirect=True)


def listed(http: TestClient, job_id: str) -> list[dict[str, Any]]:
    return http.get(f"/v1/jobs/{job_id}/verdicts").json()["data"]


def ended(database: Database, job_id: str, *, loss: float, finding: Any = None, first: float | None = 2.3) -> None:
    """What a worker would leave of the fork ``job_id``, which is next in its queue. ``first``: its first loss."""
    with database.writing.begin() as session:
        claim = attempts.claim(session, worker_id="wrk_1", host="here", worker_pid=1, resource_class="cpu", lease_s=600)
        assert claim is not None and claim.job_id == job_id
        key = job_id, claim.attempt
        attempts.mark_started(session, *key, step=0, device="cpu", trainer_pid=7, receipt={})
        if first is not None:
            series.append(session, *key, *lived_job.losses([first, loss]), ids=series.BlockIds())
        if finding is not None:
            verdicts.record(session, *key, finding.model_dump(mode="json"))
        assert attempts.mark_finalizing(session, *key)
        result = {"metrics": {"validation": {"loss": loss}}, "cost": lived_job.COST, "weights_sha256": "ab" * 32}
        assert attempts.succeed(session, *key, result=result, receipt={}, diagnostics={})


@BOTH
def test_running_job_has_its_verdicts_root_cause_first(http: TestClient, database: Database) -> None:
    lived = lived_job.running(database, findings=lived_job.FAULTS)
    answer = http.get(f"/v1/jobs/{lived.job_id}/verdicts").json()
    rate, vanishing = answer["data"]
    assert (rate["code"], rate["caused_by"]) == ("lr_too_high", None)
    assert (vanishing["code"], vanishing["caused_by"]) == ("vanishing", "lr_too_high")
    assert rate["layer"] == "blocks.0" and (rate["first_step"], rate["last_step"]) == (1, 20)
    assert rate["evidence"]["value"] == 0.5 and rate["evidence"]["threshold"] == 0.1
    assert rate["remedies"][0]["patch"] == [{"op": "replace", "path": "/optimizer/lr", "value": 0.0001}]
    assert answer["not_judged"] is None
    assert http.get(f"/v1/jobs/{lived.job_id}/verdicts/{rate['id']}").json() == rate


def test_verdict_is_an_event(http: TestClient, database: Database) -> None:
    lived = lived_job.running(database, findings=lived_job.FAULTS)
    events = http.get(f"/v1/jobs/{lived.job_id}/events").json()["data"]
    assert [event["data"]["code"] for event in events if event["type"] == "verdict"] == ["vanishing", "lr_too_high"]


@BOTH
def test_remedy_that_mends_the_fault_is_known_to_have_helped(
    http: TestClient, database: Database, settings: Settings
) -> None:
    job_id = lived_job.succeeded(database, settings, findings=lived_job.FAULTS)
    verdict = listed(http, job_id)[0]
    answer = http.post(f"/v1/jobs/{job_id}/verdicts/{verdict['id']}/apply")
    fork = answer.json()
    assert answer.status_code == 202 and answer.headers["Location"] == f"/v1/jobs/{fork['id']}"
    assert fork["forked_from"] == job_id
    assert fork["spec_patch"] == verdict["remedies"][0]["patch"]
    assert fork["resolved_spec"]["optimizer"]["lr"] == 0.0001
    (applied,) = listed(http, job_id)[0]["applied"]
    assert (applied["status"], applied["helped"], applied["reason"]) == ("queued", None, "fork_not_ended")
    ended(database, fork["id"], loss=0.1)
    (applied,) = listed(http, job_id)[0]["applied"]
    assert (applied["job_id"], applied["remedy"], applied["status"]) == (fork["id"], 0, "succeeded")
    assert (applied["helped"], applied["verdict_gone"], applied["reason"]) == (True, True, None)
    assert (applied["split"], applied["loss_before"], applied["loss_after"]) == ("validation", 0.2, 0.1)


@pytest.mark.parametrize(("loss", "finding"), [(0.3, None), (0.1, lived_job.RATE)], ids=["higher loss", "fault again"])
def test_remedy_that_does_not_mend_the_fault_is_known_not_to_have_helped(
    http: TestClient, database: Database, settings: Settings, loss: float, finding: Any
) -> None:
    job_id = lived_job.succeeded(database, settings, findings=lived_job.FAULTS)
    verdict = listed(http, job_id)[0]
    fork = http.post(f"/v1/jobs/{job_id}/verdicts/{verdict['id']}/apply", json={"remedy": 1}).json()
    assert fork["resolved_spec"]["optimizer"]["clip_grad_norm"] == 1.0
    ended(database, fork["id"], loss=loss, finding=finding)
    (applied,) = listed(http, job_id)[0]["applied"]
    assert (applied["remedy"], applied["helped"], applied["verdict_gone"]) == (1, False, finding is None)
    assert applied["reason"] == ("loss_higher" if finding is None else "verdict_again")


def test_fork_of_a_job_without_a_result_helps_when_the_fault_is_gone(http: TestClient, database: Database) -> None:
    job_id = lived_job.failed(database, findings=lived_job.FAULTS)
    verdict = listed(http, job_id)[0]
    fork = http.post(f"/v1/jobs/{job_id}/verdicts/{verdict['id']}/apply").json()
    ended(database, fork["id"], loss=0.1)
    (applied,) = listed(http, job_id)[0]["applied"]
    assert (applied["helped"], applied["loss_before"], applied["loss_after"]) == (True, None, 0.1)


@pytest.mark.parametrize(("first", "helped"), [(2.3, False), (None, None)], ids=["above where it began", "unmeasured"])
def test_fork_whose_loss_is_finite_is_not_yet_healed(
    http: TestClient, database: Database, first: float | None, helped: bool | None
) -> None:
    job_id = lived_job.failed(database, findings=lived_job.FAULTS)
    verdict = listed(http, job_id)[0]
    fork = http.post(f"/v1/jobs/{job_id}/verdicts/{verdict['id']}/apply").json()
    ended(database, fork["id"], loss=31431.0, first=first)
    (applied,) = listed(http, job_id)[0]["applied"]
    assert (applied["helped"], applied["loss_first"], applied["loss_after"]) == (
        helped,
        None if first is None else pytest.approx(first),
        31431.0,
    )
    assert applied["reason"] == ("no_loss_before" if first is None else "loss_above_first")


def test_deleted_fork_was_tried_all_the_same(http: TestClient, database: Database) -> None:
    job_id = lived_job.failed(database, findings=lived_job.FAULTS)
    verdict = listed(http, job_id)[0]
    fork = http.post(f"/v1/jobs/{job_id}/verdicts/{verdict['id']}/apply").json()
    http.post(f"/v1/jobs/{fork['id']}/cancel")
    (applied,) = listed(http, job_id)[0]["applied"]
    assert (applied["helped"], applied["reason"]) == (None, "fork_cancelled")
    assert http.delete(f"/v1/jobs/{fork['id']}").status_code == 204
    (applied,) = listed(http, job_id)[0]["applied"]
    assert (applied["status"], applied["helped"], applied["reason"]) == (None, None, "fork_deleted")


def test_apply_with_the_same_key_makes_one_fork(http: TestClient, database: Database) -> None:
    job_id = lived_job.failed(database, findings=lived_job.FAULTS)
    verdict = listed(http, job_id)[0]
    path, headers = f"/v1/jobs/{job_id}/verdicts/{verdict['id']}/apply", {"Idempotency-Key": "once"}
    first, second = (http.post(path, headers=headers) for _ in range(2))
    assert (first.status_code, second.status_code) == (202, 200)
    assert first.json()["id"] == second.json()["id"]
    assert len(listed(http, job_id)[0]["applied"]) == 1


@BOTH
def test_remedy_that_is_tried_already_makes_no_second_fork(http: TestClient, database: Database) -> None:
    job_id = lived_job.failed(database, findings=lived_job.FAULTS)
    verdict = listed(http, job_id)[0]
    path = f"/v1/jobs/{job_id}/verdicts/{verdict['id']}/apply"
    first = http.post(path)
    again, keyed = http.post(path), http.post(path, headers={"Idempotency-Key": "other"})
    assert [answer.status_code for answer in (first, again, keyed)] == [202, 200, 200]
    assert {answer.json()["id"] for answer in (first, again, keyed)} == {first.json()["id"]}
    assert again.headers["Idempotent-Replayed"] == "true" and again.headers["Location"] == first.headers["Location"]
    assert http.post(path, headers={"Idempotency-Key": "other"}).json()["id"] == first.json()["id"]
    other = http.post(path, json={"remedy": 1})
    assert other.status_code == 202 and other.json()["id"] != first.json()["id"]
    http.post(f"/v1/jobs/{first.json()['id']}/cancel")
    assert http.post(path).status_code == 202, "a fork that was cancelled tells nothing"
    assert len(listed(http, job_id)[0]["applied"]) == 3


def test_apply_is_refused_where_there_is_no_such_remedy_or_verdict(http: TestClient, database: Database) -> None:
    job_id = lived_job.failed(database, findings=lived_job.FAULTS)
    rate, vanishing = listed(http, job_id)
    refused = http.post(f"/v1/jobs/{job_id}/verdicts/{rate['id']}/apply", json={"remedy": 2})
    assert refused.status_code == 422
    assert refused.json()["errors"][0] | {"detail": ""} == {
        "pointer": "/remedy",
        "code": "no_such_remedy",
        "detail": "",
        "allowed": [0, 1],
    }
    assert http.post(f"/v1/jobs/{job_id}/verdicts/{vanishing['id']}/apply").json()["errors"][0]["allowed"] == []
    assert http.post(f"/v1/jobs/{job_id}/verdicts/{rate['id']}/apply", json={"remedy": "0"}).status_code == 422
    other = lived_job.queued(database)
    for path in (f"{other}/verdicts/{rate['id']}", f"{job_id}/verdicts/vrd_{32 * '0'}", f"{job_id}/verdicts/x"):
        assert http.get(f"/v1/jobs/{path}").status_code == 404
        assert http.post(f"/v1/jobs/{path}/apply").status_code == 404
    with database.reading() as session:
        assert {job.id for job in session.query(Job)} == {job_id, other}, "nothing was made"


def test_remedy_that_no_longer_fits_makes_nothing(http: TestClient, database: Database) -> None:
    lived = lived_job.running(database, findings=lived_job.FAULTS)
    with database.writing.begin() as session:
        bad = lived_job.RATE.model_dump(mode="json") | {"layer": None}
        bad["remedies"][0]["patch"][0]["value"] = -1
        verdicts.record(session, lived.job_id, 1, bad)
    (bad,) = [verdict for verdict in listed(http, lived.job_id) if verdict["layer"] is None]
    refused = http.post(f"/v1/jobs/{lived.job_id}/verdicts/{bad['id']}/apply")
    assert refused.status_code == 422 and refused.json()["errors"][0]["pointer"] == "/optimizer/lr"
    assert listed(http, lived.job_id)[0]["applied"] == []


def test_verdicts_end_with_their_job(http: TestClient, database: Database, settings: Settings) -> None:
    job_id = lived_job.succeeded(database, settings, findings=lived_job.FAULTS)
    assert http.get(f"/v1/jobs/{job_id}/verdicts").json()["not_judged"] == {"misaligned": "exact_gradient"}
    assert http.delete(f"/v1/jobs/{job_id}").status_code == 204
    assert http.get(f"/v1/jobs/{job_id}/verdicts").status_code == 404
    with database.reading() as session:
        assert verdicts.of_job(session, job_id) == []


def test_catalog_names_every_fault(http: TestClient) -> None:
    entries = http.get("/v1/verdicts").json()["data"]
    codes = [entry["kind"] for entry in entries]
    assert codes.index("lr_too_high") < codes.index("vanishing")
    assert all(entry["summary"] and entry["source"] for entry in entries)
    assert {code for entry in entries for code in entry["explains"]} <= set(codes)
    assert http.get("/v1/verdicts/vanishing").json() == entries[codes.index("vanishing")]
    assert http.get("/v1/verdicts/vanished").json()["errors"][0]["allowed"] == codes
