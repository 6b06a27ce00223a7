"""T4, T5, T6: the broker forgets, is away, or delivers again; jobs are found by looking, and are started once."""

import statistics
import threading
import time
from collections.abc import Callable

import httpx2
import pytest
import redis
from sqlalchemy import func, select

from store import jobs
from store.tables import Attempt, Job
from tests.chaos.api_process import ApiProcess
from tests.chaos.history import History, settle_accounts
from tests.chaos.scale import Scale
from tests.chaos.short_sighted_worker import VISIBILITY_TIMEOUT_S
from tests.job_life.floor import Floor, digits_job, wait_until

QUICK = digits_job(training={"epochs": 1, "evaluate_every_epochs": 1})
CLIENTS = 4
UNDISTURBED_LEASE_S = 10.0
"""No lease is to be lost here: with the 1.5 s of the other tests a busy machine would lose some by itself."""


def queued(floor: Floor) -> int:
    with floor.database.reading() as session:
        return session.scalar(select(func.count()).where(Job.status == "queued")) or 0


def started_after(floor: Floor, moment_s: float) -> list[float]:
    with floor.database.reading() as session:
        return list(session.scalars(select(Attempt.started_at).where(Attempt.started_at > moment_s)))


def post_at_once(floor: Floor, count: int) -> list[str]:
    """So many short jobs in one transaction, so that all of them wait; each rings."""
    with floor.database.writing.begin() as session:
        made = [
            jobs.create(session, spec=QUICK, resolved_spec=QUICK, resource_class="cpu", dataset="digits").id
            for _ in range(count)
        ]
    for _ in made:
        floor.bell.ring("cpu")
    return made


@pytest.mark.chaos("T4")
@pytest.mark.floor_options(WORKER_SLOTS="3", lease_s=UNDISTURBED_LEASE_S)
def test_flushed_broker_delays_nothing(
    floor: Floor, history: History, scale: Scale, measured: Callable[..., None]
) -> None:
    floor.have_workers(2)
    running = [floor.post(digits_job(training={"epochs": 150, "seed": seed})) for seed in range(4)]
    for job_id in running:
        floor.wait_for(job_id, "running")
    waiting = post_at_once(floor, scale.of(100))
    for job_id in running + waiting:
        history.acknowledge(job_id)
    left = queued(floor)
    assert left > len(waiting) / 2
    with redis.Redis.from_url(floor.broker.url) as broker:
        broker.flushall()
    flushed_s, flushed = time.time(), time.monotonic()
    wait_until(lambda: started_after(floor, flushed_s), 60)
    dispatched_s = time.monotonic() - flushed
    wait_until(lambda: queued(floor) == 0, 600)
    for job_id in running + waiting:
        floor.wait_for(job_id, "succeeded", timeout_s=120)
    account = settle_accounts(floor, history)
    done = f"{len(running)} long jobs running and {left} queued"
    measured(done, next_start_s=dispatched_s, attempts=account.attempts)
    assert account.kept, account
    assert dispatched_s <= 35
    assert account.attempts == account.jobs, "a job was disturbed"


def post_steadily(
    api: ApiProcess, history: History, count: int, every_s: float, taken: list[float], refused: list[int]
) -> None:
    with httpx2.Client(base_url=api.url, timeout=30) as client:
        for number in range(count):
            began = time.monotonic()
            answer = client.post("/v1/jobs", json=QUICK)
            taken.append(time.monotonic() - began)
            if answer.status_code == 202:
                history.acknowledge(answer.json()["id"], number=number)
            else:
                refused.append(answer.status_code)
            time.sleep(max(0.0, every_s - (time.monotonic() - began)))


@pytest.mark.chaos("T5")
@pytest.mark.floor_options(WORKER_SLOTS="2", lease_s=UNDISTURBED_LEASE_S)
def test_jobs_are_accepted_and_run_while_the_broker_is_away(
    floor: Floor, api: ApiProcess, history: History, scale: Scale, measured: Callable[..., None]
) -> None:
    floor.have_workers(2)
    count, away_s = scale.of(500), scale.seconds(300)
    long = floor.post(digits_job(training={"budget": {"kind": "seconds", "value": away_s / 2}, "epochs": None}))
    history.acknowledge(long)
    floor.wait_for(long, "running")
    taken: list[float] = []
    refused: list[int] = []
    floor.kill_broker()
    killed = time.monotonic()
    share = count // CLIENTS
    clients = [
        threading.Thread(
            target=post_steadily, args=(api, history, share, 0.9 * away_s / share, taken, refused), name=f"client-{n}"
        )
        for n in range(CLIENTS)
    ]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    time.sleep(max(0.0, away_s - (time.monotonic() - killed)))
    floor.start_broker()
    back = time.monotonic()
    wait_until(lambda: queued(floor) == 0, 60)
    all_started_s = time.monotonic() - back
    for job_id in history.acknowledged:
        floor.wait_for(job_id, "succeeded", timeout_s=120)
    account = settle_accounts(floor, history)
    p99_s = statistics.quantiles(taken, n=100)[98]
    measured(
        f"{len(taken)} POSTs by {CLIENTS} clients in {away_s:.0f} s without a broker",
        accepted=len(history.acknowledged) - 1,
        refused=len(refused),
        p99_s=p99_s,
        all_started_after_s=all_started_s,
    )
    assert account.kept, account
    assert refused == [] and p99_s < 1.5
    assert account.attempts == account.jobs, "a job was disturbed"


@pytest.mark.chaos("T6")
def test_job_longer_than_the_visibility_timeout_starts_once(
    floor: Floor, history: History, scale: Scale, measured: Callable[..., None]
) -> None:
    floor.workers = [floor.start_worker("tests.chaos.short_sighted_worker") for _ in range(2)]
    for worker in floor.workers:
        wait_until(worker.is_ready, 60)
    seconds = scale.seconds(60, least=3 * VISIBILITY_TIMEOUT_S)
    job_id = floor.post(digits_job(training={"budget": {"kind": "seconds", "value": seconds}, "epochs": None}))
    history.acknowledge(job_id)
    for _ in range(5):
        floor.bell.ring("cpu")
    floor.wait_for(job_id, "succeeded", timeout_s=4 * seconds)
    account = settle_accounts(floor, history)
    measured(f"a job of {seconds:.0f} s, messages come back after {VISIBILITY_TIMEOUT_S} s", starts=account.attempts)
    assert account.kept, account
    assert account.attempts == 1
