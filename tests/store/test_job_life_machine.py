"""T27: a job's life as a state machine. Whatever clients, workers, reconcilers and crashes do, and in whatever order,
the promises hold: one terminal state, attempts only rise, one valid lease at most, a result means success, and a
write that is fenced changes nothing.

AFTERPROP_LIFE_EXAMPLES says how many lives are tried: 60 by default on SQLite, a twentieth of it on PostgreSQL.
"""

import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, precondition, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine
from sqlalchemy import delete, event, inspect, select, update
from sqlalchemy.orm import Session

from store import attempts, jobs, settlement
from store.database import Database, now_s
from store.errors import IllegalTransition
from store.tables import TERMINAL, Attempt, Event, Job

EXAMPLES = int(os.environ.get("AFTERPROP_LIFE_EXAMPLES", "60"))
MAX_ATTEMPTS = 3
SPEC: dict[str, Any] = {
    "name": None,
    "labels": {},
    "learner": {"kind": "backprop"},
    "network": {"kind": "mlp"},
}
WORKER: dict[str, Any] = {"worker_id": "wrk_1", "host": "here", "worker_pid": 1}
MOST_JOBS = 4
Held = tuple[str, int]


def _heartbeat(session: Session, job_id: str, attempt: int) -> bool:
    return bool(attempts.heartbeat(session, [(job_id, attempt)], lease_s=1000))


def _record(session: Session, job_id: str, attempt: int) -> bool:
    return attempts.record(session, job_id, attempt, step=7)


def _start(session: Session, job_id: str, attempt: int) -> bool:
    """As the recorder does it: behind the fence of its transaction."""
    if not attempts.record(session, job_id, attempt, step=0):
        return False
    attempts.mark_started(session, job_id, attempt, step=0, device="cpu", trainer_pid=2, receipt={})
    return True


def _finish(session: Session, job_id: str, attempt: int) -> bool:
    result: dict[str, Any] = {"cost": {}}
    return attempts.succeed(session, job_id, attempt, result=result, receipt={"attempt": attempt}, diagnostics={})


def _find_a_fault(session: Session, job_id: str, attempt: int) -> bool:
    error = {"kind": "diverged", "fault": "user", "message": "The loss is NaN.", "step": 3}
    return attempts.fail(session, job_id, attempt, error=error)


WRITES: dict[str, Callable[[Session, str, int], bool]] = {
    "heartbeat": _heartbeat,
    "record": _record,
    "start": _start,
    "reach a result": attempts.mark_finalizing,
    "finish": _finish,
    "find a fault": _find_a_fault,
}
MAY_COME_TOO_EARLY = ("reach a result", "finish", "find a fault")
"""Refused to a valid attempt too, where its job does not stand there: cancelled meanwhile, or no result yet."""


class LifeOfJobs(RuleBasedStateMachine):
    """A few jobs, and workers that may hold attempts which are long no longer theirs."""

    database: Database
    held = Bundle("held")
    """Attempts as their workers remember them: a worker that was frozen still believes in its own."""

    @initialize(target=held)
    def begin(self) -> Held:
        """Two jobs, one of them claimed: most of what may go wrong begins there."""
        self.ends: dict[str, dict[str, Any]] = {}
        self.highest: dict[str, int] = {}
        self.newest: dict[str, int] = {}
        with self.database.writing.begin() as session:
            session.execute(delete(Job))
        self._create(max_pending_s=None)
        self._create(max_pending_s=None)
        return self._claim()

    # What clients do.
    @precondition(lambda self: len(self.highest) < MOST_JOBS)
    @rule(max_pending_s=st.sampled_from([None, -1.0]))
    def submit(self, max_pending_s: float | None) -> None:
        self._create(max_pending_s=max_pending_s)

    @rule(data=st.data(), verb=st.sampled_from([jobs.cancel, jobs.pause, jobs.resume]))
    def ask(self, data: st.DataObject, verb: Callable[..., tuple[Job, bool]]) -> None:
        job_id = data.draw(st.sampled_from(sorted(self.highest)))
        before = self._row(job_id)
        try:
            with self.database.writing.begin() as session:
                _, changed = verb(session, job_id)
            assert changed == (self._row(job_id) != before)
        except IllegalTransition:
            assert self._row(job_id) == before

    # What workers do.
    @precondition(lambda self: self._is_any_queued())
    @rule(target=held)
    def claim(self) -> Held:
        return self._claim()

    @rule(attempt=held, what=st.sampled_from(sorted(WRITES)))
    def work(self, attempt: Held, what: str) -> None:
        write = WRITES[what]
        self._write(attempt, lambda session: write(session, *attempt), may_refuse=what in MAY_COME_TOO_EARLY)

    @rule(attempt=consumes(held), charge=st.booleans())
    def crash(self, attempt: Held, charge: bool) -> None:
        charged = self._row(attempt[0])["charged_attempts"]
        self._write(
            attempt,
            lambda session: (
                settlement.settle(session, *attempt, charge=charge, code="crashed", message="It died.") is not None
            ),
        )
        assert self._row(attempt[0])["charged_attempts"] in (charged, charged + charge)

    # What time does.
    @rule(data=st.data(), loses=st.booleans())
    def time_passes(self, data: st.DataObject, loses: bool) -> None:
        """A worker may not have been heard of in time; a reconciler looks."""
        if loses:
            frozen = data.draw(st.sampled_from(sorted(self.newest)))
            with self.database.writing.begin() as session:
                lost = update(Job).where(Job.id == frozen, Job.phase == "active")
                session.execute(lost.values(lease_expires_at=now_s() - 1))
        with self.database.writing.begin() as session:
            overdue = set(session.scalars(select(Job.id).where(Job.phase == "active", Job.lease_expires_at < now_s())))
            settled = settlement.expire_leases(session)
            late = settlement.expire_pending(session)
        assert {job.job_id for job in settled} == overdue
        assert all(job_id not in self.ends for job_id in late)

    def _create(self, *, max_pending_s: float | None) -> None:
        resolved = {**SPEC, "limits": {"max_attempts": MAX_ATTEMPTS, "max_pending_s": max_pending_s}}
        with self.database.writing.begin() as session:
            job = jobs.create(session, spec={}, resolved_spec=resolved, resource_class="cpu", dataset="digits")
        self.highest[job.id] = 0

    def _claim(self) -> Held:
        with self.database.writing.begin() as session:
            won = attempts.claim(session, **WORKER, resource_class="cpu", lease_s=1000)
        assert won is not None
        assert won.attempt == self.highest[won.job_id] + 1
        assert won.job_id not in self.ends
        self.newest[won.job_id] = won.attempt
        return won.job_id, won.attempt

    def _is_any_queued(self) -> bool:
        with self.database.reading() as session:
            return session.execute(select(Job.id).where(Job.status == "queued").limit(1)).first() is not None

    def _row(self, job_id: str) -> dict[str, Any]:
        with self.database.reading() as session:
            job = session.get_one(Job, job_id)
            return {column.key: getattr(job, column.key) for column in inspect(Job).columns}

    def _write(self, attempt: Held, write: Callable[[Any], bool], *, may_refuse: bool = False) -> None:
        """A worker writes. Its attempt is the fence: a late one must be refused, and must change nothing at all."""
        job_id, number = attempt
        before = self._row(job_id)
        valid = before["phase"] == "active" and before["attempt"] == number
        with self.database.writing.begin() as session:
            written = write(session)
        if not valid:
            assert not written
        if not written:
            assert self._row(job_id) == before
        if valid and not may_refuse:
            assert written

    @invariant()
    def promises_hold(self) -> None:
        with self.database.reading() as session:
            rows = list(session.scalars(select(Job)))
            for job in rows:
                self._look_at(job, list(session.scalars(select(Attempt).where(Attempt.job_id == job.id))))
                if job.status in TERMINAL:
                    ends = session.scalars(select(Event.sequence).where(Event.job_id == job.id, Event.type == "end"))
                    assert len(ends.all()) == 1
        assert {job.id for job in rows} == set(self.highest)

    def _look_at(self, job: Job, executions: list[Attempt]) -> None:
        assert job.attempt >= self.highest[job.id], "an attempt was taken back"
        self.highest[job.id] = job.attempt
        assert (job.result is not None) == (job.status == "succeeded")
        assert (job.lease_expires_at is not None) == (job.worker_id is not None) == (job.phase == "active")
        assert (job.finished_at is not None) == (job.phase == "terminal")
        assert sorted(row.number for row in executions) == list(range(1, job.attempt + 1))
        open_ones = [row.number for row in executions if row.ended_at is None]
        assert open_ones == ([job.attempt] if job.phase == "active" else []), "one valid lease at most"
        assert sum(row.exit_cause == "succeeded" for row in executions) == (job.status == "succeeded")
        assert job.charged_attempts <= min(job.attempt, MAX_ATTEMPTS)
        if job.phase == "terminal":
            end = {"status": job.status, "attempt": job.attempt, "version": job.version, "receipt": job.receipt}
            assert self.ends.setdefault(job.id, end) == end, "a terminal state changed"


def live(database: Database, examples: int, *phases: Phase) -> None:
    if database.is_sqlite:  # what is on trial is not whether the disk keeps its word
        event.listen(database.engine, "connect", lambda raw, _: raw.execute("PRAGMA synchronous=OFF"))
        database.dispose()

    class OnThisDatabase(LifeOfJobs):
        pass

    OnThisDatabase.database = database
    run_machine(
        OnThisDatabase,
        settings=settings(
            max_examples=examples,
            stateful_step_count=20,
            deadline=None,
            derandomize=bool(phases),
            phases=phases or tuple(Phase),
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.timeout(3600)
def test_promises_hold_whatever_happens_in_whatever_order(database: Database) -> None:
    live(database, EXAMPLES if database.is_sqlite else max(10, EXAMPLES // 20))


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_machine_finds_a_fence_that_is_down(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control: without the attempt in its condition a late write is taken, and that must be noticed."""

    def forgets_the_attempt(job_id: str, attempt: int) -> Any:
        return (Job.id == job_id) & (Job.phase == "active")

    monkeypatch.setattr(attempts, "held", forgets_the_attempt)
    monkeypatch.setattr(settlement, "held", forgets_the_attempt)
    with pytest.raises(AssertionError):
        live(database, 200, Phase.generate)
