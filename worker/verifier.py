"""Claims verifications and has each job replayed in a process of its own. Every worker has one, beside its places."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, final

import numpy as np
import structlog
from sqlalchemy.orm import Session

from store import artifacts, verifications
from store.series import Points
from store.verification_tables import Verification
from store.verifications import Claim
from worker import beside, frames
from worker.beside import LeaseHolder, NoAnswer, Watch
from worker.places import CPU
from worker.work_order import AttemptFolder
from worker.workshop import Workshop

LOSSES = "losses.npy"

_log = structlog.get_logger(__name__)


@final
class Verifier(LeaseHolder[Claim]):
    """A thread that sees one replay through at a time."""

    def __init__(self, shop: Workshop) -> None:
        super().__init__(shop, "verifier", Verification, verifications, limit_s=shop.settings.verification_limit_s)

    def _claim(self) -> Claim | None:
        shop = self._shop
        with shop.database.writing.begin() as session:
            claim = verifications.claim(
                session, worker_id=shop.worker_id, classes=shop.places.classes, lease_s=shop.settings.lease_s
            )
        if claim is not None:
            _log.info("verification_claimed", verification_id=claim.id, attempt=claim.attempt)
        return claim

    def _found(self, claim: Claim, folder: AttemptFolder, watch: Watch) -> Callable[[Session], bool]:
        spec = claim.weighed.job.resolved_spec
        filtered = claim.resource_class == CPU
        order = frames.encode("replay", **self._order(claim, folder, watch))
        threads = spec["resources"]["threads"]
        answer = beside.answered(self._shop, folder, order, watch, threads=threads, filtered=filtered)
        return lambda session: verifications.finish(session, claim, verdict=answer["verdict"], result=answer["result"])

    def _order(self, claim: Claim, folder: AttemptFolder, watch: Watch) -> dict[str, Any]:
        job, final = claim.weighed.job, claim.weighed.final
        if final is None or not Path(final.path).is_file():
            raise NoAnswer("no_weights", f"The weights of job {job.job_id} are gone.")
        if artifacts.file_sha256(Path(final.path)) != final.sha256:
            raise NoAnswer("weights_changed", f"The weights of job {job.job_id} are not the file that it left.")
        kept = {
            checkpoint.step: {"path": checkpoint.path, "sha256": checkpoint.sha256, "step": checkpoint.step}
            for checkpoint in job.checkpoints
        }
        resume = kept.get(claim.from_step)
        if resume is None and claim.from_step:
            raise NoAnswer("no_checkpoint", f"The checkpoint of step {claim.from_step} is gone.")
        losses = folder.path / LOSSES
        np.save(losses, _stacked(claim.losses))
        place = next(place for place in self._shop.places.all if place.resource_class == claim.resource_class)
        settings = self._shop.settings
        return {
            "job": {
                "spec": job.resolved_spec,
                "dataset": beside.dataset_of(self._shop, job, folder, watch),
                "device": place.device,
                "resume": resume,
            },
            "checkpoints": [kept[step] for step in sorted(kept) if step > claim.from_step],
            "last_step": claim.result["step"],
            "weights": final.path,
            "losses": str(losses),
            "metrics": claim.result["metrics"],
            "receipt": claim.receipt,
            "tolerance": claim.tolerance,
            "limit_s": settings.verification_limit_s,
            "limit_bytes": settings.verification_limit_bytes if place.device == CPU else None,
        }


def _stacked(losses: Points | None) -> Any:
    """Steps, then values, as float64."""
    if losses is None:
        return np.empty((2, 0))
    return np.stack([losses.steps.astype(np.float64), losses.values.astype(np.float64)])
