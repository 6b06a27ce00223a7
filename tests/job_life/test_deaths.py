"""Whoever is killed in the middle of a job, the job finishes by itself, and nobody can tell from what it found."""

import os
import signal
from typing import Any

import psutil
import pytest

from tests.job_life.floor import Floor, digits_job, wait_until
from tests.job_life.undisturbed import everywhere, finished_as_if_undisturbed, on_either_database, with_either_launcher

pytestmark = pytest.mark.slow


@everywhere
def test_killed_trainer(floor: Floor, undisturbed: dict[Any, Any]) -> None:
    floor.have_workers(1)
    job_id = floor.post(digits_job())
    floor.wait_for_checkpoint(job_id)
    os.kill(floor.trainer_pid(job_id), signal.SIGKILL)
    finished_as_if_undisturbed(floor, job_id, undisturbed, resumed=True)
    assert floor.job(job_id).charged_attempts == 1
    assert floor.attempts(job_id)[0].exit_cause == "crashed"


@on_either_database
def test_killed_template(floor: Floor, undisturbed: dict[Any, Any]) -> None:
    (worker,) = floor.have_workers(1)
    job_id = floor.post(digits_job())
    floor.wait_for_checkpoint(job_id)
    trainer = psutil.Process(floor.trainer_pid(job_id))
    os.kill(worker.template_pid(), signal.SIGKILL)
    wait_until(lambda: not trainer.is_running(), 2)
    finished_as_if_undisturbed(floor, job_id, undisturbed, resumed=True)
    assert floor.attempts(job_id)[0].exit_cause == "worker_lost"


@everywhere
def test_killed_worker(floor: Floor, undisturbed: dict[Any, Any]) -> None:
    floor.have_workers(2)
    job_id = floor.post(digits_job())
    floor.wait_for_checkpoint(job_id)
    holder = floor.holder(job_id)
    family = holder.family()
    assert family
    os.kill(holder.pid, signal.SIGKILL)
    holder.process.wait()
    wait_until(lambda: not any(process.is_running() for process in family), 10)
    finished_as_if_undisturbed(floor, job_id, undisturbed, resumed=True)
    first, *_, last = floor.attempts(job_id)
    assert first.exit_cause == "worker_lost" and first.worker_id != last.worker_id


@with_either_launcher
def test_killed_broker(floor: Floor, undisturbed: dict[Any, Any]) -> None:
    floor.have_workers(1)
    job_id = floor.post(digits_job())
    floor.wait_for_checkpoint(job_id)
    floor.kill_broker()
    finished_as_if_undisturbed(floor, job_id, undisturbed, resumed=False)
    assert len(floor.attempts(job_id)) == 1
    # While it is dead, jobs are found by looking; once it is back, by its bell.
    quick = digits_job(training={"epochs": 1})
    floor.wait_for(floor.post(quick), "succeeded")
    floor.start_broker()
    floor.wait_for(floor.post(quick), "succeeded")


@with_either_launcher
def test_frozen_worker_is_fenced_and_its_trainer_stops_itself(floor: Floor, undisturbed: dict[Any, Any]) -> None:
    floor.have_workers(2)
    job_id = floor.post(digits_job())
    floor.wait_for_checkpoint(job_id)
    holder = floor.holder(job_id)
    trainer = psutil.Process(floor.trainer_pid(job_id))
    floor.freeze(holder, job_id)
    try:
        wait_until(lambda: not trainer.is_running() or trainer.status() == psutil.STATUS_ZOMBIE, 4)
        wait_until(lambda: len(floor.attempts(job_id)) == 2, 10)
    finally:
        os.kill(holder.pid, signal.SIGCONT)
    finished_as_if_undisturbed(floor, job_id, undisturbed, resumed=True)
    first, second = floor.attempts(job_id)
    assert first.exit_cause == "worker_lost" and first.worker_id != second.worker_id
    assert holder.alive


@with_either_launcher
def test_poison_job_fails_after_exactly_its_attempts(floor: Floor) -> None:
    floor.have_workers(1)
    job_id = floor.post(digits_job(training={"epochs": 2000}))
    for number in (1, 2, 3):
        wait_until(lambda number=number: len(floor.attempts(job_id)) == number)
        os.kill(floor.trainer_pid(job_id), signal.SIGKILL)
    wait_until(lambda: floor.job(job_id).phase == "terminal")
    job = floor.job(job_id)
    assert (job.status, job.attempt, job.charged_attempts) == ("failed", 3, 3)
    assert job.error is not None and job.error["kind"] == "crashed"
    floor.wait_for(floor.post(digits_job(training={"epochs": 1})), "succeeded")


def test_worker_never_imports_torch(floor: Floor) -> None:
    (worker,) = floor.have_workers(1)
    mapped = {region.path for region in psutil.Process(worker.pid).memory_maps()}
    assert not [path for path in mapped if "/torch/" in path]
