"""What each write of a worker changes, to the column, and what it leaves alone: other jobs, other attempts, the end."""

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import pytest
from sqlalchemy import delete, select, update

from store import attempts, events, jobs, settlement
from store.database import Database
from store.tables import Attempt, Checkpoint, Job

Case = TypeVar("Case")
RESOLVED: dict[str, Any] = {
    "name": None,
    "labels": {},
    "learner": {"kind": "backprop"},
    "network": {"kind": "mlp"},
    "limits": {"max_attempts": 2, "max_pending_s": None},
}
CLOCKS = ("reason_since", "queued_at", "started_at", "finished_at", "lease_expires_at")
CLIENTS_STATUSES = ("starting", "running", "pausing", "cancelling", "finalizing")
ERROR = {"kind": "diverged", "fault": "user", "message": "The loss is NaN.", "step": 3}


def created(database: Database, *, resource_class: str = "cpu", **columns: Any) -> str:
    with database.writing.begin() as session:
        made = jobs.create(session, spec={}, resolved_spec=RESOLVED, resource_class=resource_class, dataset="digits").id
        if columns:
            session.execute(update(Job).where(Job.id == made).values(**columns))
    return made


def claimed(database: Database, worker: str = "wrk_1", resource_class: str = "cpu") -> attempts.Claim | None:
    with database.writing.begin() as session:
        return attempts.claim(
            session, worker_id=worker, host="here", worker_pid=7, resource_class=resource_class, lease_s=30.0
        )


def held(database: Database, **columns: Any) -> attempts.Claim:
    """A claimed job in the middle of its life, and another one of another worker beside it."""
    for _ in range(2):
        created(database)
    claim, other = claimed(database), claimed(database, "wrk_2")
    assert claim is not None and other is not None
    if columns:
        with database.writing.begin() as session:
            session.execute(update(Job).where(Job.id == claim.job_id).values(**columns))
    return claim


def do(database: Database, act: Any, *arguments: Any, **options: Any) -> Any:
    with database.writing.begin() as session:
        return act(session, *arguments, **options)


def each_alone(database: Database, cases: Sequence[Case]) -> Iterator[Case]:
    """One case after the other, each on an empty database: a new PostgreSQL for each would take a second."""
    for case in cases:
        do(database, lambda session: session.execute(delete(Job)))
        yield case


def rows(database: Database) -> dict[Any, dict[str, Any]]:
    """Every column of every job and attempt; events as lists."""
    with database.reading() as session:
        found: dict[Any, dict[str, Any]] = {
            job.id: {column.name: getattr(job, column.name) for column in Job.__table__.columns}
            for job in session.scalars(select(Job))
        }
        for row in session.scalars(select(Attempt)):
            found[row.job_id, row.number] = {
                column.name: getattr(row, column.name) for column in Attempt.__table__.columns
            }
        for job_id in [key for key in found if isinstance(key, str)]:
            told = events.page(session, job_id)
            found["events", job_id] = {str(event.sequence): (event.type, event.attempt, event.detail) for event in told}
    return found


def changes(database: Database, before: dict[Any, dict[str, Any]]) -> dict[Any, dict[str, Any]]:
    """What is new since ``before``; times are said as whether there is one."""
    found = {}
    for key, row in rows(database).items():
        old = before.get(key, {})
        new = {name: value for name, value in row.items() if name not in old or old[name] != value}
        for name in (*CLOCKS, "ended_at"):
            if name in new:
                new[name] = new[name] is not None
        if new:
            found[key] = new
    return found


# The claim


def test_claim_changes_these_columns_and_no_other(database: Database) -> None:
    created(database)
    job_id = created(database, priority=1)
    before = rows(database)
    claim = claimed(database)
    assert claim == attempts.Claim(job_id, 1, RESOLVED, ())
    assert changes(database, before) == {
        job_id: {
            "status": "starting",
            "phase": "active",
            "attempt": 1,
            "worker_id": "wrk_1",
            "lease_expires_at": True,
            "started_at": True,
            "reason_code": "starting",
            "reason_message": "A worker prepares the data and starts the training process.",
            "reason_since": True,
            "version": 2,
            "event_sequence": 2,
        },
        (job_id, 1): {
            "job_id": job_id,
            "number": 1,
            "worker_id": "wrk_1",
            "host": "here",
            "worker_pid": 7,
            "trainer_pid": None,
            "device": None,
            "started_at": True,
            "ended_at": False,
            "exit_cause": None,
            "resumed_from_step": None,
            "cost": None,
        },
        ("events", job_id): {"2": ("status", 1, {"status": "starting"})},
    }
    with database.reading() as session:
        row = jobs.get(session, job_id)
        assert row.lease_expires_at is not None and row.started_at is not None
        assert row.lease_expires_at - row.started_at == pytest.approx(30.0, abs=1.0)


def test_only_a_queued_job_that_is_wanted_and_of_the_class_is_claimed(database: Database) -> None:
    created(database, resource_class="gpu")
    created(database, desired_state="cancel")
    created(database, desired_state="pause")
    for status in ("paused", *CLIENTS_STATUSES, "failed", "cancelled", "expired"):
        created(database, status=status)
    before = rows(database)
    assert claimed(database) is None
    assert changes(database, before) == {}
    other = claimed(database, resource_class="gpu")
    assert other is not None


def test_job_that_starts_again_keeps_its_first_start_and_brings_its_checkpoints_newest_first(
    database: Database,
) -> None:
    job_id = created(database, started_at=5.0, attempt=3)
    stranger = created(database, status="paused")
    with database.writing.begin() as session:
        for number, (of_job, step) in enumerate(((job_id, 10), (job_id, 30), (job_id, 30), (stranger, 99))):
            session.add(
                Checkpoint(
                    id=f"ckpt_{number}",
                    job_id=of_job,
                    attempt=1,
                    step=step,
                    path="p",
                    sha256="s",
                    size_bytes=1,
                    created_at=1.0,
                )
            )
    claim = claimed(database)
    assert claim is not None and (claim.job_id, claim.attempt) == (job_id, 4)
    assert [checkpoint.id for checkpoint in claim.checkpoints] == ["ckpt_2", "ckpt_1", "ckpt_0"]
    assert rows(database)[job_id]["started_at"] == 5.0


def test_jobs_of_one_priority_and_moment_are_claimed_by_id(database: Database) -> None:
    made = [created(database, created_at=1.0) for _ in range(3)]
    older = created(database, created_at=0.5)
    assert [claim.job_id for _ in range(4) if (claim := claimed(database))] == [older, *made]


# The lease


def test_heartbeat_renews_the_leases_that_are_held_and_says_what_is_wanted(database: Database) -> None:
    claim = held(database, lease_expires_at=1.0, desired_state="pause")
    others = [key for key in rows(database) if isinstance(key, str) and key != claim.job_id]
    before = rows(database)
    asked = [(claim.job_id, 1), (claim.job_id, 2), (others[0], 9), ("job_none", 1)]
    assert do(database, attempts.heartbeat, asked, lease_s=60.0) == {(claim.job_id, 1): "pause"}
    assert changes(database, before) == {claim.job_id: {"lease_expires_at": True}}
    with database.reading() as session:
        after = jobs.get(session, claim.job_id).lease_expires_at
        started = session.get_one(Attempt, (claim.job_id, 1)).started_at
    assert after is not None and after - started == pytest.approx(60.0, abs=3.0)


def test_desired_states_are_those_of_the_attempts_that_are_held(database: Database) -> None:
    claim = held(database, desired_state="cancel")
    over = created(database, status="cancelled", attempt=1)
    with database.reading() as session:
        asked = [(claim.job_id, 1), (claim.job_id, 2), (over, 1)]
        assert attempts.desired_states(session, asked) == {(claim.job_id, 1): "cancel"}
        assert attempts.desired_states(session, [(claim.job_id, 2)]) == {}


# What a trainer reports


def test_record_moves_the_step_forward_alone(database: Database) -> None:
    claim = held(database, step=5)
    for step, expected in ((4, 5), (5, 5), (6, 6)):
        before = rows(database)
        assert do(database, attempts.record, claim.job_id, 1, step=step)
        new = {"version": before[claim.job_id]["version"] + 1}
        assert changes(database, before) == {claim.job_id: new | ({"step": 6} if expected == 6 else {})}
    before = rows(database)
    assert do(database, attempts.record, claim.job_id, 1, step=0, progress={"step": 6}, diagnostics={"a": 1})
    assert changes(database, before)[claim.job_id].keys() == {"progress", "diagnostics", "version"}
    before = rows(database)
    assert not do(database, attempts.record, claim.job_id, 2, step=9)
    assert changes(database, before) == {}


def test_start_is_written_to_this_attempt(database: Database) -> None:
    claim = held(database)
    before = rows(database)
    told = {"step": 3, "device": "cpu", "trainer_pid": 11, "receipt": {"threads": 1}}
    do(database, attempts.mark_started, claim.job_id, 1, **told)
    assert changes(database, before) == {
        claim.job_id: {
            "status": "running",
            "receipt": {"threads": 1},
            "reason_code": None,
            "reason_message": None,
            "reason_since": False,
            "version": 3,
            "event_sequence": 3,
        },
        (claim.job_id, 1): {"resumed_from_step": 3, "device": "cpu", "trainer_pid": 11},
        ("events", claim.job_id): {"3": ("status", 1, {"status": "running"})},
    }
    before = rows(database)
    do(database, attempts.mark_started, claim.job_id, 1, **told)
    assert changes(database, before) == {}, "it runs already"


def test_start_of_a_job_that_is_elsewhere_moves_nothing(database: Database) -> None:
    for status in each_alone(database, ["running", "pausing", "cancelling", "finalizing", "queued", "failed"]):
        claim = held(database, status=status, error=ERROR)
        before = rows(database)
        do(database, attempts.mark_started, claim.job_id, 1, step=0, device="cpu", trainer_pid=1, receipt={"a": 1})
        assert "status" not in changes(database, before).get(claim.job_id, {})
        before = rows(database)
        do(database, attempts.mark_started, claim.job_id, 5, step=0, device="cpu", trainer_pid=1, receipt={"b": 1})
        assert changes(database, before) == {}


def test_result_is_final_unless_a_cancellation_came_first(database: Database) -> None:
    for status in each_alone(database, CLIENTS_STATUSES):
        claim = held(database, status=status, desired_state="cancel" if status == "cancelling" else "run")
        wins = status in ("starting", "running", "pausing")
        before = rows(database)
        assert not do(database, attempts.mark_finalizing, claim.job_id, 2)
        assert changes(database, before) == {}
        assert do(database, attempts.mark_finalizing, claim.job_id, 1) is wins
        moved = {"status": "finalizing", "version": 3, "event_sequence": 3}
        told = {"3": ("status", 1, {"status": "finalizing"})}
        assert changes(database, before) == ({claim.job_id: moved, ("events", claim.job_id): told} if wins else {})


def test_success_is_written_once_to_a_job_that_was_final(database: Database) -> None:
    for status in each_alone(database, CLIENTS_STATUSES):
        claim = held(database, status=status)
        found = {"result": {"cost": {"wall_s": 1.0}}, "receipt": {"r": 1}, "diagnostics": {"d": 1}}
        before = rows(database)
        assert not do(database, attempts.succeed, claim.job_id, 2, **found)
        assert changes(database, before) == {}
        assert do(database, attempts.succeed, claim.job_id, 1, **found) is (status == "finalizing")
        if status != "finalizing":
            assert changes(database, before) == {}
            continue
        assert changes(database, before) == {
            claim.job_id: {
                "status": "succeeded",
                "phase": "terminal",
                **found,
                "lease_expires_at": False,
                "worker_id": None,
                "finished_at": True,
                "reason_code": None,
                "reason_message": None,
                "reason_since": False,
                "version": 3,
                "event_sequence": 4,
            },
            (claim.job_id, 1): {"ended_at": True, "exit_cause": "succeeded", "cost": {"wall_s": 1.0}},
            ("events", claim.job_id): {
                "3": ("status", 1, {"status": "succeeded"}),
                "4": ("end", 1, {"status": "succeeded"}),
            },
        }
        before = rows(database)
        assert not do(database, attempts.succeed, claim.job_id, 1, **found)
        assert changes(database, before) == {}


def test_finding_ends_a_job_unless_a_cancellation_came_first(database: Database) -> None:
    for status in each_alone(database, CLIENTS_STATUSES):
        claim = held(database, status=status)
        before = rows(database)
        assert not do(database, attempts.fail, claim.job_id, 2, error=ERROR, cost={"c": 1})
        assert changes(database, before) == {}
        assert do(database, attempts.fail, claim.job_id, 1, error=ERROR, cost={"c": 1}) is (status != "cancelling")
        if status == "cancelling":
            assert changes(database, before) == {}
            continue
        assert changes(database, before) == {
            claim.job_id: {
                "status": "failed",
                "phase": "terminal",
                "error": ERROR,
                "lease_expires_at": False,
                "worker_id": None,
                "finished_at": True,
                "reason_code": "diverged",
                "reason_message": "The loss is NaN.",
                "version": 3,
                "event_sequence": 4,
                **({"reason_since": True} if before[claim.job_id]["reason_since"] else {}),
            },
            (claim.job_id, 1): {"ended_at": True, "exit_cause": "diverged", "cost": {"c": 1}},
            ("events", claim.job_id): {
                "3": ("status", 1, {"status": "failed"}),
                "4": ("end", 1, {"status": "failed"}),
            },
        }


def test_attempts_are_listed_oldest_first(database: Database) -> None:
    claim = held(database)
    assert do(database, settlement.settle, claim.job_id, 1, charge=False, code="preempted", message="m")
    again = claimed(database)
    assert again is not None and again.job_id == claim.job_id
    with database.reading() as session:
        assert [row.number for row in attempts.of_job(session, claim.job_id)] == [1, 2]


# Giving back


SETTLED = [  # status, charge, charged before -> status, whether it is over
    ("starting", True, 0, "queued", False),
    ("running", True, 0, "queued", False),
    ("running", True, 1, "failed", True),
    ("running", True, 2, "failed", True),
    ("running", False, 1, "queued", False),
    ("finalizing", True, 1, "failed", True),
    ("pausing", False, 0, "paused", False),
    ("pausing", True, 1, "paused", False),
    ("cancelling", False, 0, "cancelled", True),
    ("cancelling", True, 1, "cancelled", True),
]


def test_job_that_is_given_back_changes_these_columns_and_no_other(database: Database) -> None:
    for status, charge, charged, then, over in each_alone(database, SETTLED):
        claim = held(database, status=status, charged_attempts=charged, reason_code="why", reason_message="Because.")
        before = rows(database)
        options = {"charge": charge, "code": "crashed", "message": "It died.", "cost": {"c": 1}}
        assert do(database, settlement.settle, claim.job_id, 2, **options) is None
        assert changes(database, before) == {}
        settled = do(database, settlement.settle, claim.job_id, 1, **options)
        assert settled == settlement.Settled(claim.job_id, 1, then)
        asked_for = status in ("pausing", "cancelling")
        expected: dict[str, Any] = {
            "status": then,
            "phase": "terminal" if over else "pending",
            "worker_id": None,
            "lease_expires_at": False,
            "queued_at": True,
            "reason_since": True,
            "version": 3,
            "event_sequence": 4 if over else 3,
        }
        if charge:
            expected["charged_attempts"] = charged + 1
        if then == "failed":
            expected["error"] = {"kind": "crashed", "fault": "system", "message": "It died.", "step": None}
        if not asked_for:
            expected |= {"reason_code": "crashed", "reason_message": "It died."}
        if over:
            expected["finished_at"] = True
        told = {"3": ("status", 1, {"status": then, "reason": "crashed"})}
        if over:
            told["4"] = ("end", 1, {"status": then})
        assert changes(database, before) == {
            claim.job_id: expected,
            (claim.job_id, 1): {"ended_at": True, "exit_cause": "crashed", "cost": {"c": 1}},
            ("events", claim.job_id): told,
        }
        before = rows(database)
        assert do(database, settlement.settle, claim.job_id, 1, **options) is None, "nobody gives it back twice"
        assert changes(database, before) == {}


def test_lease_that_ran_out_is_given_back_with_a_charge_and_a_live_one_is_not(database: Database) -> None:
    claim = held(database, lease_expires_at=1.0)
    created(database, lease_expires_at=1.0)  # queued: a stale lease of a job that nobody holds
    created(database, status="cancelled", lease_expires_at=1.0)
    before = rows(database)
    assert do(database, settlement.expire_leases) == [settlement.Settled(claim.job_id, 1, "queued")]
    changed = changes(database, before)
    assert set(changed) == {claim.job_id, (claim.job_id, 1), ("events", claim.job_id)}
    assert changed[claim.job_id]["charged_attempts"] == 1
    assert changed[claim.job_id]["reason_code"] == changed[claim.job_id, 1]["exit_cause"] == "worker_lost"
    assert "lease" in changed[claim.job_id]["reason_message"]
    assert "cost" not in changed[claim.job_id, 1]
    assert do(database, settlement.expire_leases) == []


def test_only_a_queued_job_that_waited_longer_than_it_would_expires(database: Database) -> None:
    late = created(database, max_pending_s=10.0, queued_at=1.0)
    created(database, max_pending_s=1e12, queued_at=1.0)
    created(database, max_pending_s=None, queued_at=1.0)
    created(database, max_pending_s=10.0, queued_at=1.0, status="paused")
    created(database, max_pending_s=60.0)
    before = rows(database)
    assert do(database, settlement.expire_pending) == [late]
    assert changes(database, before) == {
        late: {
            "status": "expired",
            "phase": "terminal",
            "finished_at": True,
            "reason_code": "expired",
            "reason_message": "No worker took it within max_pending_s.",
            "reason_since": True,
            "version": 2,
            "event_sequence": 3,
        },
        ("events", late): {"2": ("status", 0, {"status": "expired"}), "3": ("end", 0, {"status": "expired"})},
    }
    assert do(database, settlement.expire_pending) == []
