"""T22: a trainer that takes no step any more is ended at its time, tried again, and in the end the job has failed."""

import os
import signal
import time
from collections.abc import Callable

import pytest

from tests.chaos.history import History, settle_accounts
from tests.chaos.scale import Scale
from tests.job_life.floor import Floor, digits_job, wait_until

STALL_S = 20.0
PROGRESS_S = 0.2
"""So old the last step that the worker knows of may be."""


@pytest.mark.chaos("T22")
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_trainer_that_stands_still_is_ended_retried_and_then_failed(
    database: str, new_floor: Callable[..., Floor], history: History, scale: Scale, measured: Callable[..., None]
) -> None:
    stall_s = scale.seconds(STALL_S)
    floor = new_floor(database, STALL_S=str(stall_s))
    floor.have_workers(1)
    job_id = floor.post(digits_job(training={"epochs": 2000}))
    history.acknowledge(job_id)
    noticed = []
    for number in (1, 2, 3):
        wait_until(lambda number=number: len(floor.attempts(job_id)) == number, 30)
        trainer = floor.trainer_pid(job_id)
        before = floor.job(job_id).step
        wait_until(lambda before=before: floor.job(job_id).step > before, 30)
        os.kill(trainer, signal.SIGSTOP)
        stopped = time.monotonic()
        wait_until(lambda number=number: floor.attempts(job_id)[number - 1].ended_at is not None, 3 * stall_s)
        noticed.append(time.monotonic() - stopped)
    job, account = floor.job(job_id), settle_accounts(floor, history)
    measured(f"no step for {stall_s:g} s", noticed_s=", ".join(f"{each:.2f}" for each in noticed))
    assert all(0.9 * stall_s - PROGRESS_S <= each <= 1.1 * stall_s + PROGRESS_S for each in noticed)
    assert account.kept, account
    assert (job.status, job.attempt, job.charged_attempts) == ("failed", 3, 3)
    assert job.error is not None and job.error["kind"] == "stalled"
    floor.wait_for(floor.post(digits_job(training={"epochs": 1, "evaluate_every_epochs": 1})), "succeeded")
