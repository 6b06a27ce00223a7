"""Probes through real workers: measured beside the jobs, and picked up again when a worker dies in the middle."""

import os
import signal
from typing import Any

import pytest

from store import jobs, probes
from store.probe_tables import Probe
from tests.job_life.floor import Floor, digits_job, wait_until

pytestmark = pytest.mark.slow

SLOW: dict[str, Any] = {"kind": "sharpness", "rows": 1024, "iterations": 200, "tolerance": 1e-12, "seed": 0}
WIDE = {"kind": "mlp", "hidden": [512, 512]}


def asked(floor: Floor, of_job: str, /, **spec: Any) -> str:
    with floor.database.writing.begin() as session:
        probe_id = probes.create(session, of_job, spec=spec).id
    floor.bell.ring("cpu")
    return probe_id


def ended(floor: Floor, job_id: str, probe_id: str) -> Probe:
    def over() -> Probe | None:
        with floor.database.reading() as session:
            row = probes.get(session, job_id, probe_id)
        return row if row.finished_at is not None else None

    row: Probe = wait_until(over, 90)
    assert row.status == "done", (row.error, floor.logs())
    assert row.result is not None
    return row


def test_running_job_is_measured_at_its_newest_checkpoint_and_beside_another(floor: Floor) -> None:
    floor.have_workers(1)
    first = floor.post(digits_job(training={"epochs": 2}))
    floor.wait_for(first, "succeeded", timeout_s=120)
    running = floor.post(digits_job(training={"epochs": 4000}))
    floor.wait_for_checkpoint(running)
    row = ended(floor, running, asked(floor, running, kind="cka", rows=64, job_id=first))
    assert row.weights == "checkpoint" and row.step is not None and row.step > 0
    assert row.result is not None and row.result["layers"] == row.result["other_layers"] == ["blocks.0", "readout"]
    assert floor.job(running).phase == "active", "the job went on"
    floor.ask(jobs.cancel, running)
    floor.wait_for(running, "cancelled")


def test_probe_of_a_dead_worker_is_measured_by_another(floor: Floor) -> None:
    (worker,) = floor.have_workers(1)
    job = floor.post(digits_job(training={"epochs": 1}, network=WIDE))
    floor.wait_for(job, "succeeded", timeout_s=120)
    probe = asked(floor, job, **SLOW)

    def measuring() -> bool:
        folder = floor.settings.attempts_dir / probe / "1"
        with floor.database.reading() as session:
            return probes.get(session, job, probe).status == "running" and folder.exists()

    wait_until(measuring)
    os.kill(worker.pid, signal.SIGKILL)
    worker.process.wait()
    with floor.database.reading() as session:
        assert probes.get(session, job, probe).finished_at is None
    floor.have_workers(1)
    row = ended(floor, job, probe)
    assert row.attempt == 2
    assert row.weights == "final" and row.step == floor.job(job).step
    assert row.result is not None and row.result["largest"] > 0
    assert not (floor.settings.attempts_dir / probe).exists(), "nothing is left lying about"
