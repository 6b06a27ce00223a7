"""What clients were told and what was done to the service, and how it is held against the end of it all."""

import json
import threading
import time
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from store import artifacts
from store.tables import ACTIVE, TERMINAL, Artifact, Attempt, Checkpoint, Event, Job
from tests.job_life.floor import Floor

ARROWS: dict[str, tuple[str, ...]] = {
    "queued": ("starting", "cancelled", "expired"),
    "starting": ("running", "queued", "pausing", "cancelling", "finalizing", "failed"),
    "running": ("queued", "pausing", "cancelling", "finalizing", "failed"),
    "pausing": ("paused", "cancelling", "finalizing", "failed"),
    "paused": ("queued", "cancelled"),
    "cancelling": ("cancelled",),
    "finalizing": ("succeeded", "queued", "cancelling", "failed"),
}


class History:
    """Operations in the order in which they ended; a file keeps them for whoever looks at a failure."""

    def __init__(self, file: Path) -> None:
        self.acknowledged: list[str] = []
        self.counts: Counter[str] = Counter()
        self._file = file
        self._lock = threading.Lock()
        self._began = time.monotonic()

    def acknowledge(self, job_id: str, **what: Any) -> None:
        """A client was told that its job is accepted: from now on it must not be lost."""
        self.note("accepted", job_id=job_id, **what)
        with self._lock:
            self.acknowledged.append(job_id)

    def note(self, operation: str, **what: Any) -> None:
        """Something was done: a kill, a cancellation, a refusal."""
        line = {"at_s": round(time.monotonic() - self._began, 3), "operation": operation, **what}
        with self._lock, self._file.open("a") as file:
            self.counts[operation] += 1
            file.write(json.dumps(line) + "\n")


@dataclass(frozen=True)
class Account:
    """The end of it all, counted. ``doubled`` and ``broken`` name the jobs and what is wrong with them."""

    jobs: int
    lost: list[str]
    doubled: list[str]
    broken: list[str]
    attempts: int
    causes: Counter[str]

    @property
    def kept(self) -> bool:
        """Whether the promise was kept."""
        return not (self.lost or self.doubled or self.broken)


def settle_accounts(floor: Floor, history: History) -> Account:
    """Holds every acknowledged job, and every other row, against the promise."""
    lost, doubled, broken, causes, attempts = [], [], [], Counter[str](), 0
    with floor.database.reading() as session:
        rows = {job.id: job for job in session.scalars(select(Job))}
        lost = [job_id for job_id in history.acknowledged if job_id not in rows or rows[job_id].phase != "terminal"]
        for job in rows.values():
            statuses = _statuses(session, job.id)
            if statuses.count("succeeded") > 1:
                doubled.append(f"{job.id}: {statuses.count('succeeded')} results")
            broken += [f"{job.id}: {wrong}" for wrong in _what_is_wrong(session, job, statuses)]
            executions = session.scalars(select(Attempt).where(Attempt.job_id == job.id)).all()
            attempts += len(executions)
            causes.update(attempt.exit_cause or "open" for attempt in executions)
    return Account(len(rows), lost, doubled, broken, attempts, causes)


def _statuses(session: Session, job_id: str) -> list[str]:
    query = select(Event).where(Event.job_id == job_id, Event.type == "status").order_by(Event.sequence)
    return [event.detail["status"] for event in session.scalars(query)]


def _what_is_wrong(session: Session, job: Job, statuses: list[str]) -> list[str]:
    """Everything about a job that the state diagram, the fence or the files do not allow."""
    wrong = []
    for before, after in pairwise(statuses):
        if after not in ARROWS.get(before, ()):
            wrong.append(f"{before} became {after}")
    if statuses[:1] != ["queued"] or statuses[-1] != job.status:
        wrong.append(f"is {job.status} after {statuses}")
    if (job.status == "succeeded") != (job.result is not None):
        wrong.append("a result and no success, or a success without a result")
    columns = select(Event.sequence, Event.type, Event.attempt).where(Event.job_id == job.id)
    events = session.execute(columns.order_by(Event.sequence)).all()
    if [event.sequence for event in events] != list(range(1, job.event_sequence + 1)):
        wrong.append("a gap among its events")
    writers = [event.attempt for event in events if event.attempt]  # clients write as attempt 0
    if writers != sorted(writers):
        wrong.append("an attempt wrote after a later one had begun")
    if sum(event.type == "end" for event in events) != (job.phase == "terminal"):
        wrong.append("not one event that says that it has ended")
    wrong += _wrong_attempts(session, job)
    return wrong + _wrong_files(session, job)


def _wrong_attempts(session: Session, job: Job) -> list[str]:
    rows = session.scalars(select(Attempt).where(Attempt.job_id == job.id).order_by(Attempt.number)).all()
    wrong = []
    if [row.number for row in rows] != list(range(1, job.attempt + 1)):
        wrong.append(f"attempts {[row.number for row in rows]} of {job.attempt}")
    if sum(row.exit_cause == "succeeded" for row in rows) != (job.status == "succeeded"):
        wrong.append("attempts that succeeded are not one for each success")
    if any(row.ended_at is None for row in rows[: None if job.status in TERMINAL else -1]):
        wrong.append("an attempt that never ended")
    if (job.lease_expires_at is None) == (job.status in ACTIVE):
        wrong.append(f"a lease of a job that is {job.status}, or none")
    if job.charged_attempts > min(job.attempt, job.max_attempts):
        wrong.append(f"{job.charged_attempts} attempts are charged")
    return wrong


def _wrong_files(session: Session, job: Job) -> list[str]:
    rows: list[Artifact | Checkpoint] = list(session.scalars(select(Artifact).where(Artifact.job_id == job.id)))
    rows += session.scalars(select(Checkpoint).where(Checkpoint.job_id == job.id))
    return [
        f"{Path(row.path).name} is not the file that was registered"
        for row in rows
        if not Path(row.path).is_file() or artifacts.file_sha256(Path(row.path)) != row.sha256
    ]
