"""T3: workers are frozen for three leases, with and without their trainers, and go on into a world that has moved."""

import signal
import time
from collections.abc import Callable

import psutil
import pytest

from tests.chaos.history import History, settle_accounts
from tests.chaos.scale import Scale
from tests.job_life.floor import LEASE_S, Floor, WorkerProcess, digits_job, is_alive, wait_until

FREEZES, FROZEN_LEASES, GONE_WITHIN_S = 50, 3, 10
JOBS = 2


def forgotten(worker: WorkerProcess) -> int:
    """How many attempts this worker has given up because they were no longer its own."""
    return worker.log.read_text().count("attempt_fenced")


@pytest.mark.chaos("T3")
@pytest.mark.floor_options(WORKER_SLOTS=str(JOBS))
def test_whoever_was_frozen_beyond_the_lease_is_fenced_and_gone(
    floor: Floor, history: History, scale: Scale, measured: Callable[..., None]
) -> None:
    floor.have_workers(3)
    endless = digits_job(training={"epochs": 100_000}, limits={"max_attempts": 100})
    ids = [floor.post(endless) for _ in range(JOBS)]
    for job_id in ids:
        history.acknowledge(job_id)
    gone_after, frozen = [], 0
    for freeze in range(scale.of(FREEZES)):
        job_id = ids[freeze % JOBS]
        for other in ids:
            floor.wait_for(other, "running")
        holder, before = floor.holder(job_id), floor.job(job_id).attempt
        held = [row for row in floor.open_attempts() if row.worker_pid == holder.pid]
        trainers = [psutil.Process(row.trainer_pid) for row in held]
        lost_before = forgotten(holder)
        floor.freeze(holder, job_id)
        if freeze % 2:
            for trainer in trainers:
                trainer.suspend()
        history.note("frozen", worker=holder.pid, trainers_too=bool(freeze % 2))
        time.sleep(FROZEN_LEASES * LEASE_S)
        wait_until(lambda job_id=job_id, before=before: floor.job(job_id).attempt > before)
        for stopped in [*trainers, psutil.Process(holder.pid)]:
            if is_alive(stopped):
                stopped.send_signal(signal.SIGCONT)
        thawed = time.monotonic()
        wait_until(lambda trainers=trainers: not any(map(is_alive, trainers)), GONE_WITHIN_S)
        gone_after.append(time.monotonic() - thawed)
        # Of its other job a lock may have been held, or the lease not yet been over: that end is not a late one.
        wait_until(lambda: forgotten(holder) > lost_before, GONE_WITHIN_S)  # noqa: B023
        frozen += forgotten(holder) - lost_before
        assert holder.alive
    for job_id in ids:
        floor.cancel(job_id)
        floor.wait_for(job_id, "cancelled")
    account = settle_accounts(floor, history)
    measured(
        f"{history.counts['frozen']} workers frozen for {FROZEN_LEASES} leases, every other one with its trainers",
        attempts_fenced=frozen,
        stale_writes=len(account.broken),
        slowest_zombie_gone_s=max(gone_after),
    )
    assert account.kept, account
