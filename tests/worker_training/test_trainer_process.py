"""The trainer as its worker sees it: a process with two pipes and a folder."""

import hashlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from specs.job import JobSpec
from specs.reports import Series
from tests.worker_training.running import DIGITS, Listener, points, prepared
from worker import checkpoint, frames
from worker.clock import boottime_s
from worker.trainer import _attempt, run, warm_up

REPOSITORY = Path(__file__).parents[2]
LONG = {"training": {"epochs": 100_000, "checkpoint_every_s": 0.2}}
DEADLINE_S = 60


def _spec(**sections: Any) -> JobSpec:
    return JobSpec.model_validate(
        {
            "dataset": DIGITS,
            "network": {"kind": "mlp", "hidden": [16]},
            "learner": {"kind": "backprop"},
            "optimizer": {"kind": "adam", "lr": 0.01},
            "training": {"epochs": 5},
            "diagnostics": {"budget_percent": None},
            **sections,
        }
    )


@pytest.fixture(scope="module", autouse=True)
def warm() -> None:
    """As in the template process: what forks of a warm process do is what a job does."""
    warm_up()


@dataclass
class Worker:
    """The other ends of a trainer's pipes."""

    pid: int
    up: int
    down: int
    folder: Path
    decoder: frames.Decoder
    seen: list[frames.Frame]
    code: int | None = None

    def until(self, kind: str) -> frames.Frame:
        """The first frame of ``kind`` that was not handed out before; everything before it is kept in ``seen``."""
        deadline = time.monotonic() + DEADLINE_S
        known = len([frame for frame in self.seen if frame.type == kind])
        while time.monotonic() < deadline:
            found = [frame for frame in self.seen if frame.type == kind]
            if len(found) > known:
                return found[known]
            if select.select([self.up], [], [], 0.1)[0]:
                received = os.read(self.up, 1 << 16)
                if not received:
                    break
                self.seen += self.decoder.feed(received)
        raise AssertionError(f"no {kind}; seen {[frame.type for frame in self.seen]}")

    def drain(self) -> int:
        """Reads to the end; the exit code."""
        while received := os.read(self.up, 1 << 16):
            self.seen += self.decoder.feed(received)
        return self.end()

    def end(self) -> int:
        """Reaps the process; its exit code."""
        if self.code is None:
            self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.code

    def types(self) -> list[str]:
        return [frame.type for frame in self.seen]


@contextmanager
def _trainer(spec: JobSpec, folder: Path, **order: Any) -> Iterator[Worker]:
    """A fork of this process that trains; the order is in its pipe before it starts."""
    attempt = folder / f"attempt-{time.monotonic_ns()}"
    attempt.mkdir()
    up_read, up_write = os.pipe()
    down_read, down_write = os.pipe()
    fields = {"job_id": "job_1", "attempt": 1, "device": "cpu", "lease_until": None, "resume": None, **order}
    frames.send(down_write, "work", spec=spec.resolved(), dataset=prepared(spec, folder), **fields)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.close(up_read)
            os.close(down_write)
            os.chdir(attempt)
            code = run(up_write, down_read)
        finally:
            os._exit(code)
    os.close(up_write)
    os.close(down_read)
    worker = Worker(pid, up_read, down_write, attempt, frames.Decoder(), [])
    try:
        yield worker
    finally:
        if worker.code is None:
            os.kill(pid, signal.SIGKILL)
            worker.end()
        os.close(up_read)
        if worker.down >= 0:
            os.close(worker.down)


def test_job_runs_to_its_result(tmp_path: Path) -> None:
    with _trainer(_spec(), tmp_path) as worker:
        assert worker.drain() == 0
        types = worker.types()
        assert types[:2] == ["started", "step"]
        assert types[-1] == "result"
        assert worker.seen[1].fields["step"] == 1
        result = worker.seen[-1].fields
        weights = load_file(result["artifacts"]["weights.safetensors"])
        assert checkpoint.weights_digest(weights) == result["weights_sha256"]
        assert result["metrics"]["test"]["accuracy"] > 0.5
        assert result["cost"]["flops"] > 0
        assert result["cost"]["energy"]["joules"] is not None or result["cost"]["energy"]["reason"]
        assert worker.seen[0].fields["receipt"]["versions"]["torch"] == torch.__version__


def test_stop_frame_checkpoints_and_a_new_process_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    length = {"training": {"budget": {"kind": "steps", "value": 400}, "checkpoint_every_s": 1000.0}}
    with _trainer(_spec(**length), tmp_path) as worker:
        worker.drain()
        undisturbed = worker.seen[-1].fields
    with _trainer(_spec(**length), tmp_path) as worker:
        worker.until("step")
        frames.send(worker.down, "stop", reason="pause")
        assert worker.drain() == 0
        assert worker.types()[-1] == "stopped"
        stopped, saved = worker.seen[-1].fields, worker.seen[-2].fields
        assert worker.types()[-2] == "checkpoint"
        assert 0 < saved["step"] == stopped["step"] < 400
        with _trainer(_spec(**length), tmp_path, resume=_resume(saved)) as second:
            assert second.drain() == 0
            assert second.seen[0].fields["step"] == saved["step"]
            assert second.seen[-1].fields["weights_sha256"] == undisturbed["weights_sha256"]


def _resume(saved: dict[str, Any]) -> dict[str, Any]:
    digest = hashlib.sha256(Path(saved["path"]).read_bytes()).hexdigest()
    return {"path": saved["path"], "sha256": digest, "step": saved["step"]}


def test_points_are_sent_before_the_checkpoint_that_holds_them(tmp_path: Path) -> None:
    with _trainer(_spec(**LONG), tmp_path) as worker:
        saved = worker.until("checkpoint")
        before = worker.seen[: worker.seen.index(saved)]
        series = [Series(**frame.fields, payload=frame.payload) for frame in before if frame.type == "series"]
        steps = points(list(series))["loss", None, "train"]
        assert max(steps) == saved.fields["step"] // 10 * 10
        worker.until("checkpoint")


def test_checkpoint_frame_makes_one_at_once(tmp_path: Path) -> None:
    with _trainer(_spec(training={"epochs": 100_000, "checkpoint_every_s": 1000.0}), tmp_path) as worker:
        worker.until("step")
        frames.send(worker.down, "checkpoint")
        assert worker.until("checkpoint").fields["step"] > 0


def test_end_of_lease_ends_the_process_by_itself(tmp_path: Path) -> None:
    with _trainer(_spec(**LONG), tmp_path, lease_until=boottime_s() + DEADLINE_S) as worker:
        worker.until("step")
        frames.send(worker.down, "lease", until=boottime_s() + 0.3)
        assert worker.drain() == 76
        assert worker.types()[-1] not in ("result", "stopped", "error")


def test_renewed_lease_keeps_it_alive(tmp_path: Path) -> None:
    spec = _spec(training={"budget": {"kind": "seconds", "value": 1.0}})
    with _trainer(spec, tmp_path, lease_until=boottime_s() + DEADLINE_S) as worker:
        worker.until("step")
        frames.send(worker.down, "lease", until=boottime_s() + DEADLINE_S)
        assert worker.drain() == 0
        assert worker.types()[-1] == "result"


def test_closed_pipe_means_that_the_worker_is_gone(tmp_path: Path) -> None:
    with _trainer(_spec(**LONG), tmp_path) as worker:
        worker.until("step")
        os.close(worker.down)
        worker.down = -1
        assert worker.drain() == 77


def test_progress_is_at_most_five_a_second(tmp_path: Path) -> None:
    spec = _spec(training={"budget": {"kind": "seconds", "value": 1.0}})
    with _trainer(spec, tmp_path) as worker:
        worker.until("step")
        started = time.monotonic()
        worker.drain()
        assert worker.types().count("step") <= 3 + 5 * (time.monotonic() - started)


def test_corrupt_checkpoint_is_a_finding(tmp_path: Path) -> None:
    torn = tmp_path / "checkpoint-3.safetensors"
    torn.write_bytes(b"\x10\0\0\0\0\0\0\0{}")
    with _trainer(_spec(), tmp_path, resume={"path": str(torn), "sha256": "0" * 64, "step": 3}) as worker:
        assert worker.drain() == 0
        assert worker.seen[-1].type == "error"
        assert worker.seen[-1].fields["kind"] == "checkpoint_corrupt"
        assert "digest" in worker.seen[-1].fields["message"]


def test_network_that_does_not_fit_the_data_is_the_users_fault(tmp_path: Path) -> None:
    spec = _spec(dataset={"kind": "synthetic", "name": "parity", "rows": 200})
    other = JobSpec.model_validate(
        {**_spec().resolved(), "dataset": {"kind": "file", "path": "x.csv"}, "network": {"kind": "cfc"}}
    )
    answer = prepared(spec, tmp_path)
    link = Listener()
    order = frames.Frame("work", {"spec": other.resolved(), "dataset": answer, "device": "cpu"})
    _attempt(order, link, folder=tmp_path)
    failure = link.reports[-1]
    assert failure.kind == "data_mismatch"  # type: ignore[attr-defined]
    assert failure.fault == "user"  # type: ignore[attr-defined]


@pytest.mark.parametrize("garbage", [b"\xff\xff\xff\xff", b"\x02\0\0\0[]"])
def test_garbage_instead_of_an_order_raises(garbage: bytes) -> None:
    read, write = os.pipe()
    os.write(write, garbage)
    os.close(write)
    try:
        with pytest.raises(frames.ProtocolError):
            run(1, read)
    finally:
        os.close(read)


def test_module_runs_as_a_program(tmp_path: Path) -> None:
    spec = _spec()
    up_read, up_write = os.pipe()
    down_read, down_write = os.pipe()
    frames.send(down_write, "work", spec=spec.resolved(), dataset=prepared(spec, tmp_path), device="cpu")
    process = subprocess.run(
        [sys.executable, "-m", "worker.trainer", str(up_write), str(down_read)],
        pass_fds=(up_write, down_read),
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)},
        timeout=DEADLINE_S,
        check=False,
    )
    os.close(up_write)
    received = b"".join(iter(lambda: os.read(up_read, 1 << 16), b""))
    for fd in (up_read, down_read, down_write):
        os.close(fd)
    assert process.returncode == 0
    assert frames.Decoder().feed(received)[-1].type == "result"


def test_warm_up_leaves_one_thread_and_the_global_generator_alone() -> None:
    code = (
        "import os, torch; before = torch.random.get_rng_state();"
        "from worker.trainer import warm_up; warm_up();"
        "assert torch.equal(before, torch.random.get_rng_state());"
        "assert not torch.cuda.is_initialized();"
        "assert len(os.listdir('/proc/self/task')) == 1, os.listdir('/proc/self/task')"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, timeout=DEADLINE_S)
