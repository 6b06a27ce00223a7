"""Probes wait for weights, are claimed by one worker at a time, and written by the one that holds them alone."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from store import jobs, probes
from store.database import Database
from store.probe_tables import Probe
from store.settings import Settings
from tests.api import lived_job


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(state_dir=tmp_path / "state")


SPEC: dict[str, Any] = {"kind": "histogram", "rows": 16}


def asked(database: Database, of_job: str, /, **spec: Any) -> str:
    with database.writing.begin() as session:
        return probes.create(session, of_job, spec={**SPEC, **spec}).id


def claimed(database: Database, worker: str = "wrk_1", *, lease_s: float = 60) -> probes.Claim | None:
    with database.writing.begin() as session:
        return probes.claim(session, worker_id=worker, lease_s=lease_s)


def test_probe_waits_until_there_are_weights(database: Database, settings: Settings) -> None:
    waiting = lived_job.queued(database)
    probe = asked(database, waiting)
    assert claimed(database) is None, "a queued job has none"
    with database.writing.begin() as session:
        jobs.cancel(session, waiting)
    claim = claimed(database)
    assert claim is not None and claim.id == probe, "it never will have any, which is an answer too"
    ended = lived_job.succeeded(database, settings)
    asked(database, ended)
    claim = claimed(database)
    assert claim is not None
    (weighed,) = claim.jobs
    assert weighed.final is not None and weighed.final.name == "weights.safetensors"
    assert weighed.step == 2000 and len(weighed.job.checkpoints) == 1


def test_probe_of_two_jobs_waits_for_both(database: Database, settings: Settings) -> None:
    ended, other = lived_job.succeeded(database, settings), lived_job.queued(database)
    asked(database, ended, kind="cka", job_id=other)
    assert claimed(database) is None
    with database.writing.begin() as session:
        jobs.cancel(session, other)
    claim = claimed(database)
    assert claim is not None
    assert [weighed.job.job_id for weighed in claim.jobs] == [ended, other]


def test_probe_is_recorded_once_by_the_worker_that_holds_it(database: Database, settings: Settings) -> None:
    ended = lived_job.succeeded(database, settings)
    probe = asked(database, ended)
    first = claimed(database)
    assert first is not None
    assert claimed(database, "wrk_2") is None, "its lease runs"
    with database.writing.begin() as session:
        assert probes.renew(session, first, lease_s=60)
        session.execute(update(Probe).values(lease_expires_at=0.0))  # the worker was silent for too long
    second = claimed(database, "wrk_2")
    assert second is not None and second.attempt == first.attempt + 1

    def finished(session: Session, claim: probes.Claim, answer: int) -> bool:
        return probes.finish(session, claim, result={"answer": answer}, step=2000, weights="final")

    with database.writing.begin() as session:
        assert not probes.renew(session, first, lease_s=60)
        assert not finished(session, first, 1)
        assert not probes.fail(session, first, kind="internal", message="late")
        assert finished(session, second, 2)
        assert not finished(session, second, 3), "nothing is written twice"
    with database.reading() as session:
        row = probes.get(session, ended, probe)
        assert (row.status, row.result, row.attempt, row.weights) == ("done", {"answer": 2}, 2, "final")
    assert claimed(database) is None


def test_probe_that_is_given_back_was_no_attempt(database: Database, settings: Settings) -> None:
    ended = lived_job.succeeded(database, settings)
    asked(database, ended)
    first = claimed(database)
    assert first is not None
    with database.writing.begin() as session:
        assert probes.give_back(session, first)
        assert not probes.give_back(session, first)
    again = claimed(database)
    assert again is not None and again.attempt == 1
