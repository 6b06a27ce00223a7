"""With the lease that is delivered: a long job loses its trainer, its template, its broker and its worker in turn."""

import os
import signal
import time
from collections.abc import Iterator

import pytest

from store.settings import Settings
from tests.job_life.floor import Floor, digits_job

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

NOTICED_WITHIN_S = 45  # what the README promises


@pytest.fixture
def real_floor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Floor]:
    folder = tmp_path_factory.mktemp("real-lease")
    lease_s = Settings.model_fields["lease_s"].default
    made = Floor(folder, database_url=f"sqlite:///{folder / 'afterprop.db'}", launcher="fork", lease_s=lease_s)
    made.migrate()
    yield made
    made.end()


def test_long_job_outlives_everybody(real_floor: Floor) -> None:
    floor = real_floor
    spec = digits_job(
        training={"budget": {"kind": "steps", "value": 60_000}, "epochs": None, "checkpoint_every_s": 1},
        limits={"max_attempts": 4},
    )
    floor.have_workers(2)
    began = time.monotonic()
    alone = floor.post(spec)
    floor.wait_for(alone, "succeeded", timeout_s=200)
    assert time.monotonic() - began >= 20

    job_id = floor.post(spec)
    step = floor.wait_for_checkpoint(job_id)
    os.kill(floor.trainer_pid(job_id), signal.SIGKILL)
    step = floor.wait_for_checkpoint(job_id, after_step=step)
    os.kill(floor.holder(job_id).template_pid(), signal.SIGKILL)
    step = floor.wait_for_checkpoint(job_id, after_step=step)
    floor.kill_broker()
    step = floor.wait_for_checkpoint(job_id, after_step=step)
    holder = floor.holder(job_id)
    os.kill(holder.pid, signal.SIGKILL)
    holder.process.wait()
    killed = time.monotonic()
    floor.wait_for_checkpoint(job_id, after_step=step)
    assert time.monotonic() - killed <= NOTICED_WITHIN_S
    floor.wait_for(job_id, "succeeded", timeout_s=200)

    attempts = floor.attempts(job_id)
    assert [attempt.exit_cause for attempt in attempts] == ["crashed", "worker_lost", "worker_lost", "succeeded"]
    assert all(attempt.resumed_from_step for attempt in attempts[1:])
    assert floor.mathematics(job_id) == floor.mathematics(alone)
