"""Every probe of a job that has ended, asked for and read over HTTP alone."""

import time
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


def test_every_probe_of_a_job_is_measured(client: Client) -> None:
    job = client.jobs.wait(client.jobs.create(JOB)["id"])
    other = client.jobs.wait(client.jobs.create({**JOB, "learner": {"kind": "feedback_alignment"}})["id"])
    for kind in ("histogram", "sharpness", "hessian_trace", "effective_rank", "cka", "depth_utility"):
        client.jobs.probe(job["id"], {"kind": kind, "rows": 64, **({"job_id": other["id"]} if kind == "cka" else {})})
    deadline = time.monotonic() + WITHIN_S
    while any(probe["finished_at"] is None for probe in client.jobs.probes(job["id"])):
        assert time.monotonic() < deadline, client.jobs.probes(job["id"])
        time.sleep(0.1)
    found = {probe["kind"]: probe for probe in client.jobs.probes(job["id"])}
    assert len(found) == 6
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
