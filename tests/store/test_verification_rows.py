"""Verifications are claimed by one worker of their class at a time, and written by the one that holds them alone."""

from pathlib import Path

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from store import jobs, leases, verifications
from store.database import Database
from store.settings import Settings
from store.verification_tables import Verification
from tests.api import lived_job


@pytest.fixture
def ended(database: Database, tmp_path: Path) -> str:
    return lived_job.succeeded(database, Settings(state_dir=tmp_path / "state"))


def asked(database: Database, job_id: str, *, from_step: int = 0) -> str:
    with database.writing.begin() as session:
        return verifications.create(session, jobs.get(session, job_id), from_step=from_step, tolerance=1e-5).id


def claimed(database: Database, worker: str = "wrk_1", *, classes: tuple[str, ...] = ("cpu",)) -> verifications.Claim:
    with database.writing.begin() as session:
        claim = verifications.claim(session, worker_id=worker, classes=classes, lease_s=60)
    assert claim is not None
    return claim


def none_is_claimed(database: Database, *, classes: tuple[str, ...] = ("cpu",)) -> bool:
    with database.writing.begin() as session:
        return verifications.claim(session, worker_id="wrk_9", classes=classes, lease_s=60) is None


def silent(database: Database) -> None:
    with database.writing.begin() as session:
        session.execute(update(Verification).values(lease_expires_at=0.0))


def test_claim_holds_all_that_the_job_left(database: Database, ended: str) -> None:
    asked(database, ended, from_step=1000)
    claim = claimed(database)
    assert (claim.attempt, claim.from_step, claim.tolerance, claim.resource_class) == (1, 1000, 1e-5, "cpu")
    assert claim.weighed.final is not None and [kept.step for kept in claim.weighed.job.checkpoints] == [2000]
    assert claim.result["weights_sha256"] and claim.receipt["torch"]
    assert claim.losses is not None and claim.losses.layer is None
    assert claim.losses.steps.tolist() == list(range(1010, 2001, 10)), "those behind the start"
    with database.reading() as session:
        assert verifications.starts(session, ended) == [2000]


def test_only_a_worker_of_the_class_takes_it_or_takes_it_over(database: Database, ended: str) -> None:
    asked(database, ended)
    assert none_is_claimed(database, classes=("gpu",))
    claimed(database)
    silent(database)
    assert none_is_claimed(database, classes=("gpu",)), "left behind, and still not its own"
    assert claimed(database, "wrk_2", classes=("gpu", "cpu")).attempt == 2


def test_verification_is_recorded_once_by_the_worker_that_holds_it(database: Database, ended: str) -> None:
    made = asked(database, ended)
    first = claimed(database)
    assert none_is_claimed(database), "its lease runs"
    with database.writing.begin() as session:
        assert verifications.renew(session, first, lease_s=60)
    silent(database)
    second = claimed(database, "wrk_2")

    def finished(session: Session, claim: verifications.Claim, verdict: str) -> bool:
        return verifications.finish(session, claim, verdict=verdict, result={"by": claim.attempt})

    with database.writing.begin() as session:
        assert leases.any_open(session, Verification)
        assert not verifications.renew(session, first, lease_s=60)
        assert not finished(session, first, "different")
        assert not verifications.fail(session, first, kind="internal", message="late")
        assert not verifications.give_back(session, first)
        assert finished(session, second, "bitwise")
        assert not finished(session, second, "different"), "nothing is written twice"
    with database.reading() as session:
        row = verifications.get(session, ended, made)
        assert (row.status, row.verdict, row.result, row.attempt) == ("done", "bitwise", {"by": 2}, 2)
        assert not leases.any_open(session, Verification)
    assert none_is_claimed(database)


def test_verification_that_is_given_back_was_no_attempt_and_one_that_failed_is_over(
    database: Database, ended: str
) -> None:
    made = asked(database, ended)
    first = claimed(database)
    with database.writing.begin() as session:
        assert verifications.give_back(session, first)
    again = claimed(database)
    assert again.attempt == 1
    with database.writing.begin() as session:
        assert verifications.fail(session, again, kind="time_limit", message="too long")
    with database.reading() as session:
        row = verifications.get(session, ended, made)
        assert (row.status, row.verdict, row.error) == ("failed", None, {"kind": "time_limit", "message": "too long"})
    assert none_is_claimed(database)
