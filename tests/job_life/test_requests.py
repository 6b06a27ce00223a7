"""What is asked of jobs and workers while they are busy: bells, stop, pause, cancel."""

import signal
import time
from typing import Any

import psutil
import pytest

from store import jobs
from tests.job_life.floor import Floor, digits_job, wait_until
from tests.job_life.undisturbed import everywhere, finished_as_if_undisturbed, on_either_database, with_either_launcher

pytestmark = pytest.mark.slow


@everywhere
def test_five_bells_and_two_workers_give_one_attempt(floor: Floor, undisturbed: dict[Any, Any]) -> None:
    floor.have_workers(2)
    job_id = floor.post(digits_job(), bells=5)
    finished_as_if_undisturbed(floor, job_id, undisturbed, resumed=False)
    assert len(floor.attempts(job_id)) == 1


@with_either_launcher
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopped_worker_gives_its_job_back_uncharged(
    floor: Floor, undisturbed: dict[Any, Any], number: signal.Signals
) -> None:
    floor.have_workers(2)
    job_id = floor.post(digits_job())
    floor.wait_for_checkpoint(job_id)
    holder = floor.holder(job_id)
    holder.process.send_signal(number)
    assert holder.process.wait(20) == 0
    finished_as_if_undisturbed(floor, job_id, undisturbed, resumed=True)
    job = floor.job(job_id)
    assert job.charged_attempts == 0
    assert floor.attempts(job_id)[0].exit_cause == "preempted"


@with_either_launcher
def test_paused_and_resumed(floor: Floor, undisturbed: dict[Any, Any]) -> None:
    floor.have_workers(1)
    job_id = floor.post(digits_job())
    floor.wait_for_checkpoint(job_id)
    floor.ask(jobs.pause, job_id)
    paused = floor.wait_for(job_id, "paused")
    assert paused.charged_attempts == 0
    floor.ask(jobs.resume, job_id)
    floor.bell.ring("cpu")
    finished_as_if_undisturbed(floor, job_id, undisturbed, resumed=True)


@with_either_launcher
@pytest.mark.parametrize("state", ["running", "stopped", "starting"])
def test_cancelled_within_three_seconds(floor: Floor, state: str) -> None:
    (worker,) = floor.have_workers(1)
    job_id = floor.post(digits_job(training={"epochs": 2000}))
    if state == "starting":
        wait_until(lambda: floor.job(job_id).status == "starting")
        group = []
    else:
        trainer = psutil.Process(floor.trainer_pid(job_id))
        floor.wait_for(job_id, "running")
        group = [trainer, *trainer.children(recursive=True)]
        if state == "stopped":
            trainer.suspend()
    began = time.monotonic()
    floor.ask(jobs.cancel, job_id)
    floor.wait_for(job_id, "cancelled")
    assert time.monotonic() - began <= 3
    assert not any(process.is_running() for process in group)
    at_work = str(floor.settings.attempts_dir)  # where trainers and preparations stand
    assert not [process for process in worker.family() if process.cwd().startswith(at_work)]
    assert len(floor.attempts(job_id)) == 1


@on_either_database
def test_eight_jobs_at_once_are_each_run_once(floor: Floor) -> None:
    floor.have_workers(2)
    ids = [floor.post(digits_job(training={"epochs": 2, "seed": seed})) for seed in range(8)]
    for job_id in ids:
        floor.wait_for(job_id, "succeeded", timeout_s=90)
        assert len(floor.attempts(job_id)) == 1
