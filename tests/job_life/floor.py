"""The floor on which real workers run in these tests: a broker, a database, a state folder, processes to kill."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from afterprop.broker import embedded
from specs.job import JobSpec
from store import artifacts, jobs, series, workers
from store.database import connect
from store.queue import Bell
from store.settings import Settings
from store.tables import Attempt, Job
from worker.environment import ROOT

LEASE_S = 1.5
SERIES_OF_THE_MATHEMATICS = ("loss", "accuracy", "grad_norm", "weight_norm", "update_norm", "learning_rate")


def digits_job(**changes: Any) -> dict[str, Any]:
    """A job of some seconds that checkpoints often; equal specs give equal bits."""
    spec: dict[str, Any] = {
        "dataset": {"kind": "builtin", "name": "digits"},
        "network": {"kind": "mlp", "hidden": [64]},
        "learner": {"kind": "backprop"},
        "training": {"epochs": 60, "batch_size": 16, "checkpoint_every_s": 0.3, "evaluate_every_epochs": 10},
        "diagnostics": {"every_steps": 10, "alignment_every_steps": 500, "budget_percent": None},
    }
    for section, fields in changes.items():
        spec[section] = {**spec.get(section, {}), **fields} if isinstance(fields, dict) else fields
    return JobSpec.model_validate(spec).resolved()


def wait_until(holds: Callable[[], Any], timeout_s: float = 30) -> Any:
    """What ``holds`` returns, once it is true."""
    deadline = time.monotonic() + timeout_s
    while not (found := holds()):
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.01)
    return found


class WorkerProcess:
    """``python -m worker.main``, or what stands for it, with its log."""

    def __init__(self, environment: dict[str, str], log: Path, module: str = "worker.main") -> None:
        self.log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module],
                env=environment,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def is_ready(self) -> bool:
        assert self.alive, self.log.read_text()
        text = self.log.read_text()
        return "worker_registered" in text and ("template_ready" in text or "launcher=spawn" in text)

    def template_pid(self) -> int:
        (template,) = [
            child.pid for child in psutil.Process(self.pid).children() if "worker.template" in child.cmdline()
        ]
        return template

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.pid).children(recursive=True)

    def end(self) -> None:
        if self.alive:
            self.process.kill()
        self.process.wait()


class Floor:
    """Broker, database and workers with one launcher; ``further`` settings as in the environment: WORKER_SLOTS="2"."""

    def __init__(
        self, folder: Path, *, database_url: str, launcher: str, lease_s: float = LEASE_S, **further: str
    ) -> None:
        self.folder = folder
        self.launcher = launcher
        self.broker = embedded(folder / "broker")
        self._broker_process: subprocess.Popen[bytes] | None = None
        settings = {
            "STATE_DIR": str(folder),
            "DATABASE_URL": database_url,
            "BROKER_URL": self.broker.url,
            "LAUNCHER": launcher,
            "LEASE_S": str(lease_s),
            "WATCH_S": "0.25",
            **further,
        }
        self.settings = Settings(**{name.lower(): value for name, value in settings.items()})
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("AFTERPROP_")},
            **{f"AFTERPROP_{name}": value for name, value in settings.items()},
            "OMP_NUM_THREADS": "1",
        }
        self.database = connect(database_url)
        self.workers: list[WorkerProcess] = []
        self._started = 0
        self.start_broker()
        self.bell = Bell(self.settings)

    def migrate(self) -> None:
        subprocess.run([sys.executable, "-m", "migrations"], env=self.environment, cwd=ROOT, check=True)

    def start_broker(self) -> None:
        self._broker_process = subprocess.Popen(
            self.broker.command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_until(self.broker.answers)

    @property
    def broker_pid(self) -> int:
        assert self._broker_process is not None
        return self._broker_process.pid

    def kill_broker(self) -> None:
        assert self._broker_process is not None
        self._broker_process.kill()
        self._broker_process.wait()

    def have_workers(self, count: int) -> list[WorkerProcess]:
        """So many living, ready workers; dead ones are forgotten, surplus ones stopped."""
        self.workers = [worker for worker in self.workers if worker.alive]
        for surplus in self.workers[count:]:
            surplus.process.terminate()
            surplus.process.wait(30)
        self.workers = self.workers[:count]
        while len(self.workers) < count:
            self.workers.append(self.start_worker())
        for worker in self.workers:
            wait_until(worker.is_ready, 60)
        return self.workers

    def start_worker(self, module: str = "worker.main", **environment: str) -> WorkerProcess:
        self._started += 1
        log = self.folder / f"worker-{self._started}.log"
        return WorkerProcess({**self.environment, **environment}, log, module)

    def end(self) -> None:
        for worker in self.workers:
            worker.end()
        self.kill_broker()
        self.bell.close()
        self.database.dispose()

    def post(self, spec: dict[str, Any], *, bells: int = 1) -> str:
        with self.database.writing.begin() as session:
            job_id = jobs.create(session, spec=spec, resolved_spec=spec, resource_class="cpu", dataset="digits").id
        for _ in range(bells):
            self.bell.ring("cpu")
        return job_id

    def ask(self, act: Callable[[Any, str], Any], job_id: str) -> None:
        with self.database.writing.begin() as session:
            act(session, job_id)

    def cancel(self, job_id: str) -> bool:
        """Whether this call was what ended it."""
        with self.database.writing.begin() as session:
            return jobs.cancel(session, job_id)[1]

    def job(self, job_id: str) -> Job:
        with self.database.reading() as session:
            return jobs.get(session, job_id)

    def attempts(self, job_id: str) -> list[Attempt]:
        with self.database.reading() as session:
            return list(session.scalars(select(Attempt).where(Attempt.job_id == job_id).order_by(Attempt.number)))

    def open_attempts(self) -> list[Attempt]:
        """The executions that have not ended, as far as the database knows."""
        with self.database.reading() as session:
            return list(session.scalars(select(Attempt).where(Attempt.ended_at.is_(None))))

    def wait_for(self, job_id: str, *statuses: str, timeout_s: float = 60) -> Job:
        """The job once it has one of these statuses."""
        deadline = time.monotonic() + timeout_s
        while (job := self.job(job_id)).status not in statuses:
            assert job.phase != "terminal", f"{job.status}: {job.error} {self.logs()}"
            assert time.monotonic() < deadline, f"still {job.status} ({job.reason_code}) {self.logs()}"
            time.sleep(0.01)
        return job

    def wait_for_checkpoint(self, job_id: str, *, after_step: int = 0) -> int:
        """The step of a checkpoint, once there is one."""

        def newest() -> int | None:
            with self.database.reading() as session:
                found = artifacts.checkpoints(session, job_id)
            assert self.job(job_id).phase != "terminal", f"it was over too soon: {self.job(job_id).error}"
            return found[0].step if found and found[0].step > after_step else None

        return int(wait_until(newest, 60))

    def trainer_pid(self, job_id: str) -> int:
        """The trainer of the newest attempt, once it has started."""

        def started() -> int | None:
            rows = self.attempts(job_id)
            return rows[-1].trainer_pid if rows and rows[-1].ended_at is None else None

        return int(wait_until(started, 60))

    def holder(self, job_id: str) -> WorkerProcess:
        """The worker that runs the newest attempt."""
        pid = self.attempts(job_id)[-1].worker_pid
        return next(worker for worker in self.workers if worker.pid == pid)

    def freeze(self, worker: WorkerProcess, job_id: str) -> None:
        """Stops the worker at a moment when it holds no lock on the job.

        A process that is stopped inside a write transaction keeps its lock until it goes on, in SQLite on the whole
        database: nobody can repair anything meanwhile.
        """
        briefly = connect(self.settings.resolved_database_url, busy_timeout_s=0.2)
        deadline = time.monotonic() + 30
        while True:
            os.kill(worker.pid, signal.SIGSTOP)
            try:
                with briefly.writing.begin() as session:
                    session.execute(select(Job.id).where(Job.id == job_id).with_for_update(nowait=True))
                break
            except OperationalError:
                os.kill(worker.pid, signal.SIGCONT)
                assert time.monotonic() < deadline, "it held a lock whenever it was stopped"
                time.sleep(0.05)
        briefly.dispose()

    def living_workers(self) -> int:
        with self.database.reading() as session:
            return len(workers.living(session, lease_s=self.settings.lease_s))

    def mathematics(self, job_id: str) -> dict[Any, Any]:
        """Weights digest, and every series that does not speak of time, as bytes."""
        job = self.job(job_id)
        assert job.result is not None
        with self.database.reading() as session:
            points = series.read(session, job_id, names=SERIES_OF_THE_MATHEMATICS)
        measured: dict[Any, dict[int, bytes]] = {}
        for each in points:
            series_of = measured.setdefault((each.name, each.layer, each.parameter, each.split), {})
            for step, value in zip(each.steps.tolist(), each.values, strict=True):
                assert step not in series_of, f"step {step} of {each.name} is there twice"
                series_of[step] = value.tobytes()
        return {"weights": job.result["weights_sha256"], "metrics": job.result["metrics"], **measured}

    def logs(self) -> str:
        return "\n".join(f"--- {worker.log.name}\n{worker.log.read_text()[-4000:]}" for worker in self.workers)


def is_alive(process: psutil.Process) -> bool:
    """Whether it runs; one that is dead and waits for its parent to take note does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def signal_and_wait(process: psutil.Process | int, number: int = signal.SIGKILL, *, timeout_s: float = 5) -> None:
    """Signals a process that is not our child and waits until it is gone."""
    found = psutil.Process(process) if isinstance(process, int) else process
    found.send_signal(number)
    wait_until(lambda: not is_alive(found), timeout_s)
