"""Claims probes and has each measured in a process of its own. Every worker has one, beside its places for jobs."""

import json
import shutil
import time
from pathlib import Path
from typing import Any, Final

import structlog
from sqlalchemy.exc import SQLAlchemyError

from store import artifacts, probes
from store.probes import Claim, Weighed
from worker import frames, prepare
from worker.errand import errand
from worker.launcher import NotReady
from worker.preparation import Preparation, preparation_order
from worker.rounds import Rounds
from worker.storable import storable
from worker.work_order import AttemptFolder, OrderTooLarge, newest_checkpoint
from worker.workshop import Workshop

ANSWER: Final = "answer.json"
MAX_ANSWER_BYTES: Final = 4 << 20

_log = structlog.get_logger(__name__)


class Interrupted(Exception):
    """The worker stops, or the probe is no longer its own: nothing is to be written but that it is given back."""


class CannotMeasure(Exception):
    """The probe has no answer and never will have one."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Prober:
    """A thread that measures one probe at a time; it looks when a bell rings, and by itself as often as the poller."""

    def __init__(self, shop: Workshop) -> None:
        self._shop = shop
        self._rounds = Rounds("prober", self._measure_one, every_s=shop.settings.poll_s)

    def start(self) -> None:
        self._rounds.start()

    def wake(self) -> None:
        """Look now."""
        self._rounds.wake()

    def close(self) -> None:
        """Ends after giving back the probe under way. The workshop must be stopping."""
        self._rounds.close()

    def _measure_one(self) -> bool:
        """Claim a probe and see it through; whether there was one."""
        if self._shop.stopping.is_set() or not self._shop.launcher.wait_ready(0):
            return False
        with self._shop.database.writing.begin() as session:
            claim = probes.claim(session, worker_id=self._shop.worker_id, lease_s=self._shop.settings.lease_s)
        if claim is None:
            return False
        _log.info("probe_claimed", probe_id=claim.probe_id, kind=claim.spec["kind"], attempt=claim.attempt)
        self._see_through(claim)
        return True

    def _see_through(self, claim: Claim) -> None:
        folder = AttemptFolder(self._shop.settings.attempts_dir / claim.probe_id / str(claim.attempt), Path())
        try:
            shutil.rmtree(folder.path.parent, ignore_errors=True)
            folder.path.mkdir(parents=True)
            folder.log.touch()
            answer, weights = self._answer(claim, folder)
            with self._shop.database.writing.begin() as session:
                probes.finish(session, claim, result=answer["result"], step=answer["step"], weights=weights)
        except (CannotMeasure, OrderTooLarge) as error:
            self._fail(claim, getattr(error, "kind", "spec_too_large"), str(error))
        except (Interrupted, NotReady):
            with self._shop.database.writing.begin() as session:
                probes.give_back(session, claim)
        except SQLAlchemyError:
            raise
        except Exception as error:  # the outer door: a mistake of ours must not end the thread
            _log.exception("prober_failed", probe_id=claim.probe_id)
            self._fail(claim, "internal", f"The worker failed: {error!r:.500}")
        finally:
            shutil.rmtree(folder.path.parent, ignore_errors=True)

    def _fail(self, claim: Claim, kind: str, message: str) -> None:
        error = storable({"message": message})
        with self._shop.database.writing.begin() as session:
            probes.fail(session, claim, kind=kind, message=error["message"])

    def _answer(self, claim: Claim, folder: AttemptFolder) -> tuple[dict[str, Any], str]:
        watch = _Watch(self._shop, claim)
        if claim.attempt > probes.MAX_ATTEMPTS:
            raise CannotMeasure("attempts_used_up", f"{probes.MAX_ATTEMPTS} workers died while they measured it.")
        if len(claim.jobs) < (2 if "job_id" in claim.spec else 1):
            raise CannotMeasure("no_such_job", "The other job was deleted.")
        jobs = [self._job(weighed, folder, watch) for weighed in claim.jobs]
        order: dict[str, Any] = {
            "spec": claim.spec,
            "jobs": jobs,
            "limit_s": self._shop.settings.probe_limit_s,
            "limit_bytes": self._shop.settings.probe_limit_bytes,
        }
        self._measure(folder, frames.encode("probe", **order), watch)
        return _read(folder.path / ANSWER), "final" if jobs[0]["weights"] else "checkpoint"

    def _job(self, weighed: Weighed, folder: AttemptFolder, watch: "_Watch") -> dict[str, Any]:
        """The order's entry of a job: its spec, its data, and the file that holds its weights."""
        weights, resume, final = None, None, weighed.final
        if final is not None and artifacts.file_sha256(Path(final.path)) == final.sha256:
            weights = final.path
        else:
            resume = newest_checkpoint(weighed.job)
        if weights is None and resume is None:
            raise CannotMeasure("no_weights", f"Job {weighed.job.job_id} left neither weights nor a checkpoint.")
        order = preparation_order(self._shop.settings, weighed.job)
        dataset = prepare.cached(order)
        if dataset is None:
            with Preparation(order, folder=folder.path, log=folder.log) as preparation:
                while (dataset := preparation.answer(0.05)) is None:
                    watch.look()
        if (error := dataset.get("error")) is not None:
            raise CannotMeasure(error["kind"], error["message"])
        return {
            "spec": weighed.job.resolved_spec,
            "dataset": dataset,
            "device": "cpu",
            "weights": weights,
            "step": weighed.step,
            "resume": resume,
        }

    def _measure(self, folder: AttemptFolder, order: bytes, watch: "_Watch") -> None:
        """Start the process, and wait for its end with an eye on lease, limit and worker."""
        with errand(self._shop.launcher, folder, order, threads=1, filtered=True) as sent:
            while not sent.has_ended(within_s=0.1):
                watch.look()


class _Watch:
    """Renews a probe's lease, and says when it must not go on."""

    def __init__(self, shop: Workshop, claim: Claim) -> None:
        self._shop = shop
        self._claim = claim
        self._deadline = time.monotonic() + shop.settings.probe_limit_s
        self._renew_at = time.monotonic() + shop.settings.beat_s

    def look(self) -> None:
        """Raises ``Interrupted`` or ``CannotMeasure``."""
        now = time.monotonic()
        if self._shop.stopping.is_set():
            raise Interrupted
        if now > self._deadline:
            limit = self._shop.settings.probe_limit_s
            raise CannotMeasure("time_limit", f"It took longer than {limit:g} s; fewer rows or iterations take less.")
        if now > self._renew_at:
            self._renew_at = now + self._shop.settings.beat_s
            with self._shop.database.writing.begin() as session:
                if not probes.renew(session, self._claim, lease_s=self._shop.settings.lease_s):
                    raise Interrupted


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            answer: dict[str, Any] = json.loads(file.read(MAX_ANSWER_BYTES))
    except (OSError, ValueError):
        raise CannotMeasure("crashed", "The process that measured ended without an answer.") from None
    if (error := answer.get("error")) is not None:
        raise CannotMeasure(error["kind"], error["message"])
    return answer
