"""`afterprop up`: starts whole, stops clean, and leaves nothing behind however it ends."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from afterprop.client import Client
from afterprop.state_folder import birth
from tests.embedded_stack import EmbeddedStack, alive

pytestmark = pytest.mark.service

NewStack = Callable[..., EmbeddedStack]


def is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=30) as answer:
            return answer.status == 200
    except OSError:
        return False


def wait_until(holds: Callable[[], bool], *, within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.05)
    return holds()


def post_endless_job(url: str) -> str:
    """A job that has done its first step; only a signal ends it."""
    spec = {
        "dataset": {"kind": "builtin", "name": "iris"},
        "network": {"kind": "mlp", "hidden": [8]},
        "learner": {"kind": "backprop"},
        "training": {"epochs": 1_000_000, "batch_size": 32, "checkpoint_every_s": 0.5},
    }
    with Client(url) as client:
        job = client.jobs.create(spec)
        next(event for event in client.jobs.events(job["id"]) if event.type == "progress")
    return job["id"]


def attempts_when_second_is_running(url: str, job_id: str) -> list[dict[str, Any]]:
    with Client(url) as client:

        def second_is_running() -> bool:
            job = client.jobs.retrieve(job_id)
            return job["attempt"] == 2 and job["status"] == "running"

        assert wait_until(second_is_running, within_s=60)
        return client.jobs.attempts(job_id)


def test_ctrl_c_stops_everything_and_the_next_start_goes_on_with_the_job(new_stack: NewStack) -> None:
    stack = new_stack().start()
    job_id = post_endless_job(stack.url)
    family = stack.descendants()
    started = time.monotonic()
    assert stack.stop(signal.SIGINT) == 130
    assert time.monotonic() - started < 30
    assert alive(family) == []
    first, second = attempts_when_second_is_running(new_stack().start().url, job_id)
    assert first["exit_cause"] == "preempted"
    assert second["resumed_from_step"] > 0


def test_sigterm_is_a_clean_end(new_stack: NewStack) -> None:
    stack = new_stack().start()
    family = stack.descendants()
    assert stack.stop(signal.SIGTERM) == 0
    assert alive(family) == []
    assert not (stack.state_dir / "up.json").exists()


def test_sigkill_leaves_nothing_after_two_seconds_and_the_next_start_goes_on(new_stack: NewStack) -> None:
    stack = new_stack(AFTERPROP_LEASE_S="3").start()
    job_id = post_endless_job(stack.url)
    time.sleep(1.5)  # until a checkpoint stands
    family = stack.descendants()
    assert len(family) >= 5, "broker, API, worker, template and trainer"
    stack.kill()
    assert wait_until(lambda: alive(family) == [], within_s=2), alive(family)
    _, second = attempts_when_second_is_running(new_stack(AFTERPROP_LEASE_S="3").start().url, job_id)
    assert second["resumed_from_step"] > 0


def test_second_up_on_the_same_folder_is_refused(embedded_stack: EmbeddedStack) -> None:
    stack = embedded_stack
    second = subprocess.run(
        [sys.executable, "-m", "afterprop.cli", "up", "--port", "0", "--state-dir", str(stack.state_dir)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert second.returncode == 2
    assert stack.url in second.stderr
    assert is_ready(stack.url)


def test_taken_port_is_refused(embedded_stack: EmbeddedStack, tmp_path: Path) -> None:
    port = embedded_stack.url.rpartition(":")[2]
    second = subprocess.run(
        [sys.executable, "-m", "afterprop.cli", "up", "--port", port, "--state-dir", str(tmp_path / "other")],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert second.returncode == 2
    assert port in second.stderr


def test_dead_part_is_started_again(new_stack: NewStack) -> None:
    stack = new_stack().start()
    for name in ("api", "worker-1", "broker"):
        dead = stack.child_pid(name)
        os.kill(dead, signal.SIGKILL)
        assert wait_until(lambda dead=dead, name=name: stack.child_pid(name) != dead, within_s=10), name
    assert wait_until(lambda: is_ready(stack.url), within_s=60)


def sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)"], start_new_session=True)


def test_start_ends_what_a_dead_stack_left_and_spares_a_reused_number(new_stack: NewStack) -> None:
    stack = new_stack()
    with sleeper() as orphan, sleeper() as bystander:
        left_over = {"name": "left-over", "pid": orphan.pid, "birth": birth(orphan.pid)}
        reused = {"name": "api", "pid": bystander.pid, "birth": "an earlier birth"}
        stack.state_dir.mkdir()
        (stack.state_dir / "up.json").write_text(json.dumps({"pid": 1, "url": "", "children": [left_over, reused]}))
        stack.start()
        assert orphan.wait(5) == -signal.SIGKILL
        assert bystander.poll() is None
        bystander.kill()


LEASH = Path(__file__).parents[2] / "afterprop" / "leash.py"
# The second form is what other systems than Linux use: a thread that watches the parent.
LEASHES = {
    "kernel": [sys.executable, "-S", str(LEASH)],
    "thread": [
        sys.executable,
        "-c",
        "import sys; from afterprop.leash import accompany;"
        "accompany(sys.argv[3:], parent=int(sys.argv[1]), number=int(sys.argv[2]), inherited=())",
    ],
}


@pytest.mark.parametrize("form", LEASHES)
def test_leashed_command_ends_with_its_parent(form: str) -> None:
    program = (
        "import os, subprocess, time\n"
        f"subprocess.Popen([*{LEASHES[form]!r}, str(os.getpid()), '9', 'sleep', '120'])\n"
        "time.sleep(120)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program]) as parent:

        def sleepers() -> list[psutil.Process]:
            family = psutil.Process(parent.pid).children(recursive=True)
            return [process for process in family if process.name() == "sleep"]

        assert wait_until(lambda: len(sleepers()) == 1, within_s=10)
        family = psutil.Process(parent.pid).children(recursive=True)
        os.kill(parent.pid, signal.SIGKILL)
        assert wait_until(lambda: alive(family) == [], within_s=2), alive(family)
