"""T15, T16, T30: the API is killed amid POSTs, asked fifty times at once, and left without database or broker."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx2
import pytest
from sqlalchemy import Connection, create_engine, func, select, text

from store.tables import Job
from tests.chaos.api_process import ApiProcess
from tests.chaos.history import History, settle_accounts
from tests.chaos.scale import Scale
from tests.job_life.floor import Floor, digits_job, wait_until
from tests.job_life.test_outages import frozen

QUICK = digits_job(training={"epochs": 1})
CLIENTS, POSTS, DEATHS = 8, 400, 10


def post_until_told(api: ApiProcess, history: History, keys: list[str]) -> None:
    """A client that repeats a POST under its key until it is answered, and then asks once more."""
    with httpx2.Client(base_url=api.url, timeout=10) as client:
        for key in keys:
            while (answer := _try(client, key)) is None or answer.status_code in (409, 429, 503):
                history.note("tried_again", key=key)
                time.sleep(0.05)
            assert answer.status_code in (200, 202), answer.text
            history.acknowledge(answer.json()["id"], key=key, replayed=answer.status_code == 200)
            again = _try(client, key)
            assert again is None or again.status_code in (429, 503) or again.json()["id"] == answer.json()["id"]
            history.note("replayed" if again is not None and again.status_code == 200 else "no_replay", key=key)


def _try(client: httpx2.Client, key: str) -> httpx2.Response | None:
    try:
        return client.post("/v1/jobs", json=QUICK, headers={"Idempotency-Key": key})
    except httpx2.TransportError:
        return None


def count(floor: Floor) -> int:
    with floor.database.reading() as session:
        return session.scalar(select(func.count()).select_from(Job)) or 0


def cancel_all(floor: Floor, history: History) -> None:
    for job_id in set(history.acknowledged):
        floor.cancel(job_id)


@pytest.mark.chaos("T15")
def test_what_a_killed_api_had_acknowledged_is_there_once(
    floor: Floor, api: ApiProcess, history: History, scale: Scale, measured: Callable[..., None]
) -> None:
    share = scale.of(POSTS) // CLIENTS
    keys = [[f"client-{client}-{number}" for number in range(share)] for client in range(CLIENTS)]
    threads = [threading.Thread(target=post_until_told, args=(api, history, mine)) for mine in keys]
    for thread in threads:
        thread.start()
    for death in range(1, scale.of(DEATHS) + 1):
        due = death * share * CLIENTS // (scale.of(DEATHS) + 1)
        wait_until(lambda due=due: len(history.acknowledged) >= due, 120)
        api.kill()
        history.note("api_killed")
        api.start()
    for thread in threads:
        thread.join()
    made = count(floor)
    cancel_all(floor, history)
    account = settle_accounts(floor, history)
    measured(
        f"{CLIENTS * share} POSTs by {CLIENTS} clients, API killed {history.counts['api_killed']} times",
        jobs=made,
        tried_again=history.counts["tried_again"],
        replayed_with_the_same_id=history.counts["replayed"],
        lost=len(account.lost),
    )
    assert account.kept, account
    assert made == CLIENTS * share == len(set(history.acknowledged)) == len(history.acknowledged)
    assert history.counts["tried_again"] and history.counts["replayed"]


@pytest.mark.chaos("T16")
def test_fifty_posts_at_once_under_one_key_make_one_job(
    floor: Floor, api: ApiProcess, history: History, measured: Callable[..., None]
) -> None:
    answers: list[httpx2.Response] = []
    together = threading.Barrier(50)

    def post() -> None:
        with httpx2.Client(base_url=api.url, timeout=60) as client:
            together.wait()
            answers.append(client.post("/v1/jobs", json=QUICK, headers={"Idempotency-Key": "one"}))

    threads = [threading.Thread(target=post) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    codes = Counter(answer.status_code for answer in answers)
    ids = {answer.json()["id"] for answer in answers if answer.status_code in (200, 202)}
    for job_id in ids:
        history.acknowledge(job_id)
    other = httpx2.post(
        f"{api.url}/v1/jobs", json={**QUICK, "name": "other"}, headers={"Idempotency-Key": "one"}, timeout=60
    )
    made = count(floor)
    cancel_all(floor, history)
    account = settle_accounts(floor, history)
    measured("50 POSTs at once under one key", jobs=made, answers=dict(codes), other_body=other.status_code)
    assert account.kept, account
    assert made == len(ids) == 1
    assert set(codes) <= {200, 202, 409} and codes[202] == 1
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


def readiness(api: ApiProcess) -> tuple[int, str, float]:
    """Status code and word of /readyz, and how long it took."""
    began = time.monotonic()
    answer = httpx2.get(f"{api.url}/readyz", timeout=30)
    return answer.status_code, answer.json()["status"], time.monotonic() - began


@pytest.mark.chaos("T30")
def test_readiness_tells_a_dead_database_from_a_dead_broker(
    floor: Floor, api: ApiProcess, measured: Callable[..., None]
) -> None:
    slowest = 0.0

    def says(code: int, word: str) -> None:
        nonlocal slowest
        began = time.monotonic()
        wait_until(lambda: readiness(api)[:2] == (code, word), 5)
        slowest = max(slowest, time.monotonic() - began)
        assert httpx2.get(f"{api.url}/livez", timeout=5).status_code == 200

    says(200, "ready")
    floor.kill_broker()
    says(200, "degraded")
    floor.start_broker()
    says(200, "ready")
    without_database(floor)
    says(503, "unavailable")
    with_database(floor)
    says(200, "ready")
    measured("broker killed, then the database away", slowest_answer_s=slowest)


@pytest.mark.chaos("T30")
@pytest.mark.parametrize("floor", ["postgresql"], indirect=True)
def test_frozen_database_server_is_called_unavailable_in_time(
    floor: Floor, api: ApiProcess, measured: Callable[..., None]
) -> None:
    """A server that stands still refuses nothing and closes nothing: whoever asks must not wait for it."""
    assert readiness(api)[:2] == (200, "ready")
    answers = []
    with frozen(floor):
        for _ in range(3):
            answers.append(readiness(api))
            assert httpx2.get(f"{api.url}/livez", timeout=1).status_code == 200
    wait_until(lambda: readiness(api)[:2] == (200, "ready"), 5)
    slowest = max(took_s for *_, took_s in answers)
    measured("the database server stands still", slowest_answer_s=slowest)
    assert [answer[:2] for answer in answers] == [(503, "unavailable")] * 3
    assert slowest <= 5


@contextmanager
def beside(floor: Floor) -> Iterator[Connection]:
    """A connection to the server that is not one to the floor's database."""
    engine = create_engine(floor.database.engine.url.set(database="postgres"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def without_database(floor: Floor) -> None:
    """PostgreSQL closes every connection and takes no new one; a SQLite database has lost its tables."""
    if floor.database.is_sqlite:
        with floor.database.writing.begin() as session:
            session.execute(text("ALTER TABLE alembic_version RENAME TO away"))
        return
    name = floor.database.engine.url.database
    with beside(floor) as connection:
        connection.execute(text(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false'))
        connection.execute(text(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"))


def with_database(floor: Floor) -> None:
    """It is back."""
    if floor.database.is_sqlite:
        with floor.database.writing.begin() as session:
            session.execute(text("ALTER TABLE away RENAME TO alembic_version"))
        return
    with beside(floor) as connection:
        connection.execute(text(f'ALTER DATABASE "{floor.database.engine.url.database}" ALLOW_CONNECTIONS true'))
    floor.database.dispose()
