"""Verdicts on both databases: one row per code and layer, one event, and the forks that tried a remedy."""

from typing import Any

import pytest
from sqlalchemy.orm import Session

from specs.verdicts import Evidence, Finding, replacing
from store import events, jobs, verdicts
from store.database import Database
from store.errors import NotFound
from store.tables import Job


def job(session: Session, **changes: Any) -> Job:
    resolved = {"learner": {"kind": "backprop"}, "network": {"kind": "mlp"}, "limits": {"max_attempts": 3}}
    return jobs.create(session, spec={}, resolved_spec=resolved, resource_class="cpu", dataset="digits", **changes)


def finding(**changes: Any) -> dict[str, Any]:
    made = Finding(
        code="vanishing",
        severity="warning",
        layer="blocks.0",
        first_step=10,
        last_step=100,
        evidence=Evidence(quantity="grad_norm", value=1e-5, threshold=1e-3, window=10, comparison="below"),
        remedies=(replacing("Use ReLU.", {"/network/activation": "relu"}),),
    )
    return {**made.model_dump(mode="json"), **changes}


def test_verdict_that_is_seen_again_widens_its_steps_and_is_told_once(database: Database) -> None:
    with database.writing.begin() as session:
        job_id = job(session).id
        verdicts.record(session, job_id, 1, finding())
    with database.writing.begin() as session:
        later = finding(first_step=20, last_step=200, severity="error", remedies=[])
        verdicts.record(session, job_id, 1, later)
        verdicts.record(session, job_id, 2, finding(last_step=150))
    with database.reading() as session:
        (row,) = verdicts.of_job(session, job_id)
        assert (row.first_step, row.last_step, row.attempt, row.severity) == (10, 200, 2, "warning")
        assert row.remedies == finding()["remedies"]
        (event,) = events.page(session, job_id, types=["verdict"])
        assert event.detail == {
            "code": "vanishing",
            "severity": "warning",
            "first_step": 10,
            "layer": "blocks.0",
            "verdict_id": row.id,
            "remedy": "Use ReLU.",
        }


def test_layers_and_the_whole_network_have_verdicts_of_their_own(database: Database) -> None:
    with database.writing.begin() as session:
        job_id, other = job(session).id, job(session).id
        for layer in (None, "blocks.0", "blocks.1", None):
            verdicts.record(session, job_id, 1, finding(layer=layer))
    with database.reading() as session:
        assert [row.layer for row in verdicts.of_job(session, job_id)] == ["", "blocks.0", "blocks.1"]
        assert verdicts.codes_of(session, [job_id, other]) == {job_id: {"vanishing"}, other: set()}


def test_verdict_of_another_job_is_not_found(database: Database) -> None:
    with database.writing.begin() as session:
        job_id, other = job(session).id, job(session).id
        verdicts.record(session, job_id, 1, finding())
        (row,) = verdicts.of_job(session, job_id)
        assert verdicts.get(session, job_id, row.id).id == row.id
        for wanted in ((other, row.id), (job_id, "vrd_" + 32 * "0")):
            with pytest.raises(NotFound):
                verdicts.get(session, *wanted)


def test_applications_outlive_the_fork_and_end_with_the_verdict(database: Database) -> None:
    with database.writing.begin() as session:
        job_id = job(session).id
        verdicts.record(session, job_id, 1, finding())
        (row,) = verdicts.of_job(session, job_id)
        forks = [job(session, forked_from=job_id).id for _ in range(2)]
        for fork in forks:
            verdicts.applied(session, row.id, job_id=fork, remedy=0)
            session.flush()
        session.delete(jobs.get(session, forks[0]))
        session.flush()
        found = verdicts.applications(session, [row.id])[row.id]
        assert [(application.job_id, fork and fork.id) for application, fork in found] == [
            (forks[0], None),
            (forks[1], forks[1]),
        ]
        verdict_id = row.id
        session.delete(jobs.get(session, job_id))
        session.flush()
        session.expunge_all()
        assert verdicts.of_job(session, job_id) == []
        assert verdicts.applications(session, [verdict_id]) == {verdict_id: []}
