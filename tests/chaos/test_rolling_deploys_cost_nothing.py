"""T14: workers are stopped and replaced one after the other while jobs run: no step is lost, no attempt is charged."""

import signal
import time
from collections.abc import Callable
from itertools import pairwise

import pytest
from sqlalchemy import select

from store.tables import Event
from tests.chaos.history import History, settle_accounts
from tests.chaos.scale import Scale
from tests.job_life.floor import Floor, digits_job, wait_until

DEPLOYS, EXIT_WITHIN_S = 10, 30


def steps_lost(floor: Floor, job_id: str) -> list[int]:
    """For each attempt that trained and the next one that did: steps that were reported and are done again."""
    reported: dict[int, int] = {}
    with floor.database.reading() as session:
        for event in session.scalars(select(Event).where(Event.job_id == job_id, Event.type == "progress")):
            reported[event.attempt] = max(reported.get(event.attempt, 0), event.detail["step"])
    begun = [row for row in floor.attempts(job_id) if row.resumed_from_step is not None]
    return [reported.get(row.number, 0) - int(after.resumed_from_step or 0) for row, after in pairwise(begun)]


@pytest.mark.chaos("T14")
@pytest.mark.floor_options(WORKER_SLOTS="2", lease_s=10.0)
def test_stopped_workers_hand_their_jobs_on_without_a_loss(
    floor: Floor, history: History, scale: Scale, measured: Callable[..., None]
) -> None:
    floor.have_workers(2)
    # So rare that only the checkpoint of the stop itself can be the one that is continued from.
    endless = digits_job(training={"epochs": 100_000, "checkpoint_every_s": 3600})
    ids = [floor.post(endless) for _ in range(3)]
    for job_id in ids:
        history.acknowledge(job_id)
    exits = []
    for deploy in range(scale.of(DEPLOYS, least=3)):
        for job_id in ids[:2]:
            wait_until(lambda job_id=job_id: floor.job(job_id).status == "running", 120)
        time.sleep(0.5)
        holder = floor.holder(ids[deploy % 2])
        given_up = [row for row in floor.open_attempts() if row.worker_pid == holder.pid]
        began = time.monotonic()
        holder.process.send_signal(signal.SIGTERM)
        assert holder.process.wait(EXIT_WITHIN_S) == 0
        exits.append(time.monotonic() - began)
        history.note("worker_stopped", exit_s=exits[-1])
        floor.have_workers(2)
        for row in given_up:
            wait_until(lambda row=row: floor.job(row.job_id).attempt > row.number, 60)
    charged = sum(floor.job(job_id).charged_attempts for job_id in ids)
    for job_id in ids:
        floor.cancel(job_id)
        floor.wait_for(job_id, "cancelled")
    account = settle_accounts(floor, history)
    lost_steps = [lost for job_id in ids for lost in steps_lost(floor, job_id)]
    measured(
        f"{len(exits)} workers stopped under load",
        slowest_exit_s=max(exits),
        jobs_handed_on=len(lost_steps),
        most_steps_lost=max(lost_steps),
        attempts_charged=charged,
    )
    assert account.kept, account
    assert len(lost_steps) >= len(exits) and max(lost_steps) <= 0 and charged == 0
    assert set(account.causes) == {"preempted", "cancelled_by_user"}
