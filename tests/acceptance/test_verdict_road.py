"""A fault is named, its remedy tried, and the verdict says that it helped: over HTTP alone."""

from typing import Any

import pytest

from afterprop.client import Client

pytestmark = pytest.mark.service

TOO_FAST: dict[str, Any] = {
    "name": "steps larger than the weights",
    "dataset": {"kind": "builtin", "name": "digits"},
    "network": {"kind": "mlp", "hidden": [64, 64]},
    "learner": {"kind": "backprop"},
    "optimizer": {"kind": "sgd", "lr": 4.0},
    "training": {"epochs": 20, "batch_size": 64},
    "diagnostics": {"every_steps": 1, "budget_percent": None},
}
LOST = {
    **TOO_FAST,
    "network": {"kind": "mlp", "hidden": [64], "activation": "identity"},
    "optimizer": {"kind": "sgd", "lr": 1e6},
}


def test_far_too_high_rate_is_named_and_the_fork_trains(client: Client) -> None:
    job = client.jobs.create(TOO_FAST)
    ended = client.jobs.wait(job["id"])
    assert ended["result"] is not None
    assert (ended["result"]["metrics"]["validation"]["accuracy"] or 0.0) < 0.5
    first = client.jobs.verdicts(job["id"])[0]
    assert (first["code"], first["caused_by"]) == ("lr_too_high", None)
    assert first["first_step"] == 1
    told = [event.content["code"] for event in client.jobs.events(job["id"]) if event.type == "verdict"]
    assert "lr_too_high" in told
    fork = client.jobs.wait(client.jobs.apply(job["id"], first["id"])["id"])
    assert fork["forked_from"] == job["id"]
    assert fork["result"] is not None
    assert (fork["result"]["metrics"]["validation"]["accuracy"] or 0.0) > 0.8
    (applied,) = client.jobs.verdicts(job["id"])[0]["applied"]
    assert applied["job_id"] == fork["id"]
    assert applied["loss_after"] < applied["loss_before"]
    assert (applied["helped"], applied["verdict_gone"]) == (True, True)


def test_job_that_is_lost_names_layer_and_tensor_of_the_first_bad_number(client: Client) -> None:
    ended = client.jobs.wait(client.jobs.create(LOST)["id"])
    assert ended["status"] == "failed"
    error = ended["error"]
    assert error is not None
    (lost,) = [verdict for verdict in client.jobs.verdicts(ended["id"]) if verdict["code"] == "nonfinite"]
    assert lost["first_step"] == error["step"]
    assert lost["layer"] in ("blocks.0", "readout")
    assert lost["evidence"]["facts"]["tensor"] in ("output", "loss", "gradient")
    assert lost["remedies"]
