"""A job of every learner, through the service: cancelled, nothing of it is left; paused and resumed, no bit is lost."""

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from afterprop.answers import Job
from afterprop.client import Client
from afterprop.errors import Conflict
from specs.compatibility import kind_of
from specs.learners import LEARNER_SPECS
from specs.rule import Rule
from tests.embedded_stack import EmbeddedStack

pytestmark = [pytest.mark.service, pytest.mark.slow, pytest.mark.timeout(400)]

SECONDS = 1.0  # of training, in which a job is to be caught
ENDLESS = 10_000_000
AT_ONCE = 4  # jobs of as many learners, for two workers: one is always waiting


@dataclass(frozen=True)
class Life:
    """What came of a learner's three jobs."""

    cancelled: Job
    group_is_gone: bool
    steps: int
    paused: Job
    resumed: Job
    attempts: list[dict[str, Any]]
    undisturbed: Job


def body(rule: type[Rule], steps: int) -> dict[str, Any]:
    """The learner's example, of this length."""
    training = {"budget": {"kind": "steps", "value": steps}, "batch_size": 32, "evaluate_every_epochs": ENDLESS}
    measured = {"every_steps": 100, "alignment_every_steps": None}
    return {**rule.example, "training": training, "diagnostics": measured}


def once(client: Client, job: Job, holds: Callable[[Job], Any], timeout_s: float = 120) -> Job:
    """The job as soon as this is true of it."""
    deadline = time.monotonic() + timeout_s
    while not holds(job := client.jobs.retrieve(job["id"])):
        assert job["phase"] != "terminal" and time.monotonic() < deadline, (job["status"], job["error"])
        time.sleep(0.02)
    return job


def cancel_in_the_middle(client: Client, rule: type[Rule]) -> tuple[Job, bool, float]:
    """The cancelled job, whether its process group is gone, and the steps that it did in a second."""
    job = client.jobs.create(body(rule, ENDLESS))
    # The first step is warming up.
    running = once(client, job, lambda job: (job["progress"] or {}).get("step", 0) > 1)
    (attempt,) = client.jobs.attempts(job["id"])
    group = os.getpgid(attempt["trainer_pid"])
    assert group != os.getpgid(0)
    client.jobs.cancel(job["id"])
    cancelled = once(client, job, lambda job: job["phase"] == "terminal")
    rate = (running["progress"] or {})["samples_per_s"] or 0.0
    return cancelled, is_gone(group), rate / 32


def is_gone(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


def pause_in_the_middle(client: Client, fields: dict[str, Any]) -> Job | None:
    """The paused job; None where it was over before."""
    job = client.jobs.create(fields)
    once(client, job, lambda job: job["phase"] == "terminal" or (job["progress"] or {}).get("step"))
    try:
        client.jobs.pause(job["id"])
    except Conflict:
        return None
    stopped = once(client, job, lambda job: job["status"] in ("paused", "succeeded"))
    return stopped if stopped["status"] == "paused" else None


def life(url: str, rule: type[Rule]) -> Life:
    with Client(url) as client:
        cancelled, group_is_gone, rate = cancel_in_the_middle(client, rule)
        steps = max(20, round(rate * SECONDS))
        while (paused := pause_in_the_middle(client, body(rule, steps))) is None:
            steps *= 2  # it was too quick for us
            assert steps < ENDLESS
        undisturbed = client.jobs.create(body(rule, steps))
        client.jobs.resume(paused["id"])
        resumed = once(client, paused, lambda job: job["status"] == "succeeded")
        undisturbed = once(client, undisturbed, lambda job: job["status"] == "succeeded")
        return Life(cancelled, group_is_gone, steps, paused, resumed, client.jobs.attempts(paused["id"]), undisturbed)


@pytest.fixture(scope="module")
def lives(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, "Future[Life]"]]:
    """By kind; some are lived at a time, on one stack."""
    settings = {"AFTERPROP_WATCH_S": "0.1", "OMP_NUM_THREADS": "1"}
    stack = EmbeddedStack(tmp_path_factory.mktemp("learners") / "state", workers=2, **settings)
    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        url = stack.start().url
        yield {kind_of(rule): pool.submit(life, url, rule) for rule in LEARNER_SPECS}
    finally:
        pool.shutdown(cancel_futures=True)
        stack.end()


@pytest.mark.parametrize("kind", [kind_of(rule) for rule in LEARNER_SPECS])
def test_cancelled_job_leaves_nothing_and_resumed_job_has_the_weights_of_an_undisturbed_one(
    kind: str, lives: dict[str, "Future[Life]"]
) -> None:
    lived = lives[kind].result()
    assert lived.cancelled["status"] == "cancelled" and lived.group_is_gone
    reached = (lived.paused["progress"] or {})["step"]
    first, second = lived.attempts
    assert 0 < reached <= second["resumed_from_step"] < lived.steps
    assert first["resumed_from_step"] in (None, 0)
    results = [job["result"] for job in (lived.resumed, lived.undisturbed)]
    assert results[0] is not None and results[1] is not None
    assert results[0]["weights_sha256"] == results[1]["weights_sha256"]
    assert results[0]["metrics"] == results[1]["metrics"]
