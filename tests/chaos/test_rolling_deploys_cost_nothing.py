"""T14: workers are stopped and replaced one after the other while jobs run: no step is lost, no attempt is charged."""

import signal
import time
from collections.abc import Callable

import pytest

from tests.chaos.history import History, settle_accounts
from tests.chaos.scale import Scale
from tests.job_life.floor import Floor, digits_job, wait_until

DEPLOYS, EXIT_WITHIN_S = 10, 30


@pytest.mark.chaos("T14")
@pytest.mark.floor_options(WORKER_SLOTS="2")
def test_stopped_workers_hand_their_jobs_on_without_a_loss(
    floor: Floor, history: History, scale: Scale, measured: Callable[..., None]
) -> None:
    floor.have_workers(2)
    # So rare that only the checkpoint of the stop itself can be the one that is continued from.
    endless = digits_job(training={"epochs": 100_000, "checkpoint_every_s": 3600})
    ids = [floor.post(endless) for _ in range(3)]
    for job_id in ids:
        history.acknowledge(job_id)
    exits, lost_steps, handed_on = [], [], 0
    for deploy in range(scale.of(DEPLOYS, least=3)):
        for job_id in ids[:2]:
            wait_until(lambda job_id=job_id: floor.job(job_id).status == "running" and floor.job(job_id).step > 0)
        holder = floor.holder(ids[deploy % 2])
        given_up = [row for row in floor.open_attempts() if row.worker_pid == holder.pid]
        began = time.monotonic()
        holder.process.send_signal(signal.SIGTERM)
        assert holder.process.wait(EXIT_WITHIN_S) == 0
        exits.append(time.monotonic() - began)
        history.note("worker_stopped", exit_s=exits[-1])
        steps = {row.job_id: floor.job(row.job_id).step for row in given_up}
        floor.have_workers(2)
        for row in given_up:
            number = row.number + 1
            wait_until(lambda row=row, number=number: _resumed(floor, row.job_id, number) is not None, 60)
            lost_steps.append(steps[row.job_id] - int(_resumed(floor, row.job_id, number) or 0))
            handed_on += 1
    charged = sum(floor.job(job_id).charged_attempts for job_id in ids)
    for job_id in ids:
        floor.cancel(job_id)
        floor.wait_for(job_id, "cancelled")
    account = settle_accounts(floor, history)
    measured(
        f"{len(exits)} workers stopped under load",
        slowest_exit_s=max(exits),
        jobs_handed_on=handed_on,
        most_steps_lost=max(lost_steps),
        attempts_charged=charged,
    )
    assert account.kept, account
    assert handed_on >= len(exits) and max(lost_steps) <= 0 and charged == 0
    assert set(account.causes) == {"preempted", "cancelled_by_user"}


def _resumed(floor: Floor, job_id: str, number: int) -> int | None:
    rows = floor.attempts(job_id)
    return rows[number - 1].resumed_from_step if len(rows) >= number else None
