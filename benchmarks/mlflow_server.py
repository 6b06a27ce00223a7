"""An MLflow tracking server as a peer of the store. It is not in the lock: give its URL, or have ``mlflow`` on PATH."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2

API = "/api/2.0/mlflow"
METRICS_OF_A_BATCH = 1000
"""As many as MLflow takes in one request."""
STARTS_WITHIN_S = 180.0


@contextmanager
def tracking_server(given: str | None, folder: Path) -> Iterator[str | None]:
    """The address of a tracking server on SQLite with one worker; None where there is none."""
    command = shutil.which("mlflow")
    if given is not None or command is None:
        yield given
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    where = ["--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}", "--artifacts-destination", str(folder)]
    with (folder / "mlflow.log").open("wb") as log:
        server = subprocess.Popen(
            [command, "server", *where, "--host", "127.0.0.1", "--port", str(port), "--workers", "1"],
            stdout=log,
            stderr=log,
            cwd=folder,
        )
    try:
        address = f"http://127.0.0.1:{port}"
        _wait(address)
        yield address
    finally:
        server.terminate()
        server.wait()


def log_batches(address: str, batches: int) -> float:
    """Logs so many full batches into a new run, steps rising, two metrics; points a second."""
    with httpx2.Client(base_url=address + API, timeout=120) as http:
        made = http.post("/runs/create", json={"experiment_id": "0", "start_time": 0})
        made.raise_for_status()
        run_id = made.json()["run"]["info"]["run_id"]
        bodies = [
            {
                "run_id": run_id,
                "metrics": [
                    {"key": f"metric_{at % 2}", "value": 0.5 * at, "timestamp": at, "step": batch * 1000 + at // 2}
                    for at in range(METRICS_OF_A_BATCH)
                ],
            }
            for batch in range(batches)
        ]
        began = time.perf_counter()
        for body in bodies:
            http.post("/runs/log-batch", json=body).raise_for_status()
        return batches * METRICS_OF_A_BATCH / (time.perf_counter() - began)


def _wait(address: str) -> None:
    deadline = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < deadline:
        try:
            if httpx2.get(f"{address}/health", timeout=5).status_code == 200:
                return
        except httpx2.HTTPError:
            time.sleep(0.5)
    raise TimeoutError("the MLflow server did not answer")
