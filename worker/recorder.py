"""The only one who waits for the database while a trainer runs: reports in batches, each batch one transaction.

The first statement of every transaction is the fence. Frames are written in the order they came, so a checkpoint's
row never stands before the series that lead up to it. Through an outage the batch is kept and tried again.
"""

import mimetypes
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import structlog
from sqlalchemy.orm import Session

from specs.reports import Checkpoint, Event, Progress, Report, Result, Series, Started, Verdict
from store import artifacts, attempts, events, logs, series, verdicts
from store.attempts import Claim
from store.small_segments import SmallSegments
from worker.log_tail import LogTail
from worker.reader import Broken, Buffer
from worker.storable import storable
from worker.transactions import GaveUp, commit
from worker.work_order import AttemptFolder
from worker.workshop import Workshop

BATCH_S: Final = 0.25
PROGRESS_EVENT_S: Final = 1.0
PID_WITHIN_S: Final = 2.0
"""How long the first report may wait for the launcher to say whose it is: the two come by different pipes."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class FencedOff:
    """The attempt is no longer the job's: nothing more may be written in its name."""


@dataclass(frozen=True)
class _Placed:
    """A file that was taken into the artifacts."""

    path: Path
    sha256: str
    size_bytes: int


class Recorder:
    """A thread per attempt. After ``finish`` its ``state`` says whether everything was written."""

    def __init__(
        self,
        shop: Workshop,
        claim: Claim,
        folder: AttemptFolder,
        buffer: Buffer,
        *,
        notify: Callable[[FencedOff | Broken], None],
        give_up: Callable[[], bool],
    ) -> None:
        self.state: Literal["open", "written", "fenced", "gave_up", "failed"] = "open"
        self._trainer_pid: int | None = None
        self._named = threading.Event()
        self._shop = shop
        self._job_id, self._attempt = claim.job_id, claim.attempt
        self._folder = folder
        self._buffer = buffer
        self._notify = notify
        self._give_up = give_up
        self._log_tail = LogTail(folder.log)
        self._placed: dict[str, _Placed] = {}
        self._block_ids, self._small_segments = series.BlockIds(), SmallSegments()
        self._progress_event_at = 0.0
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def name_trainer(self, pid: int) -> None:
        """The process whose reports these are; from any thread."""
        self._trainer_pid = pid
        self._named.set()

    def finish(self) -> None:
        """Write what is left, and end. Nothing was recorded if it was never started."""
        if self._thread.ident is None:
            return
        self._closing.set()
        self._buffer.wake()
        self._thread.join()

    def _run(self) -> None:
        try:
            while self.state == "open":
                last = self._closing.is_set()
                if not last:
                    self._buffer.wait(BATCH_S)
                self._write(self._buffer.take(), self._log_tail.take())
                if last and self.state == "open":
                    self._write_last()
                    self.state = "written"
        except GaveUp:
            self.state = "gave_up"
        except Exception as error:  # the outer door of this thread: the supervisor must hear of its end
            _log.exception("recorder_failed", job_id=self._job_id, attempt=self._attempt)
            self.state = "failed"
            self._notify(Broken(f"a report could not be stored: {error!r:.500}"))

    def _write_last(self) -> None:
        while lines := self._log_tail.take():
            self._write([], lines)
        self._write([], self._log_tail.take(ended=True))
        if self._buffer.dropped:
            detail = {"code": "series_dropped", "message": f"{self._buffer.dropped} blocks of series came too fast."}
            self._write([Event(event="warning", detail=detail)], [])

    def _write(self, batch: list[Report], lines: list[str]) -> None:
        if self.state != "open" or not (batch or lines):
            return
        if any(isinstance(report, Started) for report in batch):
            self._named.wait(PID_WITHIN_S)
        self._take_in_files(batch)
        old_files = commit(
            self._shop.database, lambda session: self._record(session, batch, lines), give_up=self._give_up
        )
        if old_files is None:
            self.state = "fenced"
            self._notify(FencedOff())
            return
        self._block_ids.committed()
        self._small_segments.committed()
        for path in old_files:
            path.unlink(missing_ok=True)

    def _take_in_files(self, batch: list[Report]) -> None:
        """Files first, rows second. A file that is no file of this attempt breaks it."""
        for report in list(batch):
            named = {}
            if isinstance(report, Checkpoint):
                if _file_name(report) in self._placed:  # the same step holds the same state
                    batch.remove(report)
                    continue
                named = {_file_name(report): report.path}
            elif isinstance(report, Result):
                named = report.artifacts
            try:
                for name, path in named.items():
                    self._take_in(name, Path(path))
            except (ValueError, FileNotFoundError) as error:
                batch.remove(report)
                self._notify(Broken(f"a file that was reported does not stand: {error}"))

    def _take_in(self, name: str, path: Path) -> None:
        target = self._folder.artifact(name)
        source = path if path.is_absolute() else self._folder.path / path
        sha256, size_bytes = artifacts.take_in(source, inside=self._folder.path, target=target)
        self._placed[name] = _Placed(target, sha256, size_bytes)

    def _record(self, session: Session, batch: list[Report], lines: list[str]) -> list[Path] | None:
        """One transaction; files that became old, or None when fenced."""
        self._block_ids.begin()
        self._small_segments.begin()
        progress = next((report for report in reversed(batch) if isinstance(report, Progress)), None)
        if not attempts.record(
            session,
            self._job_id,
            self._attempt,
            step=0 if progress is None else progress.step,
            progress=None if progress is None else _progress(progress),
        ):
            session.rollback()
            return None
        old_files: list[Path] = []
        for report in batch:
            old_files += self._record_one(session, report)
        logs.append(session, self._job_id, self._attempt, lines)
        if progress is not None:
            self._announce_progress(session, progress)
        return old_files

    def _record_one(self, session: Session, report: Report) -> list[Path]:
        key = self._job_id, self._attempt
        if isinstance(report, Started):
            attempts.mark_started(
                session,
                *key,
                step=report.step,
                device=report.device,
                trainer_pid=self._trainer_pid,
                receipt=storable(report.receipt),
            )
        elif isinstance(report, Series):
            ids, small = self._block_ids, self._small_segments
            series.append(session, *key, report.blocks, report.payload, ids=ids, small=small)
        elif isinstance(report, Event):
            events.append(session, key[0], type=report.event, detail=storable(report.detail), attempt=key[1])
        elif isinstance(report, Verdict):
            verdicts.record(session, *key, storable(report.finding.model_dump(mode="json")))
        elif isinstance(report, Checkpoint):
            return self._record_checkpoint(session, report)
        elif isinstance(report, Result) and attempts.mark_finalizing(session, *key):
            for name in report.artifacts:
                placed = self._placed[name]
                artifacts.add(
                    session,
                    *key,
                    name=name,
                    path=placed.path,
                    sha256=placed.sha256,
                    size_bytes=placed.size_bytes,
                    media_type=mimetypes.guess_type(name)[0] or "application/octet-stream",
                )
        return []

    def _record_checkpoint(self, session: Session, report: Checkpoint) -> list[Path]:
        placed = self._placed[_file_name(report)]
        old = artifacts.add_checkpoint(
            session,
            self._job_id,
            self._attempt,
            step=report.step,
            path=placed.path,
            sha256=placed.sha256,
            size_bytes=placed.size_bytes,
        )
        detail = {"step": report.step, "sha256": placed.sha256, "size_bytes": placed.size_bytes}
        events.append(session, self._job_id, type="checkpoint", detail=detail, attempt=self._attempt)
        return old

    def _announce_progress(self, session: Session, progress: Progress) -> None:
        now = time.monotonic()
        if now - self._progress_event_at >= PROGRESS_EVENT_S or progress.step == progress.steps:
            self._progress_event_at = now
            events.append(session, self._job_id, type="progress", detail=_progress(progress), attempt=self._attempt)


def _progress(report: Progress) -> dict[str, Any]:
    return storable(report.model_dump(exclude={"type"}))


def _file_name(checkpoint: Checkpoint) -> str:
    return f"checkpoint-{checkpoint.step}.safetensors"
