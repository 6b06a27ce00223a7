"""T1 and T12: jobs in a storm are all done, once, with the bits and the points of undisturbed ones.
T2: the same harness finds results that are recorded twice as soon as the fence is down, so it can find them.
"""

import random
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from sqlalchemy import func, select, text

from store.tables import Event, Job
from tests.chaos.api_process import ApiProcess
from tests.chaos.history import History, settle_accounts
from tests.chaos.scale import Scale
from tests.chaos.storm import Storm
from tests.job_life.floor import Floor, digits_job

JOBS, BROKER_DEATHS = 200, 5
STEPS = (1000, 1500, 2000)
WORKERS = 3


def logged_job(seed: int) -> dict[str, Any]:
    """Every step is a point of every series; a storm may take it up again as often as it likes."""
    return digits_job(
        training={
            "epochs": None,
            "budget": {"kind": "steps", "value": STEPS[seed % len(STEPS)]},
            "seed": seed,
            "evaluate_every_epochs": 4,
        },
        diagnostics={"every_steps": 1},
        limits={"max_attempts": 100},
    )


@pytest.fixture(scope="module")
def calm() -> dict[int, dict[Any, Any]]:
    """What undisturbed jobs came to, by seed: the same on both databases."""
    return {}


def in_calm(floor: Floor, seeds: int, calm: dict[int, dict[Any, Any]]) -> None:
    if calm:
        return
    floor.have_workers(1)
    for seed in range(seeds):
        job_id = floor.post(logged_job(seed))
        floor.wait_for(job_id, "succeeded", timeout_s=120)
        calm[seed] = floor.mathematics(job_id)
        assert list(calm[seed]["loss", None, None, "train"]) == list(range(1, STEPS[seed % len(STEPS)] + 1))
    floor.have_workers(0)
    with floor.database.writing.begin() as session:
        for job in session.scalars(select(Job)):
            session.delete(job)


def post_all(api: ApiProcess, history: History, seeds: list[int], asked: dict[str, int]) -> None:
    with httpx2.Client(base_url=api.url, timeout=30) as client:
        for number, seed in enumerate(seeds):
            answer = client.post("/v1/jobs", json=logged_job(seed), headers={"Idempotency-Key": f"storm-{number}"})
            assert answer.status_code == 202, answer.text
            asked[answer.json()["id"]] = seed
            history.acknowledge(answer.json()["id"], seed=seed)


def ended(floor: Floor) -> int:
    with floor.database.reading() as session:
        return session.scalar(select(func.count()).where(Job.phase == "terminal")) or 0


@pytest.mark.chaos("T1", "T12")
def test_every_job_in_a_storm_is_done_once_with_the_bits_of_a_calm_one(
    floor: Floor,
    api: ApiProcess,
    history: History,
    scale: Scale,
    rng: random.Random,
    calm: dict[int, dict[Any, Any]],
    measured: Callable[..., None],
) -> None:
    jobs, deaths, seeds = scale.of(JOBS), scale.of(BROKER_DEATHS), 9
    in_calm(floor, seeds, calm)
    asked: dict[str, int] = {}
    poster = threading.Thread(target=post_all, args=(api, history, [number % seeds for number in range(jobs)], asked))
    poster.start()
    storm, began = Storm(floor, history, rng, workers=WORKERS, every_s=2), time.monotonic()
    for death in range(1, deaths + 1):
        share = death * jobs // (deaths + 1)
        storm.rage(lambda share=share: ended(floor) >= share, timeout_s=1200)
        storm.kill_broker()
    storm.rage(lambda: ended(floor) >= jobs, timeout_s=1200)
    poster.join()
    account = settle_accounts(floor, history)
    different = [job_id for job_id, seed in asked.items() if floor.job(job_id).status != "succeeded"]
    different += [
        job_id for job_id, seed in asked.items() if job_id not in different and floor.mathematics(job_id) != calm[seed]
    ]
    struck = {name: history.counts[f"{name}_killed"] for name in ("worker", "template", "trainer", "broker")}
    measured(
        f"{jobs} jobs by HTTP, a strike every 2 s for {time.monotonic() - began:.0f} s; killed: {struck}, "
        f"frozen beyond the lease: {history.counts['worker_frozen']}",
        lost=len(account.lost),
        doubled=len(account.doubled),
        different_from_a_calm_run=len(different),
        attempts=account.attempts,
        fenced_or_lost=account.causes["worker_lost"],
    )
    assert account.kept, account
    assert account.jobs == jobs == len(asked)
    assert different == []


@pytest.mark.chaos("T2")
def test_harness_finds_doubled_results_when_the_fence_is_down(
    floor: Floor, history: History, rng: random.Random, measured: Callable[..., None]
) -> None:
    """The negative control: it must fail, or the test above proves nothing."""
    if not floor.database.is_sqlite:
        with floor.database.writing.begin() as session:
            session.execute(text("ALTER TABLE jobs DROP CONSTRAINT ck_jobs_result_means_succeeded"))
    for seed in range(12):
        history.acknowledge(floor.post(logged_job(seed)))
    storm = Storm(floor, history, rng, workers=3, every_s=1, victims=["frozen"], module="tests.chaos.unfenced_worker")

    def doubled() -> bool:
        with floor.database.reading() as session:
            results = select(Event.job_id).where(
                Event.type == "status", Event.detail["status"].as_string() == "succeeded"
            )
            return session.execute(results.group_by(Event.job_id).having(func.count() > 1)).first() is not None

    storm.rage(doubled, timeout_s=180)
    account = settle_accounts(floor, history)
    measured(f"{history.counts['worker_frozen']} workers without a fence frozen", doubled=len(account.doubled))
    assert account.doubled
