"""More requests than are worked on: the rest is sent away at once, whoever was let in is served, and memory stays."""

import asyncio
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import httpx2
import psutil

from api.crowding import MOST_WAITING
from tests.api import lived_job
from tests.api.serving import served

BEYOND = 300
MOST_GROWTH_MB = 24


def test_crowd_is_sent_away_with_a_word_and_those_inside_are_served(tmp_path: Path, migrated_file: Path) -> None:
    """The database is held, so that every handler is busy: what comes beyond the line is told to come again."""
    state = tmp_path / "state"
    state.mkdir()
    shutil.copy(migrated_file, state / "afterprop.db")
    with served(state, tmp_path / "api.log") as (url, pid):
        assert httpx2.post(f"{url}/v1/jobs", json=lived_job.SPEC).status_code == 202  # what is made once is made
        holding = sqlite3.connect(state / "afterprop.db", isolation_level=None)
        holding.execute("BEGIN IMMEDIATE")
        before = psutil.Process(pid).memory_info().rss
        inside, beyond, living = asyncio.run(_crowd(url, holding))
        grown_mb = (psutil.Process(pid).memory_info().rss - before) / 2**20
        holding.execute("SELECT 1")
        jobs = holding.execute("SELECT count(*) FROM jobs").fetchone()[0]
        holding.close()
    assert {answer.status_code for answer in beyond} == {503}, "all that came when the line was full"
    for answer in beyond[:3]:
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json()["code"] == "overloaded" and answer.headers["Retry-After"] == "1"
    assert max(answer.elapsed.total_seconds() for answer in beyond) < 5, "at once, and not when the database was free"
    accepted = sum(answer.status_code == 202 for answer in inside)
    assert accepted == jobs - 1 >= MOST_WAITING, "whoever was let in is served"
    assert living.status_code == 200, "who watches is answered while all handlers are busy"
    assert grown_mb < MOST_GROWTH_MB


async def _crowd(url: str, holding: sqlite3.Connection) -> tuple[list[Any], list[Any], Any]:
    limits = httpx2.Limits(max_connections=BEYOND + 2 * MOST_WAITING)
    async with httpx2.AsyncClient(base_url=url, timeout=60, limits=limits) as client:

        def post() -> "asyncio.Task[Any]":
            return asyncio.create_task(client.post("/v1/jobs", json=lived_job.SPEC))

        first = [post() for _ in range(MOST_WAITING + 20)]
        await _until_sent_away(client)
        beyond = list(await asyncio.gather(*(post() for _ in range(BEYOND))))
        living = await client.get("/livez")
        holding.execute("ROLLBACK")
        return list(await asyncio.gather(*first)), beyond, living


async def _until_sent_away(client: Any) -> None:
    """The line is full once somebody who asks for nothing is sent away."""
    async with asyncio.timeout(20):
        while (await client.get("/nothing")).status_code != 503:
            await asyncio.sleep(0.05)
