"""T13: jobs are cancelled while they wait, run and finish; whoever was told "cancelled" finds no result, ever."""

import random
import threading
import time
from collections.abc import Callable

import pytest

from store.errors import IllegalTransition
from store.tables import Job
from tests.chaos.history import History, settle_accounts
from tests.chaos.scale import Scale
from tests.job_life.floor import Floor, digits_job, wait_until

RACES = 1000
AT_ONCE = 8
QUICK = digits_job(training={"epochs": 4, "evaluate_every_epochs": 4}, diagnostics={"every_steps": 100})


@pytest.mark.chaos("T13")
def test_waiting_job_is_cancelled_at_once_and_a_running_one_soon(
    floor: Floor, history: History, measured: Callable[..., None]
) -> None:
    floor.have_workers(1)
    running, waiting = (floor.post(digits_job(training={"epochs": 5000})) for _ in range(2))
    slowest = {}
    for job_id, name in ((waiting, "queued"), (running, "running")):
        history.acknowledge(job_id)
        floor.wait_for(job_id, name)
    for job_id, name in ((waiting, "queued"), (running, "running")):
        began = time.monotonic()
        assert floor.cancel(job_id)
        floor.wait_for(job_id, "cancelled")
        slowest[f"{name}_cancelled_after_s"] = time.monotonic() - began
    account = settle_accounts(floor, history)
    measured("one job that waits, one that runs", **slowest)
    assert account.kept, account
    assert slowest["queued_cancelled_after_s"] <= 1 and slowest["running_cancelled_after_s"] <= 10


class Racer:
    """Posts short jobs, cancels each at a moment drawn around its end, and keeps what it was told."""

    def __init__(self, floor: Floor, history: History, rng: random.Random, races: int) -> None:
        self.cancelled: list[str] = []
        self.too_late: list[str] = []
        self._floor, self._history, self._rng, self._races = floor, history, rng, races

    def run(self) -> None:
        for _ in range(self._races):
            job_id = self._floor.post(QUICK)
            self._history.acknowledge(job_id)
            self._wait(job_id, self._rng.choices(["queued", "running", "finishing"], [0.1, 0.3, 0.6])[0])
            try:
                self._floor.cancel(job_id)
                self.cancelled.append(job_id)
            except IllegalTransition:
                self.too_late.append(job_id)

    def _wait(self, job_id: str, moment: str) -> None:
        if moment == "running":
            wait_until(lambda: self._floor.job(job_id).status != "queued", 120)
            time.sleep(self._rng.uniform(0, 0.7))
        elif moment == "finishing":
            wait_until(lambda: _has_all_steps(self._floor.job(job_id)), 120)
            time.sleep(self._rng.uniform(0, 0.1))


def _has_all_steps(job: Job) -> bool:
    return job.phase == "terminal" or (job.progress is not None and job.step == job.progress["steps"])


@pytest.mark.chaos("T13")
@pytest.mark.floor_options(WORKER_SLOTS="2")
def test_cancelled_job_has_no_result_and_never_comes_back(
    floor: Floor, history: History, scale: Scale, rng: random.Random, measured: Callable[..., None]
) -> None:
    floor.have_workers(2)
    share = scale.of(RACES) // AT_ONCE
    racers = [Racer(floor, history, random.Random(rng.random()), share) for _ in range(AT_ONCE)]
    threads = [threading.Thread(target=racer.run) for racer in racers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    cancelled = [job_id for racer in racers for job_id in racer.cancelled]
    too_late = [job_id for racer in racers for job_id in racer.too_late]
    for job_id in cancelled:
        floor.wait_for(job_id, "cancelled")
    before = {job_id: floor.job(job_id).version for job_id in cancelled}
    for worker in floor.workers:
        worker.end()
    floor.kill_broker()
    floor.start_broker()
    floor.have_workers(1)
    for _ in range(10):
        floor.bell.ring("cpu")
    after = floor.post(QUICK)
    history.acknowledge(after)
    floor.wait_for(after, "succeeded")
    account = settle_accounts(floor, history)
    ran = sum(bool(floor.attempts(job_id)) for job_id in cancelled)
    measured(
        f"{len(cancelled) + len(too_late)} races, then workers and broker killed",
        cancelled=len(cancelled),
        of_these_had_begun=ran,
        ended_first=len(too_late),
        cancelled_with_a_result=sum(floor.job(job_id).result is not None for job_id in cancelled),
        came_back=sum(floor.job(job_id).version != version for job_id, version in before.items()),
    )
    assert account.kept, account
    assert all(floor.job(job_id).status == "cancelled" for job_id in cancelled)
    assert all(floor.job(job_id).status == "succeeded" for job_id in too_late)
    assert {job_id: floor.job(job_id).version for job_id in cancelled} == before
    assert ran and too_late and len(cancelled) > ran, "the moments drawn did not meet every case"
