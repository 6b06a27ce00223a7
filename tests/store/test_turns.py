"""Projects take turns: the one of which the fewest jobs run is served first, however many jobs others have queued."""

import threading
from collections.abc import Sequence

import pytest
from sqlalchemy import insert, select, update

from store import attempts, jobs
from store.attempts import Claim
from store.database import Database
from store.key_tables import Project
from store.tables import Job
from tests.api import lived_job

SPEC = {**lived_job.SPEC, "limits": {"max_attempts": 3}}


def known(database: Database, *names: str) -> None:
    with database.writing.begin() as session:
        session.execute(insert(Project), [{"name": name, "created_at": 0.0} for name in names])


def queued(database: Database, project: str, count: int = 1, *, priority: int = 0, of: str = "cpu") -> list[str]:
    with database.writing.begin() as session:
        return [
            jobs.create(
                session,
                spec={},
                resolved_spec=SPEC,
                resource_class=of,
                dataset="digits",
                project=project,
                priority=priority,
            ).id
            for _ in range(count)
        ]


def claimed(database: Database, *, most: int | None = None) -> Claim | None:
    with database.writing.begin() as session:
        return attempts.claim(
            session,
            worker_id="wrk_1",
            host="here",
            worker_pid=1,
            resource_class="cpu",
            lease_s=60,
            most_of_a_project=most,
        )


def served(database: Database, count: int, *, most: int | None = None) -> str:
    """The projects of the next claims."""
    won = [claimed(database, most=most) for _ in range(count)]
    return " ".join("-" if claim is None else project_of(database, claim) for claim in won)


def project_of(database: Database, claim: Claim) -> str:
    with database.reading() as session:
        return session.scalars(select(Job.project).where(Job.id == claim.job_id)).one()


def end(database: Database, project: str) -> None:
    """One of the project's running jobs fails."""
    with database.writing.begin() as session:
        running = select(Job.id, Job.attempt).where(Job.project == project, Job.phase == "active").limit(1)
        job_id, attempt = session.execute(running).one()
        attempts.fail(session, job_id, attempt, error={"kind": "diverged", "message": "", "fault": "user", "step": 1})


def test_thousand_jobs_of_one_project_delay_another_by_one_job_at_most(database: Database) -> None:
    known(database, "many", "few")
    queued(database, "many", 1000)
    assert served(database, 1) == "many"
    queued(database, "few", 3)
    assert served(database, 1) == "few", "two places, and one of them is free"
    for _ in range(2):
        end(database, "many")
        assert served(database, 1) == "many", "each has one: nobody runs more than the other"
        end(database, "few")
        assert served(database, 1) == "few"
    end(database, "few")
    assert served(database, 2) == "many many", "what nobody else wants is taken"


def test_one_place_alternates_between_projects(database: Database) -> None:
    known(database, "a", "b", "c")
    for project in "abc":
        queued(database, project, 3)
    order = ""
    for _ in range(9):
        order += (project := served(database, 1))
        end(database, project)
    assert order == "abcabcabc", "who was served longest ago, then in turn"


def test_priority_comes_before_fairness_and_age_within_a_project(database: Database) -> None:
    known(database, "a", "b")
    first, second = queued(database, "a", 2)
    urgent = queued(database, "a", 1, priority=5)
    queued(database, "b", 1)
    won = claimed(database)
    assert won is not None and won.job_id == urgent[0]
    assert served(database, 1) == "b"
    assert [claim.job_id for claim in (claimed(database), claimed(database)) if claim] == [first, second]


def test_jobs_of_a_project_that_nobody_wrote_down_are_claimed_all_the_same(database: Database) -> None:
    queued(database, "unknown", 2)
    assert served(database, 3) == "unknown unknown -"


def test_project_at_its_cap_waits_and_lets_others_go_first(database: Database) -> None:
    known(database, "a", "b")
    queued(database, "a", 4, priority=9)
    queued(database, "b", 1)
    assert served(database, 4, most=2) == "a a b -"
    end(database, "a")
    assert served(database, 2, most=2) == "a -"


def test_other_classes_and_jobs_that_are_not_queued_have_no_turn(database: Database) -> None:
    known(database, "a", "b")
    queued(database, "a", 1, of="gpu")
    (paused,) = queued(database, "b", 1)
    with database.writing.begin() as session:
        session.execute(update(Job).where(Job.id == paused).values(status="paused", desired_state="pause"))
    assert served(database, 1) == "-"


@pytest.mark.parametrize("projects", [("a",), ("a", "b", "c", "d", "e", "f")])
def test_workers_that_claim_at_once_each_win_a_job_of_their_own(database: Database, projects: Sequence[str]) -> None:
    known(database, *projects)
    for project in projects:
        queued(database, project, 6 // len(projects))
    won: list[Claim | None] = []
    workers = [threading.Thread(target=lambda: won.append(claimed(database, most=6))) for _ in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len({claim.job_id for claim in won if claim is not None}) == 6


def test_cap_holds_when_many_claim_at_once(database: Database) -> None:
    known(database, "a")
    queued(database, "a", 6)
    won: list[Claim | None] = []
    workers = [threading.Thread(target=lambda: won.append(claimed(database, most=2))) for _ in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sum(claim is not None for claim in won) == 2
