"""The `afterprop` command with a service behind it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from afterprop.client import Client

pytestmark = pytest.mark.service

SHORT: dict[str, Any] = {
    "name": "[bold]a name with brackets[/bold]",
    "dataset": {"kind": "builtin", "name": "iris"},
    "network": {"kind": "mlp", "hidden": [8]},
    "learner": {"kind": "backprop"},
    "training": {"epochs": 2, "batch_size": 32},
}
DIVERGES = {**SHORT, "optimizer": {"kind": "sgd", "lr": 1e6}, "training": {"epochs": 50, "batch_size": 32}}
ENDLESS = {**SHORT, "training": {"epochs": 1_000_000, "batch_size": 32}}


@pytest.fixture
def afterprop(service_url: str) -> Any:
    def run(*arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "afterprop.cli", *arguments],
            input=text,
            stdin=subprocess.DEVNULL if text is None else None,
            capture_output=True,
            text=True,
            timeout=90,
            env={**os.environ, "AFTERPROP_URL": service_url},
            check=False,
        )

    return run


def test_watched_job_that_succeeds_is_exit_0_and_shows_its_score(afterprop: Any, tmp_path: Path) -> None:
    spec = tmp_path / "job.json"
    spec.write_text(json.dumps(SHORT))
    ran = afterprop("submit", str(spec), "--watch")
    assert ran.returncode == 0, ran.stderr
    assert "accuracy" in ran.stdout
    assert SHORT["name"] in ran.stdout


def test_watched_job_that_fails_is_exit_1_and_says_why(afterprop: Any, client: Client) -> None:
    ran = afterprop("submit", "-", "--watch", text=json.dumps(DIVERGES))
    assert ran.returncode == 1, ran.stdout
    error = next(client.jobs.list(status="failed"))["error"]
    assert error is not None
    assert error["message"] in ran.stderr


def test_watch_as_json_is_events_and_then_the_job(afterprop: Any) -> None:
    ran = afterprop("submit", "-", "--watch", "--json", text=json.dumps(SHORT))
    *events, job = [json.loads(line) for line in ran.stdout.splitlines()]
    assert [event["sequence"] for event in events] == list(range(1, len(events) + 1))
    assert events[-1]["type"] == "end"
    assert job["status"] == "succeeded"


def test_show_and_list_know_the_job(afterprop: Any) -> None:
    job_id = afterprop("submit", "-", text=json.dumps(SHORT)).stdout.strip()
    assert json.loads(afterprop("show", job_id, "--json").stdout)["id"] == job_id
    assert job_id in afterprop("show", job_id).stdout
    listed = json.loads(afterprop("list", "--json", "--limit", "3").stdout)
    assert listed[0]["id"] == job_id
    assert job_id in afterprop("list").stdout


def test_show_tells_what_is_wrong_and_what_would_mend_it(afterprop: Any, client: Client) -> None:
    job_id = client.jobs.wait(client.jobs.create(DIVERGES)["id"])["id"]
    shown = afterprop("show", job_id).stdout
    verdicts = json.loads(afterprop("show", job_id, "--json").stdout)["verdicts"]
    assert "nonfinite" in [verdict["code"] for verdict in verdicts]
    for verdict in verdicts:
        assert f"{verdict['code']} in {verdict['layer'] or 'the whole network'}" in shown
        assert all(remedy["title"] in shown for remedy in verdict["remedies"])


def test_pause_resume_and_cancel_are_asked_for(afterprop: Any, client: Client) -> None:
    job_id = json.loads(afterprop("submit", "-", "--json", text=json.dumps(ENDLESS)).stdout)["id"]
    next(event for event in client.jobs.events(job_id) if event.type == "progress")
    assert "pausing" in afterprop("pause", job_id).stdout
    next(event for event in client.jobs.events(job_id) if event.content.get("status") == "paused")
    assert json.loads(afterprop("resume", job_id, "--json").stdout)["desired_state"] == "run"
    assert afterprop("cancel", job_id).returncode == 0
    assert client.jobs.wait(job_id)["status"] == "cancelled"
    refused = afterprop("resume", job_id)
    assert refused.returncode == 2
    assert "paused" in refused.stderr


def test_interrupted_watch_is_exit_130_and_the_job_goes_on(service_url: str, client: Client) -> None:
    job = client.jobs.create(ENDLESS)
    command = [sys.executable, "-m", "afterprop.cli", "watch", job["id"]]
    environment = {**os.environ, "AFTERPROP_URL": service_url}
    try:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as watching:
            next(event for event in client.jobs.events(job["id"]) if event.type == "progress")
            assert watching.stdout is not None
            watching.stdout.readline()
            watching.send_signal(signal.SIGINT)
            try:
                _, errors = watching.communicate(timeout=60)
            finally:
                watching.kill()
        assert watching.returncode == 130
        assert b"goes on" in errors
        assert client.jobs.retrieve(job["id"])["phase"] == "active"
    finally:
        client.jobs.cancel(job["id"])  # or it would keep the only worker from all tests that follow


def test_same_key_never_makes_two_jobs(afterprop: Any) -> None:
    arguments = ("submit", "-", "--idempotency-key", "typed-by-hand")
    first, second = (afterprop(*arguments, text=json.dumps(SHORT)).stdout for _ in range(2))
    assert first == second


def test_refused_spec_names_what_is_allowed(afterprop: Any) -> None:
    ran = afterprop("submit", "-", text=json.dumps({**SHORT, "learner": {"kind": "magic"}}))
    assert ran.returncode == 2
    assert "/learner" in ran.stderr
    assert "forward_forward" in ran.stderr


COMPARED: dict[str, Any] = {
    "name": "two on iris",
    "dataset": SHORT["dataset"],
    "network": SHORT["network"],
    "learners": ["mono_forward"],
    "training": SHORT["training"],
    "seeds": 2,
    "tuning": None,
}


def test_comparison_is_waited_for_and_its_answer_is_written_as_page_and_bundle(afterprop: Any, tmp_path: Path) -> None:
    page, bundle = tmp_path / "answer.html", tmp_path / "answer.zip"
    ran = afterprop("compare", "-", "--html", str(page), "--bundle", str(bundle), text=json.dumps(COMPARED))
    assert ran.returncode == 0, ran.stderr
    assert "mono_forward" in ran.stdout
    assert "On iris" in ran.stdout
    assert "of 12 jobs" in ran.stderr
    assert page.read_text().startswith("<!doctype html>")
    assert bundle.read_bytes()[:2] == b"PK"


def test_detached_comparison_is_its_id_and_a_refused_one_is_exit_2(afterprop: Any, client: Client) -> None:
    ran = afterprop("compare", "-", "--detach", text=json.dumps(COMPARED))
    comparison_id = ran.stdout.strip()
    assert (ran.returncode, client.comparisons.retrieve(comparison_id)["name"]) == (0, "two on iris")
    assert comparison_id in [found["id"] for found in client.comparisons.list()]
    assert client.comparisons.cancel(comparison_id)["status"] in ("cancelling", "cancelled")
    assert client.comparisons.wait(comparison_id)["status"] == "cancelled"
    refused = afterprop("compare", "-", text=json.dumps({**COMPARED, "learners": ["mono_forwards"]}))
    assert (refused.returncode, "did you mean 'mono_forward'" in refused.stderr) == (2, True)


def test_estimate_says_what_the_job_then_takes_and_leaves_no_job(afterprop: Any, client: Client) -> None:
    fresh = {**SHORT, "network": {"kind": "mlp", "hidden": [9]}}
    before = client.queue()
    ran = afterprop("estimate", "-", "--json", text=json.dumps(fresh))
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    assert client.queue() == before
    job = client.jobs.wait(client.jobs.create(fresh)["id"])
    assert job["result"] is not None
    cost = job["result"]["cost"]
    assert told["parameters"] == cost["parameters"]
    assert told["flops"] == pytest.approx(cost["flops"], rel=0.01)
    assert told["memory"]["activations"] == cost["memory"]["activation_bytes"]
    assert (told["fits"], told["memory"]["basis"], told["seconds_basis"]) == (True, "rehearsed", "rehearsed")
    assert client.jobs.receipt(job["id"])["estimate"] == told


def test_job_that_does_not_fit_is_exit_1_and_says_why(afterprop: Any) -> None:
    short_of_time = {**SHORT, "training": {"epochs": 1_000_000}, "limits": {"max_runtime_s": 1}}
    ran = afterprop("estimate", "-", text=json.dumps(short_of_time))
    assert ran.returncode == 1, ran.stderr
    assert "limits.max_runtime_s" in ran.stdout
