"""T8: a job whose trainer is killed at every attempt fails after exactly three, and other jobs are not disturbed."""

import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress

import pytest

from tests.chaos.history import History, settle_accounts
from tests.chaos.scale import Scale
from tests.job_life.floor import Floor, digits_job, wait_until


@pytest.mark.chaos("T8")
def test_poison_job_fails_after_three_attempts_and_the_others_succeed(
    floor: Floor, history: History, scale: Scale, measured: Callable[..., None]
) -> None:
    floor.have_workers(2)
    poison = floor.post(digits_job(training={"epochs": 2000}))
    others = [floor.post(digits_job(training={"epochs": 10, "seed": seed})) for seed in range(scale.of(20))]
    for job_id in (poison, *others):
        history.acknowledge(job_id)
    over = threading.Event()

    def kill_its_trainers() -> None:
        """From the outside, as soon as it has taken its first steps: a job cannot ask for its own death."""
        while not over.wait(0.02):
            newest = floor.attempts(poison)[-1:]
            if newest and newest[0].ended_at is None and newest[0].trainer_pid and floor.job(poison).step >= 5:
                with suppress(ProcessLookupError):
                    os.kill(newest[0].trainer_pid, signal.SIGKILL)
                    history.note("trainer_killed", attempt=newest[0].number)

    killer = threading.Thread(target=kill_its_trainers)
    killer.start()
    try:
        wait_until(lambda: floor.job(poison).phase == "terminal", 120)
        for job_id in others:
            floor.wait_for(job_id, "succeeded", timeout_s=300)
    finally:
        over.set()
        killer.join()
    job, account = floor.job(poison), settle_accounts(floor, history)
    measured(f"{len(others)} jobs beside it", attempts=job.attempt, succeeded=account.causes["succeeded"])
    assert account.kept, account
    assert (job.status, job.attempt, job.charged_attempts) == ("failed", 3, 3)
    assert job.error is not None and job.error["kind"] == "crashed" and "SIGKILL" in job.error["message"]
    assert [len(floor.attempts(job_id)) for job_id in others] == [1] * len(others)
