"""A storm: workers, templates and trainers are killed, workers are frozen beyond their leases, the broker dies."""

import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import psutil

from tests.chaos.history import History
from tests.job_life.floor import LEASE_S, Floor, WorkerProcess

FROZEN_LEASES = 2.0
# A worker or a template that is killed costs two processors four seconds until the next one is warm, a trainer nothing:
# with these shares half of the machine is left for the jobs.
VICTIMS = {"worker": 0.2, "template": 0.15, "trainer": 0.45, "frozen": 0.2}


class Storm:
    """Keeps so many workers at work and does something to one of them every ``every_s``."""

    def __init__(
        self,
        floor: Floor,
        history: History,
        rng: random.Random,
        *,
        workers: int,
        every_s: float,
        victims: Sequence[str] = tuple(VICTIMS),
        module: str = "worker.main",
    ) -> None:
        self._floor = floor
        self._history = history
        self._rng = rng
        self._every_s = every_s
        self._victims = victims
        self._module = module
        self._frozen: dict[WorkerProcess, float] = {}
        floor.workers = [floor.start_worker(module) for _ in range(workers)]

    def rage(self, over: Callable[[], bool], *, timeout_s: float) -> None:
        """Until ``over``; then everybody who is frozen goes on."""
        deadline, due = time.monotonic() + timeout_s, time.monotonic()
        try:
            while not over():
                assert time.monotonic() < deadline, f"it did not end in time\n{self._floor.logs()}"
                self._replace_the_dead()
                self._thaw(before=time.monotonic())
                if time.monotonic() >= due:
                    due = time.monotonic() + self._every_s
                    self._strike(self._rng.choices(self._victims, [VICTIMS[name] for name in self._victims])[0])
                time.sleep(0.1)
        finally:
            self._thaw(before=float("inf"))

    def kill_broker(self) -> None:
        """The broker forgets everything and is back after a second."""
        self._floor.kill_broker()
        self._history.note("broker_killed")
        time.sleep(1)
        self._floor.start_broker()

    def _strike(self, victim: str) -> None:
        ready = [worker for worker in self._floor.workers if worker not in self._frozen and _is_ready(worker)]
        if not ready:
            return
        chosen = self._rng.choice(ready)
        if victim == "worker":
            chosen.process.kill()
            chosen.process.wait()
        elif victim == "frozen":
            if not (job_id := self._job_of(chosen)):
                return
            self._floor.freeze(chosen, job_id)
            self._frozen[chosen] = time.monotonic() + FROZEN_LEASES * LEASE_S
        else:
            wanted = "worker.template" if victim == "template" else "trainer"
            pids = self._trainers() if wanted == "trainer" else _templates(chosen)
            if not pids:
                return
            with suppress(ProcessLookupError):
                os.kill(self._rng.choice(pids), signal.SIGKILL)
        self._history.note(f"{victim}_killed" if victim != "frozen" else "worker_frozen", pid=chosen.pid)

    def _replace_the_dead(self) -> None:
        workers = self._floor.workers
        for place, worker in enumerate(workers):
            if not worker.alive:
                self._frozen.pop(worker, None)
                workers[place] = self._floor.start_worker(self._module)

    def _thaw(self, *, before: float) -> None:
        for worker, until in list(self._frozen.items()):
            if until <= before:
                del self._frozen[worker]
                os.kill(worker.pid, signal.SIGCONT)
                self._history.note("worker_thawed", pid=worker.pid)

    def _trainers(self) -> list[int]:
        return [row.trainer_pid for row in self._floor.open_attempts() if row.trainer_pid]

    def _job_of(self, worker: WorkerProcess) -> str | None:
        return next((row.job_id for row in self._floor.open_attempts() if row.worker_pid == worker.pid), None)


def _is_ready(worker: WorkerProcess) -> bool:
    return worker.alive and "template_ready" in worker.log.read_text()


def _templates(worker: WorkerProcess) -> list[int]:
    with suppress(psutil.Error, ValueError):
        return [worker.template_pid()]
    return []
