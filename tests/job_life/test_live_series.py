"""Points of a running job are served soon after they were measured, and a kill loses few and doubles none."""

import os
import signal
import time

import numpy as np
import pytest
from sqlalchemy import func, select

from store import jobs, series
from store.tables import SeriesBlock, SeriesSegment
from tests.job_life.floor import Floor, digits_job, wait_until

pytestmark = pytest.mark.slow

PROGRESS_LATENCY_S = 0.45
"""A step was done at most so long before its number is seen: progress is sent every 0.2 s, and taken every 0.25 s."""
MAX_LAG_S, MAX_LOSS_S = 3.0, 2.0


class Observer:
    """When each step was done, by the job's progress, and when its point could be read."""

    def __init__(self, floor: Floor, job_id: str) -> None:
        self._floor = floor
        self._job_id = job_id
        self._progress: list[tuple[int, float]] = []
        self.readable: list[tuple[int, float]] = []

    def loss_steps(self, *, step_from: int = 0) -> list[int]:
        with self._floor.database.reading() as session:
            found = series.read(session, self._job_id, names=["loss"], splits=["train"], step_from=step_from)
        return [step for points in found for step in points.steps.tolist()]

    def watch(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            step = self._floor.job(self._job_id).step
            self._note(self._progress, step)
            newest = self.loss_steps(step_from=self.readable[-1][0] if self.readable else 0)
            self._note(self.readable, newest[-1] if newest else 0)
            time.sleep(0.01)

    def done_at(self, step: int) -> float:
        """About when the step was done; late by at most ``PROGRESS_LATENCY_S``."""
        steps, times = zip(*self._progress, strict=True)
        return float(np.interp(step, steps, times))

    def lag_s(self) -> float:
        """The longest that a point was done and could not be read: just before the next ones came."""
        arrivals = zip(self.readable[1:], self.readable, strict=False)
        return max(arrived - self.done_at(before + 10) for (_, arrived), (before, _) in arrivals)

    @staticmethod
    def _note(seen: list[tuple[int, float]], step: int) -> None:
        if step > (seen[-1][0] if seen else 0):
            seen.append((step, time.monotonic()))


@pytest.mark.parametrize("victim", ["trainer", "worker"])
def test_points_are_read_live_and_a_kill_loses_few_and_doubles_none(floor: Floor, victim: str) -> None:
    (worker,) = floor.have_workers(1)
    # A checkpoint sends what is open: between two of them points come by their own clock.
    job_id = floor.post(digits_job(training={"epochs": 3000, "checkpoint_every_s": 4.0}))
    floor.wait_for_checkpoint(job_id)
    observer = Observer(floor, job_id)
    observer.watch(3.5)
    pid = floor.trainer_pid(job_id) if victim == "trainer" else worker.pid
    killed_at = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    if victim == "worker":
        worker.process.wait()
        floor.have_workers(1)
    stored = _last_stored(floor, job_id)
    assert len(observer.readable) >= 3
    assert observer.lag_s() <= MAX_LAG_S - PROGRESS_LATENCY_S
    assert killed_at - observer.done_at(stored) <= MAX_LOSS_S - PROGRESS_LATENCY_S

    wait_until(lambda: len(floor.attempts(job_id)) == 2 and observer.loss_steps(step_from=stored + 100))
    floor.ask(jobs.cancel, job_id)
    floor.wait_for(job_id, "cancelled")
    once = observer.loss_steps()
    assert once == [1, *range(10, once[-1] + 1, 10)]
    wait_until(lambda: _is_merged(floor, job_id))
    assert observer.loss_steps() == once


def _last_stored(floor: Floor, job_id: str) -> int:
    """The last step of which the first attempt stored a point, whether it counts any more or not."""
    wait_until(lambda: len(floor.attempts(job_id)) == 2 or floor.attempts(job_id)[0].ended_at, 10)
    with floor.database.reading() as session:
        blocks = [block.id for block in series.blocks_of(session, job_id, series.Selection(["loss"], splits=["train"]))]
        of_attempt = SeriesSegment.block_id.in_(blocks) & (SeriesSegment.attempt == 1)
        return int(session.scalar(select(func.max(SeriesSegment.step_to)).where(of_attempt)) or 0)


def _is_merged(floor: Floor, job_id: str) -> bool:
    with floor.database.reading() as session:
        return all(block.summary is not None for block in session.query(SeriesBlock).filter_by(job_id=job_id))
