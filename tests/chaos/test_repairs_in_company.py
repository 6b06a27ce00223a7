"""T28: any number of reconcilers and dispatchers at once do what one of each does."""

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from store import attempts, settlement
from store.database import Database, connect
from store.tables import Job
from tests.chaos.history import History, settle_accounts
from tests.chaos.scale import Scale
from tests.job_life.floor import Floor, digits_job

JOBS, COMPANY = 200, 4
SPEC = digits_job(limits={"max_attempts": 2})


class Company:
    """Dispatchers that claim under leases which are over at once, and reconcilers that give back, until all is over."""

    def __init__(self, url: str, jobs: int) -> None:
        self.taken: Counter[str] = Counter()
        self.settled: Counter[str] = Counter()
        self._url = url
        self._jobs = jobs
        self._failed: list[Exception] = []

    def work(self, pairs: int) -> None:
        """So many dispatchers and as many reconcilers at once, each with a connection of its own."""
        together = threading.Barrier(2 * pairs)
        roles = [self._dispatch, self._repair] * pairs
        threads = [
            threading.Thread(target=self._play, args=(role, f"wrk_{n}", together)) for n, role in enumerate(roles)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert self._failed == []

    def _play(self, role: Callable[[Session, str], None], name: str, together: threading.Barrier) -> None:
        database = connect(self._url, role="worker")
        try:
            together.wait()
            while not self._failed and self._ended(database) < self._jobs:
                with database.writing.begin() as session:
                    role(session, name)
        except Exception as error:  # threads do not fail tests by themselves
            self._failed.append(error)
        finally:
            database.dispose()

    def _dispatch(self, session: Session, name: str) -> None:
        won = attempts.claim(session, worker_id=name, host="here", worker_pid=1, resource_class="cpu", lease_s=-1)
        if won is not None:
            self.taken[won.job_id] += 1

    def _repair(self, session: Session, name: str) -> None:
        self.settled.update(job.job_id for job in settlement.expire_leases(session))

    def _ended(self, database: Database) -> int:
        with database.reading() as session:
            return session.scalar(select(func.count()).where(Job.phase == "terminal")) or 0


def lives(floor: Floor, jobs: int, pairs: int, history: History) -> list[Counter[Any]]:
    """How jobs ended that lost every lease, how often each was claimed, and how often it was given back."""
    ids = [floor.post(SPEC) for _ in range(jobs)]
    for job_id in ids:
        history.acknowledge(job_id)
    company = Company(floor.settings.resolved_database_url, len(history.acknowledged))
    company.work(pairs)
    rows = [floor.job(job_id) for job_id in ids]
    ends = Counter((row.status, row.attempt, row.charged_attempts, (row.error or {}).get("kind")) for row in rows)
    return [ends, Counter(company.taken.values()), Counter(company.settled.values())]


@pytest.mark.chaos("T28")
def test_four_reconcilers_and_dispatchers_do_what_one_does(
    floor: Floor, history: History, scale: Scale, measured: Callable[..., None]
) -> None:
    jobs = scale.of(JOBS)
    alone = lives(floor, jobs, 1, history)
    in_company = lives(floor, jobs, COMPANY, history)
    account = settle_accounts(floor, history)
    measured(
        f"{jobs} jobs that lose every lease, {COMPANY} of each", ends=dict(in_company[0]), as_one=in_company == alone
    )
    assert account.kept, account
    assert alone == [Counter({("failed", 2, 2, "worker_lost"): jobs}), Counter({2: jobs}), Counter({2: jobs})]
    assert in_company == alone
