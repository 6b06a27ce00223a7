"""Claims probes and has each measured in a process of its own. Every worker has one, beside its places for jobs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, final

import structlog
from sqlalchemy.orm import Session

from store import artifacts, probes
from store.probe_tables import Probe
from store.probes import Claim, Weighed
from worker import beside, frames
from worker.beside import LeaseHolder, NoAnswer, Watch
from worker.places import CPU
from worker.work_order import AttemptFolder, newest_checkpoint
from worker.workshop import Workshop

_log = structlog.get_logger(__name__)


@final
class Prober(LeaseHolder[Claim]):
    """A thread that measures one probe at a time."""

    def __init__(self, shop: Workshop) -> None:
        super().__init__(shop, "prober", Probe, probes, limit_s=shop.settings.probe_limit_s)

    def _claim(self) -> Claim | None:
        shop = self._shop
        with shop.database.writing.begin() as session:
            claim = probes.claim(session, worker_id=shop.worker_id, lease_s=shop.settings.lease_s)
        if claim is not None:
            _log.info("probe_claimed", probe_id=claim.id, kind=claim.spec["kind"], attempt=claim.attempt)
        return claim

    def _found(self, claim: Claim, folder: AttemptFolder, watch: Watch) -> Callable[[Session], bool]:
        if len(claim.jobs) < (2 if "job_id" in claim.spec else 1):
            raise NoAnswer("no_such_job", "The other job was deleted.")
        jobs = [self._job(weighed, folder, watch) for weighed in claim.jobs]
        order = frames.encode(
            "probe",
            spec=claim.spec,
            jobs=jobs,
            limit_s=self._shop.settings.probe_limit_s,
            limit_bytes=self._shop.settings.probe_limit_bytes,
        )
        answer = beside.answered(self._shop, folder, order, watch, threads=1, filtered=True)
        weights = "final" if jobs[0]["weights"] else "checkpoint"
        return lambda session: probes.finish(
            session, claim, result=answer["result"], step=answer["step"], weights=weights
        )

    def _job(self, weighed: Weighed, folder: AttemptFolder, watch: Watch) -> dict[str, Any]:
        """The order's entry of a job: its spec, its data, and the file that holds its weights."""
        weights, resume, final = None, None, weighed.final
        if final is not None and artifacts.file_sha256(Path(final.path)) == final.sha256:
            weights = final.path
        else:
            resume = newest_checkpoint(weighed.job)
        if weights is None and resume is None:
            raise NoAnswer("no_weights", f"Job {weighed.job.job_id} left neither weights nor a checkpoint.")
        return {
            "spec": weighed.job.resolved_spec,
            "dataset": beside.dataset_of(self._shop, weighed.job, folder, watch),
            "device": CPU,
            "weights": weights,
            "step": weighed.step,
            "resume": resume,
        }
