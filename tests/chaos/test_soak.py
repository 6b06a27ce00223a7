"""T23: short jobs without a pause. What the processes hold does not grow, and nobody is left unreaped."""

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil
import pytest

from tests.chaos.api_process import ApiProcess
from tests.chaos.history import History, settle_accounts
from tests.job_life.floor import Floor, digits_job

SOAK_S = float(os.environ.get("AFTERPROP_SOAK_S", "60"))
WARM_SHARE = 0.25
MOST_GROWTH, MOST_DESCRIPTORS_MORE = 0.05, 2
QUICK = digits_job(training={"epochs": 1, "evaluate_every_epochs": 1})


@dataclass(frozen=True)
class Held:
    """What a process holds at a moment."""

    at_s: float
    rss_bytes: int
    descriptors: int
    zombies: int


def look(process: psutil.Process, at_s: float) -> Held:
    children = process.children(recursive=True)
    zombies = sum(child.status() == psutil.STATUS_ZOMBIE for child in children)
    return Held(at_s, process.memory_info().rss, process.num_fds(), zombies)


def growth(seen: list[Held]) -> float:
    """By how much the memory of the last quarter is above that of the first quarter after the warm-up."""
    after = [held for held in seen if held.at_s >= WARM_SHARE * SOAK_S]
    quarter = max(1, len(after) // 4)
    first = statistics.median(held.rss_bytes for held in after[:quarter])
    return statistics.median(held.rss_bytes for held in after[-quarter:]) / first - 1


def slope_mb_per_hour(seen: list[Held]) -> float:
    """The slope of a straight line through the memory after the warm-up."""
    after = [held for held in seen if held.at_s >= WARM_SHARE * SOAK_S]
    line = statistics.linear_regression([held.at_s for held in after], [held.rss_bytes for held in after])
    return line.slope * 3600 / 1e6


@pytest.mark.soak
@pytest.mark.chaos("T23")
@pytest.mark.timeout(SOAK_S + 600)
def test_nothing_grows_while_short_jobs_run_without_a_pause(
    floor: Floor, api: ApiProcess, history: History, measured: Callable[..., None]
) -> None:
    (worker,) = floor.have_workers(1)
    processes = {
        "api": psutil.Process(api.pid),
        "worker": psutil.Process(worker.pid),
        "template": psutil.Process(worker.template_pid()),
        "broker": psutil.Process(floor.broker_pid),
    }
    seen: dict[str, list[Held]] = {name: [] for name in processes}
    began = time.monotonic()
    with api.client() as client:
        while (now := time.monotonic() - began) < SOAK_S:
            answer = client.post("/v1/jobs", json=QUICK)
            if answer.status_code == 202:
                history.acknowledge(answer.json()["id"])
                floor.wait_for(answer.json()["id"], "succeeded")
                assert client.get(f"/v1/jobs/{answer.json()['id']}").json()["status"] == "succeeded"
            else:
                assert answer.status_code == 429, answer.text
                time.sleep(float(answer.headers["Retry-After"]))
            for name, process in processes.items():
                seen[name].append(look(process, now))
    account = settle_accounts(floor, history)
    warm = {name: next(held for held in rows if held.at_s >= WARM_SHARE * SOAK_S) for name, rows in seen.items()}
    more = {name: seen[name][-1].descriptors - warm[name].descriptors for name in seen}
    measured(
        f"{account.jobs} jobs in {SOAK_S:.0f} s",
        growth_percent={name: round(100 * growth(rows), 1) for name, rows in seen.items()},
        mb_per_hour={name: round(slope_mb_per_hour(rows), 1) for name, rows in seen.items()},
        rss_mb={name: round(rows[-1].rss_bytes / 1e6) for name, rows in seen.items()},
        more_descriptors=more,
        zombies=sum(rows[-1].zombies for rows in seen.values()),
    )
    assert account.kept, account
    assert all(growth(rows) < MOST_GROWTH for rows in seen.values())
    assert all(count <= MOST_DESCRIPTORS_MORE for count in more.values())
    assert all(rows[-1].zombies <= 1 for rows in seen.values()), "more than the trainer that ends at this moment"
