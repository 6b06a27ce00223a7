"""A running compose stack loses nothing when its worker is killed. Needs AFTERPROP_COMPOSE_URL and a Docker engine."""

import os
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from afterprop.client import Client

ROOT = Path(__file__).parents[2]
URL = os.environ.get("AFTERPROP_COMPOSE_URL")

LONG_JOB: dict[str, Any] = {
    "dataset": {"kind": "builtin", "name": "digits"},
    "network": {"kind": "mlp", "hidden": [512, 512]},
    "learner": {"kind": "backprop"},
    "training": {"epochs": 120, "checkpoint_every_s": 1},
    "diagnostics": {"budget_percent": None},
}

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(URL is None, reason="AFTERPROP_COMPOSE_URL names no stack started by docker compose"),
    pytest.mark.timeout(600),
]


def _compose(*arguments: str) -> None:
    subprocess.run(["docker", "compose", *arguments], cwd=ROOT, check=True, capture_output=True)


def test_a_killed_worker_container_loses_nothing() -> None:
    with Client(URL) as client:
        _kill_and_compare(client)


def _kill_and_compare(client: Client) -> None:
    undisturbed = client.jobs.wait(client.jobs.create(LONG_JOB)["id"])
    job_id = client.jobs.create(LONG_JOB)["id"]
    with closing(client.jobs.events(job_id)) as events:
        next(event for event in events if event.type == "checkpoint")
    _compose("kill", "worker")
    _compose("up", "-d", "--wait", "--pull", "never")
    job = client.jobs.wait(job_id)
    attempts = client.jobs.attempts(job_id)
    assert job["status"] == undisturbed["status"] == "succeeded"
    assert len(attempts) >= 2 and attempts[-1]["resumed_from_step"] > 0
    assert job["result"]["weights_sha256"] == undisturbed["result"]["weights_sha256"]
    (loss,) = [points for points in client.jobs.series(job_id, "loss", max_points=2000) if points["split"] == "train"]
    assert loss["x"] == sorted(set(loss["x"])) and loss["x"][-1] == job["progress"]["steps"]
