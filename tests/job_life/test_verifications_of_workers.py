"""Verifications through real workers: a job is replayed to the same bits, also after a worker died in the middle."""

import os
import signal
from pathlib import Path

import pytest

from store import artifacts, jobs, verifications
from store.verification_tables import Verification
from tests.job_life.floor import Floor, digits_job, wait_until

pytestmark = pytest.mark.slow


def asked(floor: Floor, job_id: str, *, from_step: int | None = None) -> str:
    with floor.database.writing.begin() as session:
        kept = verifications.starts(session, job_id)
        start = kept[0] if from_step is None else from_step
        row = verifications.create(session, jobs.get(session, job_id), from_step=start, tolerance=0.0)
        made = row.id
    floor.bell.ring("cpu")
    return made


def row_of(floor: Floor, job_id: str, verification_id: str) -> Verification:
    with floor.database.reading() as session:
        return verifications.get(session, job_id, verification_id)


def ended(floor: Floor, job_id: str, verification_id: str) -> Verification:
    wait_until(lambda: row_of(floor, job_id, verification_id).finished_at, 120)
    return row_of(floor, job_id, verification_id)


def test_resumed_job_is_replayed_to_the_same_bits_by_the_worker_after_a_dead_one(floor: Floor) -> None:
    (worker,) = floor.have_workers(1)
    job = floor.post(digits_job(training={"epochs": 40}))
    floor.wait_for_checkpoint(job)
    floor.ask(jobs.pause, job)
    floor.wait_for(job, "paused")
    floor.ask(jobs.resume, job)
    floor.wait_for(job, "succeeded", timeout_s=120)
    made = asked(floor, job, from_step=0)

    def replaying() -> bool:
        folder = floor.settings.attempts_dir / made / "1"
        return row_of(floor, job, made).status == "running" and (folder / "losses.npy").exists()

    wait_until(replaying)
    os.kill(worker.pid, signal.SIGKILL)
    worker.process.wait()
    floor.have_workers(1)
    row = ended(floor, job, made)
    assert (row.status, row.verdict, row.attempt) == ("done", "bitwise", 2), (row.error, row.result, floor.logs())
    assert row.result is not None
    with floor.database.reading() as session:
        kept = verifications.starts(session, job)
    assert row.result["compared_at"] == [*kept, row.result["to_step"]]
    assert row.result["losses"] == row.result["to_step"] // 10 + 1 and row.result["metrics_equal"]
    wait_until(lambda: not (floor.settings.attempts_dir / made).exists())  # nothing is left of it


def test_changed_weights_are_not_the_ones_that_were_registered(floor: Floor) -> None:
    floor.have_workers(1)
    job = floor.post(digits_job(training={"epochs": 2}))
    floor.wait_for(job, "succeeded", timeout_s=120)
    with floor.database.reading() as session:
        weights = artifacts.get(session, job, "weights.safetensors")
    with Path(weights.path).open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\0")
    row = ended(floor, job, asked(floor, job, from_step=0))
    assert (row.status, row.verdict) == ("failed", None)
    assert row.error is not None and row.error["kind"] == "weights_changed"
