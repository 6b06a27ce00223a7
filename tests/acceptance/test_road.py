"""The road of a job, over HTTP alone: against AFTERPROP_URL, or against the embedded stack."""

import hashlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from afterprop.answers import Job
from afterprop.client import Client
from afterprop.errors import Conflict, InvalidRequest, NotFound
from afterprop.spec_file import read_spec

pytestmark = pytest.mark.service

EXAMPLES = Path(__file__).parents[2] / "examples"
ENDLESS: dict[str, Any] = {
    "name": "runs until it is told to stop",
    "dataset": {"kind": "builtin", "name": "digits"},
    "network": {"kind": "mlp", "hidden": [32]},
    "learner": {"kind": "backprop"},
    "training": {"epochs": 100_000},
}


@pytest.fixture(scope="module")
def http(service_url: str) -> Iterator[httpx2.Client]:
    """The service without the help of our own client."""
    with httpx2.Client(base_url=service_url, timeout=30) as http:
        yield http


@pytest.fixture(scope="module")
def backprop_job(client: Client) -> Job:
    """The backpropagation job of the demo, ended."""
    job = client.jobs.create(read_spec(str(EXAMPLES / "backprop_digits.yaml")))
    return client.jobs.wait(job["id"])


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("example", "least_accuracy"),
    [("backprop_digits", 0.93), ("forward_forward_digits", 0.90), ("liquid_event_xor", 0.95)],
)
def test_demo_job_learns(client: Client, example: str, least_accuracy: float) -> None:
    job = client.jobs.create(read_spec(str(EXAMPLES / f"{example}.yaml")))
    ended = client.jobs.wait(job["id"])
    assert ended["status"] == "succeeded", ended["error"]
    assert ended["result"] is not None
    accuracy = ended["result"]["metrics"]["test"]["accuracy"]
    assert accuracy is not None
    assert accuracy >= least_accuracy
    cost = ended["result"]["cost"]
    assert cost["wall_s"] > 0
    assert cost["flops"] is not None and cost["flops"] > 0
    assert cost["energy"]["joules"] is not None or cost["energy"]["reason"]


def test_backprop_is_aligned_with_itself_in_every_layer(client: Client, backprop_job: Job) -> None:
    points = client.jobs.series(backprop_job["id"], "alignment_cosine")
    layers = [series for series in points if series["layer"] is not None]
    assert {series["layer"] for series in layers} == {"blocks.0", "blocks.1", "readout"}
    for series in layers:
        assert series["y"], series["layer"]
        assert all(y == pytest.approx(1.0, abs=1e-6) for y in series["y"])


def test_loss_series_stands_on_the_promised_steps(client: Client, backprop_job: Job) -> None:
    points = client.jobs.series(backprop_job["id"], "loss", split="train", max_points=2000)
    [loss] = [series for series in points if series["layer"] is None and series["parameter"] is None]
    progress = backprop_job["progress"]
    assert progress is not None
    assert loss["x"][0] == 1
    assert loss["x"][-1] == progress["step"]
    assert loss["x"] == sorted(set(loss["x"]))
    assert loss["y"][-1] is not None and loss["y"][0] is not None
    assert loss["y"][-1] < loss["y"][0]


def test_diagnostics_name_every_layer(client: Client, backprop_job: Job) -> None:
    layers = [layer["layer"] for layer in client.jobs.diagnostics(backprop_job["id"])["layers"]]
    assert [layer for layer in layers if layer] == ["blocks.0", "blocks.1", "readout"]


def test_events_resume_after_the_last_seen_one(client: Client, backprop_job: Job) -> None:
    everything = list(client.jobs.events(backprop_job["id"]))
    assert [event.sequence for event in everything] == list(range(1, len(everything) + 1))
    assert everything[-1].type == "end"
    assert everything[-1].content["status"] == "succeeded"
    middle = len(everything) // 2
    assert list(client.jobs.events(backprop_job["id"], after=middle)) == everything[middle:]


def test_weights_are_served_whole_in_pieces_and_by_hash(client: Client, http: httpx2.Client, backprop_job: Job) -> None:
    weights = next(a for a in client.jobs.artifacts(backprop_job["id"]) if a["name"].endswith(".safetensors"))
    path = f"/v1/jobs/{backprop_job['id']}/artifacts/{weights['name']}"
    whole = http.get(path)
    assert hashlib.sha256(whole.content).hexdigest() == weights["sha256"]
    assert whole.headers["ETag"] == f'"{weights["sha256"]}"'
    piece = http.get(path, headers={"Range": "bytes=10-99"})
    assert piece.status_code == 206
    assert piece.content == whole.content[10:100]
    assert http.get(path, headers={"Range": f"bytes={len(whole.content)}-"}).status_code == 416
    assert http.get(path, headers={"If-None-Match": whole.headers["ETag"]}).status_code == 304
    assert int(http.head(path).headers["Content-Length"]) == len(whole.content)


def test_downloaded_artifact_is_the_served_one(client: Client, backprop_job: Job, tmp_path: Path) -> None:
    weights = next(a for a in client.jobs.artifacts(backprop_job["id"]) if a["name"].endswith(".safetensors"))
    file = client.jobs.download(backprop_job["id"], weights["name"], to=tmp_path / "weights.safetensors")
    assert hashlib.sha256(file.read_bytes()).hexdigest() == weights["sha256"]


def test_receipt_names_what_a_rerun_needs(client: Client, backprop_job: Job) -> None:
    receipt = client.jobs.receipt(backprop_job["id"])
    assert backprop_job["result"] is not None
    assert backprop_job["result"]["weights_sha256"] in str(receipt)


def test_same_spec_gives_the_same_weights(client: Client, backprop_job: Job) -> None:
    again = client.jobs.wait(client.jobs.retry(backprop_job["id"])["id"])
    assert again["forked_from"] == backprop_job["id"]
    assert again["result"] is not None and backprop_job["result"] is not None
    assert again["result"]["weights_sha256"] == backprop_job["result"]["weights_sha256"]


def test_key_never_makes_two_jobs(client: Client, http: httpx2.Client) -> None:
    headers = {"Idempotency-Key": "acceptance-" + hashlib.sha256(str(http.base_url).encode()).hexdigest()[:16]}
    first = http.post("/v1/jobs", json=ENDLESS, headers=headers)
    again = http.post("/v1/jobs", json=ENDLESS, headers=headers)
    client.jobs.cancel(first.json()["id"])
    assert first.status_code in (200, 202)
    assert again.status_code == 200
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.json()["id"] == first.json()["id"]
    other = http.post("/v1/jobs", json={**ENDLESS, "name": "another body"}, headers=headers)
    assert other.status_code == 422


def test_running_job_is_cancelled_and_stays_so(client: Client) -> None:
    job = client.jobs.create(ENDLESS)
    events = client.jobs.events(job["id"])
    first_step = next(event for event in events if event.type == "progress")
    assert first_step.content["step"] >= 1
    assert client.jobs.cancel(job["id"])["status"] == "cancelling"
    statuses = [event.content["status"] for event in events if event.type == "status"]
    assert statuses == ["cancelling", "cancelled"]
    assert client.jobs.cancel(job["id"])["status"] == "cancelled"
    with pytest.raises(Conflict):
        client.jobs.resume(job["id"])


def test_paused_job_goes_on_where_it_stopped(client: Client) -> None:
    job = client.jobs.create(ENDLESS)
    next(event for event in client.jobs.events(job["id"]) if event.type == "progress")
    client.jobs.pause(job["id"])
    next(e for e in client.jobs.events(job["id"]) if e.type == "status" and e.content["status"] == "paused")
    paused_at = (client.jobs.retrieve(job["id"])["progress"] or {})["step"]
    client.jobs.resume(job["id"])
    later = itertools.dropwhile(lambda event: event.content.get("status") != "paused", client.jobs.events(job["id"]))
    resumed = next(event for event in later if event.type == "progress")
    client.jobs.cancel(job["id"])
    assert resumed.content["step"] >= paused_at > 0
    assert [attempt["number"] for attempt in client.jobs.attempts(job["id"])] == [1, 2]
    assert client.jobs.attempts(job["id"])[1]["resumed_from_step"] > 0


def test_wrong_field_is_refused_with_pointer_and_suggestion(client: Client) -> None:
    with pytest.raises(InvalidRequest) as refused:
        client.jobs.create({**ENDLESS, "training": {"epoch": 3}})
    [item] = refused.value.problem["errors"]
    assert refused.value.status == 422
    assert item["pointer"] == "/training/epoch"
    assert "epochs" in str(item)


def test_unknown_job_is_not_found(client: Client) -> None:
    with pytest.raises(NotFound):
        client.jobs.retrieve("job_00000000000000000000000000")


def test_list_pages_meet_without_gap_or_repeat(client: Client) -> None:
    label = {"study": "pages"}
    made = [client.jobs.create({**ENDLESS, "labels": label})["id"] for _ in range(5)]
    for job_id in made:
        client.jobs.cancel(job_id)
    filters = {"label[study]": "pages"}
    first = client.jobs.page(limit=2, **filters)
    assert first["has_more"]
    seen = [job["id"] for job in client.jobs.list(**filters)]
    assert seen[:5] == made[::-1]
    assert [job["id"] for job in first["data"]] == seen[:2]


def test_catalog_names_the_learners_of_the_demo(client: Client) -> None:
    assert {"backprop", "forward_forward"} <= {entry["kind"] for entry in client.catalog("learners")}
    assert {"mlp", "cfc"} <= {entry["kind"] for entry in client.catalog("networks")}
