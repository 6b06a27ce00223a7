"""Answers questions of what a job would need. A thread of each worker, beside the places where jobs are trained.

Each rehearsal is a trainer of its own, started as for a job: it can be killed, and what it measures is what a job's
trainer will. Nothing is left but the answer.
"""

import select
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import structlog

from specs.data_sources import known_signature
from specs.job import JobSpec
from specs.signature import DataSignature
from store import estimates
from store.estimate_tables import EstimateRequest
from worker import forecast, frames, prepare
from worker.errand import Errand, errand
from worker.free_memory import free_bytes
from worker.launcher import NotReady
from worker.places import CPU
from worker.preparation import Preparation, data_order
from worker.rounds import Rounds
from worker.work_order import AttemptFolder
from worker.workshop import Workshop

FORGET_EVERY_S: Final = 600.0
REHEARSAL_S: Final = 30.0
PREPARATION_S: Final = 60.0
GONE_WITHIN_S: Final = 2.0

_log = structlog.get_logger(__name__)


class NoEstimate(Exception):
    """Nothing can be said of this job: ``error`` is kind, fault and message."""

    def __init__(self, kind: str, fault: str, message: str) -> None:
        super().__init__(message)
        self.error = {"kind": kind, "fault": fault, "message": message}


class Estimator:
    """A thread that answers one question at a time; it looks when a bell rings, and as often as the poller does."""

    def __init__(self, shop: Workshop) -> None:
        self._shop = shop
        self._rounds = Rounds("estimator", self._look, every_s=shop.settings.poll_s)
        self._forget_at = 0.0

    def start(self) -> None:
        self._rounds.start()

    def wake(self) -> None:
        """Look now."""
        self._rounds.wake()

    def close(self) -> None:
        """Ends after the question under way. The workshop must be stopping."""
        self._rounds.close()

    def _look(self) -> bool:
        """Whether there was a question."""
        if time.monotonic() > self._forget_at:
            self._forget_at = time.monotonic() + FORGET_EVERY_S
            with self._shop.database.writing.begin() as session:
                estimates.forget(session)
        return not self._shop.stopping.is_set() and self._shop.launcher.wait_ready(0) and self._answer_next()

    def _answer_next(self) -> bool:
        with self._shop.database.reading() as session:
            if not estimates.any_waits(session, classes=self._shop.places.classes):
                return False
        with self._shop.database.writing.begin() as session:
            taken = estimates.take(session, self._shop.worker_id, classes=self._shop.places.classes)
            if taken is None:
                return False
            session.expunge(taken)
        found = self._answer(taken)
        with self._shop.database.writing.begin() as session:
            estimates.write_answer(session, taken.id, found)
        return True

    def _answer(self, asked: EstimateRequest) -> dict[str, Any]:
        folder = self._shop.settings.state_dir.resolve() / "estimates" / asked.id
        try:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            device = next(
                place.device for place in self._shop.places.all if place.resource_class == asked.resource_class
            )
            return _Estimation(self._shop, folder, device).of(asked.resolved_spec)
        except NoEstimate as error:
            return {"error": error.error}
        except Exception as error:  # the outer door: whoever asked must hear of it
            _log.exception("estimate_failed", estimate_id=asked.id)
            return {"error": {"kind": "internal", "fault": "system", "message": f"The estimate failed: {error!r:.300}"}}
        finally:
            shutil.rmtree(folder, ignore_errors=True)


class _Estimation:
    """One question on one device."""

    def __init__(self, shop: Workshop, folder: Path, device: str) -> None:
        self._shop = shop
        self._folder = folder
        self._device = device

    def of(self, resolved: dict[str, Any]) -> dict[str, Any]:
        """The estimate as JSON. Raises ``NoEstimate``."""
        spec = JobSpec.model_validate(resolved)
        signature = self._signature(spec)
        if (large := forecast.too_large(spec, signature, room=self._free_bytes(), device=self._device)) is not None:
            return large.model_dump(mode="json")
        fields = {
            "spec": resolved,
            "dataset": {"folder": "", "sha256": "", "signature": signature.model_dump(mode="json")},
            "device": self._device,
        }
        counted = self._rehearsed("count", fields, spec)
        room = counted["free_bytes"]
        rehearsed = []
        for number, points in enumerate(counted["phases"]):
            steps = forecast.rehearsal_steps(points, spec, signature, room)
            order = {**fields, "phase": number, "steps": steps}
            rehearsed.append(None if steps is None else self._rehearsed("rehearse", order, spec))
        found = forecast.estimate(spec, signature, counted, rehearsed, device=self._device)
        return found.model_dump(mode="json")

    def _free_bytes(self) -> int | None:
        """Of this machine; a GPU's free memory is told by the count itself, since only trainers touch CUDA."""
        return free_bytes() if self._device == CPU else None

    def _signature(self, spec: JobSpec) -> DataSignature:
        known = known_signature(spec.dataset)
        if known is not None:
            return known
        resolved = spec.resolved()
        order = data_order(self._shop.settings, resolved)
        answer = prepare.cached(order) or self._prepared({**order, "prepared_dir": str(self._folder / "prepared")})
        if (error := answer.get("error")) is not None:
            raise NoEstimate(error["kind"], error["fault"], error["message"])
        return DataSignature.model_validate(answer["signature"])

    def _prepared(self, order: dict[str, Any]) -> dict[str, Any]:
        deadline = time.monotonic() + PREPARATION_S
        with Preparation(order, folder=self._folder, log=self._folder / "log") as preparation:
            while (answer := preparation.answer(0.05)) is None:
                if self._shop.stopping.is_set() or time.monotonic() > deadline:
                    raise NoEstimate("data_unreadable", "system", "Preparing the data took too long.")
        return answer

    def _rehearsed(self, kind: str, fields: Mapping[str, Any], spec: JobSpec) -> dict[str, Any]:
        """What a trainer says that takes this order."""
        folder = AttemptFolder(self._folder, self._folder)
        folder.log.touch()
        order, filtered = frames.encode(kind, **fields), self._device == CPU
        try:
            with errand(
                self._shop.launcher, folder, order, threads=spec.resources.threads, filtered=filtered
            ) as rehearsal:
                try:
                    answer = self._heard(rehearsal.up_read)
                finally:
                    _end(rehearsal)
        except NotReady:
            raise NoEstimate("no_launcher", "system", "The worker could not start a process.") from None
        if (error := answer.get("error")) is not None:
            raise NoEstimate(error["kind"], error["fault"], error["message"])
        return answer

    def _heard(self, up: int) -> dict[str, Any]:
        deadline = time.monotonic() + REHEARSAL_S
        while not select.select([up], [], [], 0.2)[0]:
            if self._shop.stopping.is_set() or time.monotonic() > deadline:
                raise NoEstimate("too_slow", "system", f"A few steps took longer than {REHEARSAL_S:.0f} s.")
        frame = frames.read(up)
        if frame is None:
            raise NoEstimate("crashed", "system", "The process that rehearsed the job has died.")
        return frame.fields


def _end(rehearsal: Errand) -> None:
    """Waits for the end of the process, whose memory the next one needs; it is killed if it does not come by itself."""
    if not rehearsal.has_ended(within_s=GONE_WITHIN_S):
        rehearsal.kill()
        rehearsal.has_ended(within_s=GONE_WITHIN_S)
