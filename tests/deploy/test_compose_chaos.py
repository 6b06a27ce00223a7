"""T29: a random service of a running compose stack is killed again and again; every job is done once, with equal bits.

Needs AFTERPROP_COMPOSE_URL and a Docker engine. AFTERPROP_COMPOSE_CHAOS_S says for how long (ten minutes are the whole
test), AFTERPROP_CHAOS_SEED which services.
"""

import os
import random
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from afterprop.client import Client
from afterprop.errors import ProblemError, Unreachable

ROOT = Path(__file__).parents[2]
URL = os.environ.get("AFTERPROP_COMPOSE_URL")
SECONDS = float(os.environ.get("AFTERPROP_COMPOSE_CHAOS_S", "60"))
EVERY_S = 20.0
SERVICES = ("worker", "api", "broker", "database")
ENDED_WITHIN_S = 600.0
SEEDS = 4

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(URL is None, reason="AFTERPROP_COMPOSE_URL names no stack started by docker compose"),
    pytest.mark.timeout(SECONDS + 2 * ENDED_WITHIN_S),
]


def body(seed: int) -> dict[str, Any]:
    return {
        "dataset": {"kind": "builtin", "name": "digits"},
        "network": {"kind": "mlp", "hidden": [256]},
        "learner": {"kind": "backprop"},
        "training": {"epochs": 30, "seed": seed, "checkpoint_every_s": 1},
        "diagnostics": {"budget_percent": None},
        "limits": {"max_attempts": 50},
    }


def compose(*arguments: str) -> None:
    subprocess.run(["docker", "compose", *arguments], cwd=ROOT, check=True, capture_output=True)


def test_killed_services_lose_and_double_nothing() -> None:
    seed = int(os.environ.get("AFTERPROP_CHAOS_SEED", time.time_ns() % 2**31))
    print(f"AFTERPROP_CHAOS_SEED={seed}")
    chance = random.Random(seed)
    posted: dict[str, int] = {}
    with Client(URL, max_retries=8) as client:
        calm = [client.jobs.wait(client.jobs.create(body(number))["id"]) for number in range(SEEDS)]
        digests = [job["result"]["weights_sha256"] for job in calm]
        until = time.monotonic() + SECONDS
        kills: list[str] = []
        while time.monotonic() < until:
            killed_at = time.monotonic()
            kills.append(chance.choice(SERVICES))
            compose("kill", kills[-1])
            compose("up", "-d", "--pull", "never")
            while time.monotonic() < killed_at + EVERY_S:
                number = chance.randrange(SEEDS)
                with suppress(Unreachable, ProblemError):  # not acknowledged, so not promised
                    posted[client.jobs.create(body(number))["id"]] = number
                time.sleep(4)
        compose("up", "-d", "--wait", "--pull", "never")
        deadline = time.monotonic() + ENDED_WITHIN_S
        print(f"{len(posted)} jobs, killed: {kills}")
        assert len(posted) >= SECONDS / EVERY_S
        for job_id, number in posted.items():
            while (job := client.jobs.retrieve(job_id))["phase"] != "terminal":
                assert time.monotonic() < deadline, f"{job_id} is still {job['status']}"
                time.sleep(0.5)
            assert job["status"] == "succeeded", (job_id, job["error"], kills)
            assert job["result"]["weights_sha256"] == digests[number], (job_id, kills)
            assert sum(attempt["exit_cause"] == "succeeded" for attempt in client.jobs.attempts(job_id)) == 1
