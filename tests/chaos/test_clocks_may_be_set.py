"""T20: the wall clock is set forwards and backwards while jobs run; no lease ends before its time.

With PostgreSQL the clock of one worker's machine is wrong; with SQLite there is one machine, whose clock is set for
everybody at once. Trainers and leases in a worker's memory use a clock that nobody can set.
"""

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select

from store.tables import Event
from tests.chaos.history import History, settle_accounts
from tests.chaos.scale import Scale
from tests.chaos.shifted_clock import ShiftedClock
from tests.job_life.floor import Floor, WorkerProcess, digits_job, wait_until

STEPS_S = (3600, 0, -60, 0, -3600, 7200)
LEASE_S = 3.0
LONG = digits_job(training={"epochs": 2000, "evaluate_every_epochs": 2000})


def shifted_worker(floor: Floor, clock: ShiftedClock) -> WorkerProcess:
    worker = floor.start_worker(**clock.environment)
    floor.workers.append(worker)
    wait_until(worker.is_ready, 90)
    return worker


def in_order(floor: Floor, job_id: str) -> bool:
    """Whether the job's history reads as it happened, whatever its clocks said."""
    with floor.database.reading() as session:
        query = select(Event.type, Event.detail).where(Event.job_id == job_id).order_by(Event.sequence)
        rows = list(session.execute(query))
    steps = [row.detail["step"] for row in rows if row.type == "checkpoint"]
    statuses = [row.detail["status"] for row in rows if row.type == "status"]
    return steps == sorted(steps) and statuses[:3] == ["queued", "starting", "running"]


@pytest.mark.chaos("T20")
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_no_lease_ends_before_its_time(
    database: str,
    new_floor: Callable[..., Floor],
    tmp_path: Path,
    rng: random.Random,
    history: History,
    scale: Scale,
    measured: Callable[..., None],
) -> None:
    clock = ShiftedClock(tmp_path)
    floor = new_floor(database, lease_s=LEASE_S)
    first = shifted_worker(floor, clock)
    if database == "sqlite":
        shifted_worker(floor, clock)  # the same machine
    else:
        floor.have_workers(2)  # another machine, whose clock is right
    ids = [floor.post({**LONG, "name": f"job {number}"}) for number in range(2)]
    for job_id in ids:
        history.acknowledge(job_id)
        floor.wait_for_checkpoint(job_id)
    for ahead_s in STEPS_S * scale.of(3):
        clock.set_ahead(ahead_s)
        history.note("clock_set", ahead_s=ahead_s)
        time.sleep(rng.uniform(1.0, 1.5) * LEASE_S)
    disturbed = sum(len(floor.attempts(job_id)) - 1 for job_id in ids)
    # A worker that really is gone is noticed by a clock that is wrong, too.
    victim = next(job_id for job_id in ids if floor.attempts(job_id)[-1].worker_pid == first.pid)
    os.kill(first.pid, signal.SIGKILL)
    first.process.wait()
    killed = time.monotonic()
    wait_until(lambda: floor.job(victim).attempt > 1 or floor.job(victim).status == "queued", 5 * LEASE_S)
    noticed_s = time.monotonic() - killed
    for job_id in ids:
        floor.cancel(job_id)
        wait_until(lambda job_id=job_id: floor.job(job_id).phase == "terminal", 30)
    account = settle_accounts(floor, history)
    measured(f"{history.counts['clock_set']} settings from -1 h to +2 h", disturbed=disturbed, dead_noticed_s=noticed_s)
    assert disturbed == 0
    assert noticed_s <= 1.5 * LEASE_S
    assert account.kept, account
    assert all(in_order(floor, job_id) for job_id in ids)
