"""Every arrow of the job's state diagram, on both databases."""

from typing import Any

import pytest

from store import attempts, events, jobs, settlement
from store.database import Database
from store.errors import IllegalTransition
from store.tables import Attempt, Job
from tests.store.attempted_job import claimed, give_back

_RESOLVED: dict[str, Any] = {
    "name": None,
    "labels": {},
    "learner": {"kind": "backprop"},
    "network": {"kind": "mlp"},
    "limits": {"max_attempts": 2, "max_pending_s": None},
}


def _create(database: Database, **limits: Any) -> str:
    resolved = {**_RESOLVED, "limits": {**_RESOLVED["limits"], **limits}}
    with database.writing.begin() as session:
        return jobs.create(session, spec={}, resolved_spec=resolved, resource_class="cpu", dataset="digits").id


def _claim(database: Database, *, lease_s: float = 30.0, worker: str = "wrk_1") -> attempts.Claim | None:
    with database.writing.begin() as session:
        return attempts.claim(
            session, worker_id=worker, host="here", worker_pid=1, resource_class="cpu", lease_s=lease_s
        )


def _start(database: Database, claim: attempts.Claim, *, step: int = 0) -> None:
    with database.writing.begin() as session:
        attempts.mark_started(session, claim.job_id, claim.attempt, step=step, device="cpu", trainer_pid=2, receipt={})


def _running(database: Database) -> attempts.Claim:
    _create(database)
    claim = _claim(database)
    assert claim is not None
    _start(database, claim)
    return claim


def _job(database: Database, job_id: str) -> Job:
    with database.reading() as session:
        return jobs.get(session, job_id)


def _settle(database: Database, claim: attempts.Claim, *, charge: bool) -> settlement.Settled | None:
    with database.writing.begin() as session:
        return settlement.settle(
            session, claim.job_id, claim.attempt, charge=charge, code="crashed", message="It died."
        )


def test_a_job_runs_from_queued_to_succeeded(database: Database) -> None:
    claim = _running(database)
    with database.writing.begin() as session:
        assert attempts.mark_finalizing(session, claim.job_id, claim.attempt)
        assert attempts.succeed(session, claim.job_id, claim.attempt, result={"cost": {}}, receipt={}, diagnostics={})
    job = _job(database, claim.job_id)
    assert (job.status, job.phase, job.lease_expires_at) == ("succeeded", "terminal", None)
    with database.reading() as session:
        seen = [event.detail["status"] for event in events.page(session, claim.job_id)]
    assert seen == ["queued", "starting", "running", "finalizing", "succeeded", "succeeded"]


def test_one_job_is_claimed_once(database: Database) -> None:
    _create(database)
    assert _claim(database) is not None
    assert _claim(database, worker="wrk_2") is None


def test_jobs_are_claimed_by_priority_then_by_age(database: Database) -> None:
    first, second, third = (_create(database) for _ in range(3))
    with database.writing.begin() as session:
        jobs.get(session, third).priority = 5
    order = [claim.job_id for claim in (_claim(database), _claim(database), _claim(database)) if claim]
    assert order == [third, first, second]


def test_cancelled_job_is_not_claimed(database: Database) -> None:
    job_id = _create(database)
    with database.writing.begin() as session:
        job, changed = jobs.cancel(session, job_id)
        assert (job.status, changed) == ("cancelled", True)
    assert _claim(database) is None


def test_cancelling_twice_changes_nothing(database: Database) -> None:
    claim = _running(database)
    with database.writing.begin() as session:
        assert jobs.cancel(session, claim.job_id)[0].status == "cancelling"
    with database.writing.begin() as session:
        job, changed = jobs.cancel(session, claim.job_id)
    assert (job.status, changed) == ("cancelling", False)


def test_a_result_after_a_cancellation_is_discarded(database: Database) -> None:
    claim = _running(database)
    with database.writing.begin() as session:
        jobs.cancel(session, claim.job_id)
    with database.writing.begin() as session:
        assert not attempts.mark_finalizing(session, claim.job_id, claim.attempt)
    settled = _settle(database, claim, charge=False)
    assert settled is not None and settled.status == "cancelled"


def test_a_result_that_comes_first_beats_a_pause(database: Database) -> None:
    claim = _running(database)
    with database.writing.begin() as session:
        jobs.pause(session, claim.job_id)
    with database.writing.begin() as session:
        assert attempts.mark_finalizing(session, claim.job_id, claim.attempt)
        assert attempts.succeed(session, claim.job_id, claim.attempt, result={}, receipt={}, diagnostics={})


def test_pause_waits_and_resume_queues_again(database: Database) -> None:
    claim = _running(database)
    with database.writing.begin() as session:
        assert jobs.pause(session, claim.job_id)[0].status == "pausing"
    settled = _settle(database, claim, charge=False)
    assert settled is not None and settled.status == "paused"
    assert _claim(database) is None
    with database.writing.begin() as session:
        assert jobs.resume(session, claim.job_id)[0].status == "queued"
    again = _claim(database)
    assert again is not None and again.attempt == 2


def test_charged_attempts_are_bounded_and_others_are_not(database: Database) -> None:
    _create(database)
    for charge, expected in ((False, "queued"), (True, "queued"), (False, "queued"), (True, "failed")):
        claim = _claim(database)
        assert claim is not None
        settled = _settle(database, claim, charge=charge)
        assert settled is not None and settled.status == expected
    job = _job(database, claim.job_id)
    assert job.error is not None and job.error["kind"] == "crashed"
    assert (job.attempt, job.charged_attempts) == (4, 2)


def test_an_expired_lease_fences_the_old_attempt(database: Database) -> None:
    _create(database)
    old = _claim(database, lease_s=-1.0)
    assert old is not None
    with database.writing.begin() as session:
        assert [settled.status for settled in settlement.expire_leases(session)] == ["queued"]
    new = _claim(database, worker="wrk_2")
    assert new is not None and new.attempt == old.attempt + 1
    with database.writing.begin() as session:
        assert not attempts.record(session, old.job_id, old.attempt, step=9)
        assert attempts.heartbeat(session, [(old.job_id, old.attempt)], lease_s=30) == {}
        assert not attempts.mark_finalizing(session, old.job_id, old.attempt)
        assert not attempts.fail(session, old.job_id, old.attempt, error={"kind": "x", "message": "y"})
    assert _settle(database, old, charge=True) is None
    assert _job(database, old.job_id).step == 0


def test_a_live_lease_does_not_expire(database: Database) -> None:
    claim = _running(database)
    with database.writing.begin() as session:
        assert settlement.expire_leases(session) == []
        assert attempts.heartbeat(session, [(claim.job_id, 1)], lease_s=30) == {(claim.job_id, 1): "run"}


def test_a_job_that_waits_too_long_expires(database: Database) -> None:
    job_id = _create(database, max_pending_s=-1.0)
    with database.writing.begin() as session:
        assert settlement.expire_pending(session) == [job_id]
    assert _job(database, job_id).status == "expired"


def test_a_failing_trainer_ends_the_job_at_once(database: Database) -> None:
    claim = _running(database)
    error = {"kind": "diverged", "fault": "user", "message": "The loss is NaN.", "step": 3}
    with database.writing.begin() as session:
        assert attempts.fail(session, claim.job_id, claim.attempt, error=error)
    job = _job(database, claim.job_id)
    assert (job.status, job.error) == ("failed", error)
    with database.reading() as session:
        attempt = session.get_one(Attempt, (claim.job_id, 1))
    assert attempt.exit_cause == "diverged" and attempt.ended_at is not None


@pytest.mark.parametrize("verb", [jobs.cancel, jobs.pause, jobs.resume])
def test_a_terminal_job_never_changes(database: Database, verb: Any) -> None:
    claim = _running(database)
    with database.writing.begin() as session:
        attempts.fail(session, claim.job_id, claim.attempt, error={"kind": "x", "message": "y"})
    with pytest.raises(IllegalTransition), database.writing.begin() as session:
        verb(session, claim.job_id)
    assert _job(database, claim.job_id).status == "failed"


def test_events_of_many_jobs_are_read_in_one_query(database: Database) -> None:
    first, second = _create(database), _create(database)
    with database.reading() as session:
        seen = events.newer(session, {first: 0, second: 1})
    assert [(event.job_id, event.sequence) for event in seen] == [(first, 1)]


def test_pause_that_came_too_late_keeps_no_job_from_its_next_attempt(database: Database) -> None:
    job_id = claimed(database)
    with database.writing.begin() as session:
        jobs.pause(session, job_id)
        assert attempts.mark_finalizing(session, job_id, 1)
    give_back(database, job_id, 1, crashed=True)
    with database.writing.begin() as session:
        again = attempts.claim(session, worker_id="wrk_2", host="here", worker_pid=1, resource_class="cpu", lease_s=30)
    assert again is not None and (again.job_id, again.attempt) == (job_id, 2)
