"""One attempt at a time on a real database and real processes: whatever a trainer does, its job ends as it should."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from alembic import command
from sqlalchemy import select

from migrations.__main__ import configuration
from store import artifacts, events, jobs, logs, series, settlement, verdicts, workers
from store.database import Database, connect, now_s
from store.queue import Bell
from store.settings import Settings
from store.tables import Attempt, Job
from worker.keeper import Keeper
from worker.places import Places
from worker.poller import Poller
from worker.watcher import Watcher
from worker.workshop import Workshop

REHEARSAL = "tests.worker_processes.rehearsal_trainer"


@pytest.fixture(scope="module")
def keeper() -> Iterator[Keeper]:
    made = Keeper(trainer=REHEARSAL)
    made.start()
    assert made.wait_ready(30)
    yield made
    made.close()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = connect(f"sqlite:///{tmp_path / 'afterprop.db'}", role="worker", busy_timeout_s=0.2)
    with made.engine.connect() as connection:
        configuration.attributes["connection"] = connection
        command.upgrade(configuration, "head")
        connection.commit()
    yield made
    made.dispose()


class Rehearsal:
    """A workshop in this process, with a watcher, and jobs that play their parts."""

    def __init__(self, database: Database, keeper: Keeper, settings: Settings) -> None:
        self.database = database
        self.shop = Workshop(
            worker_id="wrk_rehearsal",
            settings=settings,
            database=database,
            launcher=keeper,
            places=Places(cpu_slots=1, gpu_uuids=[]),
            bell=Bell(settings),
        )
        self.watcher = Watcher(self.shop)
        self.poller = Poller(self.shop, self.watcher)
        with database.writing.begin() as session:
            workers.register(
                session,
                worker_id=self.shop.worker_id,
                host="here",
                pid=os.getpid(),
                classes=["cpu"],
                slots=1,
                devices=[],
                launcher={},
                versions={},
            )
        self.watcher.start()

    def close(self) -> None:
        self.shop.stopping.set()
        self.watcher.close()
        self.shop.bell.close()

    def post(self, part: str, **limits: Any) -> str:
        spec = {
            "name": part,
            "dataset": {"kind": "builtin", "name": "iris"},
            "network": {"kind": "mlp"},
            "learner": {"kind": "backprop"},
            "training": {"precision": "float32"},
            "resources": {"threads": 1},
            "limits": {"max_attempts": 3, "max_runtime_s": 60, **limits},
        }
        with self.database.writing.begin() as session:
            return jobs.create(session, spec={}, resolved_spec=spec, resource_class="cpu", dataset="iris").id

    def run(self) -> None:
        """One attempt, as a bell would start it."""
        assert self.poller.answer_bell("cpu")

    def begin(self) -> threading.Thread:
        thread = threading.Thread(target=self.run)
        thread.start()
        return thread

    def job(self, job_id: str) -> Job:
        with self.database.reading() as session:
            return jobs.get(session, job_id)

    def attempts(self, job_id: str) -> list[Attempt]:
        with self.database.reading() as session:
            return list(session.scalars(select(Attempt).where(Attempt.job_id == job_id).order_by(Attempt.number)))

    def wait_for_step(self, job_id: str, step: int) -> None:
        wait_until(lambda: self.job(job_id).step >= step)

    def ask(self, act: Callable[[Any, str], Any], job_id: str) -> None:
        with self.database.writing.begin() as session:
            act(session, job_id)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepared data of all tests of this file."""
    return tmp_path_factory.mktemp("prepared")


@pytest.fixture
def make(tmp_path: Path, database: Database, keeper: Keeper, prepared: Path) -> Iterator[Callable[..., Rehearsal]]:
    made: list[Rehearsal] = []
    (tmp_path / "prepared").symlink_to(prepared)

    def rehearsal(**settings: Any) -> Rehearsal:
        chosen = Settings(
            **{
                "state_dir": tmp_path,
                "broker_url": "redis://127.0.0.1:1/0",
                "lease_s": 9,
                "watch_s": 0.05,
                "cancel_grace_s": 0.5,
                "stop_grace_s": 1.0,
                **settings,
            }
        )
        made.append(Rehearsal(database, keeper, chosen))
        return made[-1]

    yield rehearsal
    for each in made:
        each.close()


@contextmanager
def locked(database: Database) -> Iterator[None]:
    """Nobody else can write inside this block."""
    with database.writing.begin() as session:
        session.execute(select(1))  # a transaction begins with its first statement
        yield


def wait_until(holds: Callable[[], bool], timeout_s: float = 10) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_completed_job_is_recorded_whole(make: Callable[..., Rehearsal], tmp_path: Path) -> None:
    rehearsal = make()
    job_id = rehearsal.post("complete")
    rehearsal.run()
    job = rehearsal.job(job_id)
    assert (job.status, job.step, job.attempt, job.charged_attempts) == ("succeeded", 10, 1, 0)
    assert job.result is not None
    assert job.result["metrics"] == {"test": {"loss": 0.5, "accuracy": None}}
    assert job.result["nonfinite"] == [{"pointer": "/metrics/test/accuracy", "kind": "inf"}]
    (attempt,) = rehearsal.attempts(job_id)
    assert (attempt.exit_cause, attempt.resumed_from_step, attempt.device) == ("succeeded", 0, "cpu")
    assert job.receipt == {"pid": attempt.trainer_pid}
    with rehearsal.database.reading() as session:
        (points,) = series.read(session, job_id)
        assert points.steps.tolist() == list(range(1, 11))
        lines = [line.message for line in logs.page(session, job_id)]
        (evaluation,) = events.page(session, job_id, types=["evaluation"])
        kinds = [event.type for event in events.page(session, job_id)]
        kept = [*artifacts.of_job(session, job_id), *artifacts.checkpoints(session, job_id)]
    assert lines == ["trained"]
    assert evaluation.detail == {
        "loss": None,
        "note": "a\u2400b",
        "nonfinite": [{"pointer": "/loss", "kind": "nan"}],
    }
    assert kinds[-1] == "end" and "checkpoint" in kinds and "progress" in kinds
    assert len(kept) == 2
    for row in kept:
        assert artifacts.file_sha256(Path(row.path)) == row.sha256
    assert list((tmp_path / "attempts").iterdir()) == []


def test_finding_fails_the_job_at_once(make: Callable[..., Rehearsal]) -> None:
    rehearsal = make()
    job_id = rehearsal.post("diverge")
    rehearsal.run()
    job = rehearsal.job(job_id)
    assert job.status == "failed" and job.error is not None
    assert {"kind": "diverged", "fault": "user", "step": 1, "layer": "blocks.0"}.items() <= job.error.items()
    assert job.charged_attempts == 0
    with rehearsal.database.reading() as session:
        (verdict,) = verdicts.of_job(session, job_id)
        kinds = [event.type for event in events.page(session, job_id)]
    assert (verdict.code, verdict.layer, verdict.attempt) == ("nonfinite", "blocks.0", 1)
    assert (verdict.evidence["value"], verdict.evidence["facts"]) == (None, {"part": "a\u2400b"})
    assert kinds.count("verdict") == 1 and kinds.index("verdict") < kinds.index("end")


@pytest.mark.parametrize(
    ("part", "code"),
    [
        ("die", "crashed"),
        ("garbage", "protocol_error"),
        ("unknown-report", "protocol_error"),
        ("foreign-file", "protocol_error"),
    ],
)
def test_poison_job_fails_after_exactly_its_attempts(make: Callable[..., Rehearsal], part: str, code: str) -> None:
    rehearsal = make()
    job_id = rehearsal.post(part)
    for _ in range(3):
        rehearsal.run()
    job = rehearsal.job(job_id)
    assert (job.status, job.attempt, job.charged_attempts) == ("failed", 3, 3)
    assert job.error is not None and job.error["kind"] == code
    assert [attempt.exit_cause for attempt in rehearsal.attempts(job_id)] == [code] * 3
    after = rehearsal.post("complete")
    rehearsal.run()
    assert rehearsal.job(after).status == "succeeded"


def test_stalled_trainer_is_killed_and_charged(make: Callable[..., Rehearsal]) -> None:
    rehearsal = make(stall_s=0.5)
    job_id = rehearsal.post("stall", max_attempts=1)
    rehearsal.run()
    job = rehearsal.job(job_id)
    assert job.status == "failed" and job.error is not None and job.error["kind"] == "stalled"


def test_time_limit_ends_the_job_with_its_checkpoint(make: Callable[..., Rehearsal]) -> None:
    rehearsal = make()
    job_id = rehearsal.post("go-on", max_runtime_s=0.5)
    rehearsal.run()
    job = rehearsal.job(job_id)
    assert job.status == "failed" and job.error is not None
    assert (job.error["kind"], job.error["fault"]) == ("time_limit", "user")
    assert job.checkpoint_id is not None


def test_paused_job_resumes_where_it_stopped(make: Callable[..., Rehearsal]) -> None:
    rehearsal = make()
    job_id = rehearsal.post("go-on")
    running = rehearsal.begin()
    rehearsal.wait_for_step(job_id, 3)
    rehearsal.ask(jobs.pause, job_id)
    running.join()
    paused = rehearsal.job(job_id)
    assert (paused.status, paused.charged_attempts) == ("paused", 0)
    rehearsal.ask(jobs.resume, job_id)
    running = rehearsal.begin()
    rehearsal.wait_for_step(job_id, paused.step + 1)
    rehearsal.ask(jobs.cancel, job_id)
    running.join()
    assert rehearsal.job(job_id).status == "cancelled"
    with rehearsal.database.reading() as session:
        (checkpoint,) = artifacts.checkpoints(session, job_id)
    assert [attempt.resumed_from_step for attempt in rehearsal.attempts(job_id)] == [0, checkpoint.step]


def test_trainer_that_does_not_listen_is_killed_when_paused(make: Callable[..., Rehearsal]) -> None:
    rehearsal = make()
    job_id = rehearsal.post("deaf")
    running = rehearsal.begin()
    rehearsal.wait_for_step(job_id, 1)
    rehearsal.ask(jobs.pause, job_id)
    running.join()
    assert (rehearsal.job(job_id).status, rehearsal.job(job_id).charged_attempts) == ("paused", 0)


def test_cancelled_means_that_the_process_is_gone(make: Callable[..., Rehearsal]) -> None:
    rehearsal = make()
    job_id = rehearsal.post("deaf")
    running = rehearsal.begin()
    rehearsal.wait_for_step(job_id, 1)
    pid = rehearsal.attempts(job_id)[0].trainer_pid
    rehearsal.ask(jobs.cancel, job_id)
    wait_until(lambda: rehearsal.job(job_id).status == "cancelled")
    assert pid is not None and not psutil.pid_exists(pid)
    running.join()


def test_stopping_worker_gives_the_job_back_uncharged(make: Callable[..., Rehearsal]) -> None:
    rehearsal = make()
    job_id = rehearsal.post("go-on")
    running = rehearsal.begin()
    rehearsal.wait_for_step(job_id, 2)
    rehearsal.shop.stopping.set()
    running.join()
    job = rehearsal.job(job_id)
    assert (job.status, job.reason_code, job.charged_attempts) == ("queued", "preempted", 0)
    assert job.checkpoint_id is not None


def test_fenced_attempt_writes_nothing_more(make: Callable[..., Rehearsal]) -> None:
    rehearsal = make()
    job_id = rehearsal.post("go-on")
    running = rehearsal.begin()
    rehearsal.wait_for_step(job_id, 2)
    with rehearsal.database.writing.begin() as session:
        settlement.settle(session, job_id, 1, charge=True, code="worker_lost", message="somebody else says so")
    running.join()
    job = rehearsal.job(job_id)
    assert (job.status, job.reason_code, job.charged_attempts) == ("queued", "worker_lost", 1)
    (attempt,) = rehearsal.attempts(job_id)
    assert attempt.exit_cause == "worker_lost"


def test_flood_of_series_is_bounded_and_counted(make: Callable[..., Rehearsal]) -> None:
    rehearsal = make()
    job_id = rehearsal.post("flood")
    before = psutil.Process().memory_info().rss  # other tests of this process may have left much
    rehearsal.run()
    assert rehearsal.job(job_id).status == "succeeded"
    assert psutil.Process().memory_info().rss - before < 200 << 20
    with rehearsal.database.reading() as session:
        warnings = events.page(session, job_id, types=["warning"])
    assert [warning.detail["code"] for warning in warnings] in ([], ["series_dropped"])


def test_locked_database_within_the_lease_disturbs_nothing(make: Callable[..., Rehearsal]) -> None:
    rehearsal = make(lease_s=3)
    job_id = rehearsal.post("go-on")
    running = rehearsal.begin()
    rehearsal.wait_for_step(job_id, 2)
    with locked(rehearsal.database):
        step = rehearsal.job(job_id).step
        time.sleep(1.5)
    rehearsal.wait_for_step(job_id, step + 10)
    assert rehearsal.job(job_id).attempt == 1
    rehearsal.ask(jobs.cancel, job_id)
    running.join()


def test_locked_database_beyond_the_lease_costs_no_charge(make: Callable[..., Rehearsal]) -> None:
    rehearsal = make(lease_s=3)
    job_id = rehearsal.post("go-on")
    running = rehearsal.begin()
    rehearsal.wait_for_step(job_id, 2)
    pid = rehearsal.attempts(job_id)[0].trainer_pid
    assert pid is not None
    with locked(rehearsal.database):
        wait_until(lambda: not psutil.pid_exists(pid))
        lease_expires_at = rehearsal.job(job_id).lease_expires_at
        assert lease_expires_at is not None
        with rehearsal.database.reading() as session:
            assert session.execute(select(now_s())).scalar_one() < lease_expires_at
        time.sleep(0.5)
    running.join()
    job = rehearsal.job(job_id)
    assert (job.status, job.reason_code, job.charged_attempts) == ("queued", "lease_lost", 0)


def test_frozen_template_does_not_keep_a_job(make: Callable[..., Rehearsal], keeper: Keeper) -> None:
    rehearsal = make()
    job_id = rehearsal.post("go-on")
    running = rehearsal.begin()
    rehearsal.wait_for_step(job_id, 2)
    assert keeper.template_pid is not None
    os.kill(keeper.template_pid, signal.SIGSTOP)
    rehearsal.ask(jobs.cancel, job_id)
    running.join()
    assert rehearsal.job(job_id).status == "cancelled"
    assert keeper.wait_ready(30)


def test_finding_about_the_data_fails_the_job(make: Callable[..., Rehearsal]) -> None:
    rehearsal = make()
    job_id = rehearsal.post("complete")
    with rehearsal.database.writing.begin() as session:
        job = jobs.get(session, job_id)
        job.resolved_spec = {**job.resolved_spec, "dataset": {"kind": "file", "path": "nowhere.csv"}}
    rehearsal.run()
    failed = rehearsal.job(job_id)
    assert failed.status == "failed" and failed.error is not None
    assert failed.charged_attempts == 0
