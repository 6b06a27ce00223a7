"""What a whole job costs beside the loop that a user would write: ``python -m benchmarks.job_overhead DATA_DIR``.

In one run, interleaved: an MNIST job through the service with default diagnostics (from POST to its last status), the
plain loop with tensors in memory, and the DataLoader loop. Then POST → first training step on an idle worker, and the
memory of the API process. DATA_DIR holds ``mnist/``.
"""

import argparse
import datetime
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx2

from afterprop.client import Client
from benchmarks.measuring import keep, median, ratios, spread
from benchmarks.stack import fresh_stack

EPOCHS, BATCH = 5, 128
JOB: dict[str, Any] = {
    "dataset": {"kind": "published", "name": "mnist", "split": {"validation": 0.1}},
    "network": {"kind": "mlp", "hidden": [256, 256], "activation": "relu"},
    "learner": {"kind": "backprop"},
    "optimizer": {"kind": "adam", "lr": 0.001},
    "training": {"epochs": EPOCHS, "batch_size": BATCH},
}
FIRST_STEP_JOB: dict[str, Any] = {
    "dataset": {"kind": "builtin", "name": "digits"},
    "network": {"kind": "mlp", "hidden": [64]},
    "learner": {"kind": "backprop"},
    "training": {"epochs": 1, "batch_size": 64},
}


def seconds_since_1970(moment: str) -> float:
    return datetime.datetime.fromisoformat(moment).timestamp()


def job_seconds(client: Client, *, seed: int, threads: int) -> tuple[float, float]:
    """From the POST to the last status, and the test accuracy."""
    spec = {**JOB, "training": {**JOB["training"], "seed": seed}, "resources": {"threads": threads}}
    posted = time.time()
    job = client.jobs.wait(client.jobs.create(spec)["id"])
    assert job["status"] == "succeeded", job
    return seconds_since_1970(job["finished_at"]) - posted, job["result"]["metrics"]["test"]["accuracy"]


def plain_seconds(kind: str, folder: Path, *, seed: int, threads: int, fused: bool = False) -> tuple[float, float]:
    command = [
        sys.executable,
        "-m",
        "benchmarks.plain_loops",
        kind,
        str(folder),
        "--epochs",
        str(EPOCHS),
        "--batch-size",
        str(BATCH),
        "--seed",
        str(seed),
        "--threads",
        str(threads),
    ]
    printed = subprocess.run([*command, *(["--fused"] if fused else [])], check=True, capture_output=True, text=True)
    found = json.loads(printed.stdout)
    return found["seconds"], found["accuracy"]


def first_step_ms(client: Client) -> float:
    """From the POST to the first step that the database knows of, on a worker that has been idle for a moment."""
    posted = time.time()
    job_id = client.jobs.create(FIRST_STEP_JOB)["id"]
    client.jobs.wait(job_id)
    first = next(event for event in client.jobs.events(job_id, after=0) if event.type == "progress")
    time.sleep(0.3)
    return (seconds_since_1970(first.content["created_at"]) - posted) * 1000


def api_memory_mb(url: str) -> float:
    found = re.search(r"^process_resident_memory_bytes (\S+)$", httpx2.get(f"{url}/metrics").text, re.MULTILINE)
    assert found, "/metrics says nothing of the API's memory"
    return float(found.group(1)) / 2**20


def run(url: str, data_dir: Path, *, pairs: int, first_steps: int) -> dict[str, Any]:
    folder = data_dir / "mnist"
    client = Client(url)
    job_seconds(client, seed=0, threads=1)  # prepares the data, once for all jobs
    latencies = [first_step_ms(client) for _ in range(first_steps)]
    taken: dict[str, list[float]] = {}
    for seed in range(pairs):
        for name, (seconds, accuracy) in {
            "job": job_seconds(client, seed=seed, threads=1),
            "tensors": plain_seconds("tensors", folder, seed=seed, threads=1),
            "tensors_fused": plain_seconds("tensors", folder, seed=seed, threads=1, fused=True),
            "dataloader": plain_seconds("dataloader", folder, seed=seed, threads=1),
            "tensors_default_threads": plain_seconds("tensors", folder, seed=seed, threads=0),
        }.items():
            taken.setdefault(name, []).append(seconds)
            taken.setdefault(f"{name}_accuracy", []).append(accuracy)
        print(f"pair {seed + 1}/{pairs}: " + "  ".join(f"{k} {v[-1]:.2f}" for k, v in taken.items()), flush=True)
    job = taken["job"]
    figures = {
        "pairs": pairs,
        "job_over_plain_loop": ratios(job, taken["tensors"]),
        "job_over_plain_fused_loop": ratios(job, taken["tensors_fused"]),
        "job_over_plain_loop_at_default_threads": ratios(job, taken["tensors_default_threads"]),
        "dataloader_loop_over_job": ratios(taken["dataloader"], job),
        "post_to_first_step_ms": latencies,
        "api_memory_mb": [api_memory_mb(url)],
        "test_accuracy": {k: median(taken[f"{k}_accuracy"]) for k in ("job", "tensors", "dataloader")},
        "seconds": {name: median(values) for name, values in taken.items() if not name.endswith("_accuracy")},
    }
    for name, values in figures.items():
        print(f"{name:42s}", spread(values) if isinstance(values, list) else values)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--first-steps", type=int, default=30)
    given = parser.parse_args()
    url = os.environ.get("AFTERPROP_URL")
    if url:
        figures = run(url, given.data_dir, pairs=given.pairs, first_steps=given.first_steps)
    else:
        with fresh_stack(given.data_dir) as own:
            figures = run(own, given.data_dir, pairs=given.pairs, first_steps=given.first_steps)
    print("kept in", keep("job_overhead", figures))


if __name__ == "__main__":
    main()
