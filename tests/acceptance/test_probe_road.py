"""Every probe of a job that has ended, asked for and read over HTTP alone."""

import json
import time
import urllib.request
from typing import Any

import pytest

from afterprop.client import Client

pytestmark = pytest.mark.service

JOB: dict[str, Any] = {
    "dataset": {"kind": "builtin", "name": "digits"},
    "network": {"kind": "mlp", "hidden": [32, 16]},
    "learner": {"kind": "backprop"},
    "optimizer": {"kind": "sgd", "lr": 0.05},
    "training": {"epochs": 3},
}
WITHIN_S = 90.0


def answer(url: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)


def test_every_probe_of_a_job_is_measured(client: Client, service_url: str) -> None:
    job = client.jobs.wait(client.jobs.create(JOB)["id"])
    other = client.jobs.wait(client.jobs.create({**JOB, "learner": {"kind": "feedback_alignment"}})["id"])
    url = f"{service_url}/v1/jobs/{job['id']}/probes"
    for kind in ("histogram", "sharpness", "hessian_trace", "effective_rank", "cka", "depth_utility"):
        answer(url, {"kind": kind, "rows": 64, **({"job_id": other["id"]} if kind == "cka" else {})})
    deadline = time.monotonic() + WITHIN_S
    while any(probe["finished_at"] is None for probe in answer(url)["data"]):
        assert time.monotonic() < deadline, answer(url)
        time.sleep(0.1)
    found = {probe["kind"]: probe for probe in answer(url)["data"]}
    assert {kind: (probe["status"], probe["weights"]) for kind, probe in found.items()} == dict.fromkeys(
        found, ("done", "final")
    ), found
    layers = ["blocks.0", "blocks.1", "readout"]
    results = {kind: probe["result"] for kind, probe in found.items()}
    assert results["cka"]["layers"] == layers and results["cka"]["cka"][0][0] > 0.5
    assert results["sharpness"]["verified"] and results["sharpness"]["largest"] > 0
    assert results["sharpness"]["edge_of_stability"] == pytest.approx(40.0)
    assert results["hessian_trace"]["verified"]
    for kind in ("histogram", "effective_rank", "depth_utility"):
        assert list(results[kind]["layers"]) == layers
