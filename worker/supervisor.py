"""One attempt, from its claim to its settlement: prepares, launches, keeps the clocks, and writes how it ended.

While the trainer lives it waits for nothing but its own inbox; the recorder waits for the database.
"""

import time
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, Final

import structlog

from store.attempts import Claim
from worker import disk_full, endings, prepare, transactions
from worker.clock import boottime_s
from worker.endings import Ending, GivenBack, Lost
from worker.launcher import Exited, NotReady
from worker.places import CPU, Place
from worker.preparation import Preparation, preparation_order
from worker.recorder import FencedOff
from worker.training import Inbox, Training
from worker.watcher import AttemptKey, Watcher
from worker.work_order import AttemptFolder, OrderTooLarge, Pipes, work_order
from worker.workshop import Workshop

TICK_S: Final = 0.2

_log = structlog.get_logger(__name__)


class Supervisor:
    """What the watcher sees of an attempt, and the thread that runs it."""

    def __init__(self, shop: Workshop, watcher: Watcher, claim: Claim, place: Place, *, lease_until: float) -> None:
        self._shop = shop
        self._watcher = watcher
        self._claim = claim
        self._place = place
        self._lease_until = lease_until
        self._inbox: Inbox = SimpleQueue()
        self._desired = "run"
        self._fenced = False
        self._training: Training | None = None

    @property
    def key(self) -> AttemptKey:
        return self._claim.job_id, self._claim.attempt

    def renew(self, lease_until: float) -> None:
        """A heartbeat was committed. Called by the watcher."""
        self._lease_until = lease_until
        if (training := self._training) is not None:
            training.send("lease", until=lease_until)

    def wish(self, desired_state: str) -> None:
        """A client wants something else. Called by the watcher."""
        if self._desired != desired_state:
            self._desired = desired_state
            self._inbox.put(None)

    def fence(self) -> None:
        """The attempt is no longer the job's. Called by the watcher."""
        if not self._fenced:
            self._fenced = True
            self._inbox.put(FencedOff())

    def supervise(self) -> None:
        """Run the attempt. Never raises: whatever happens is written as its end, or left to its lease."""
        self._watcher.add(self)
        began = time.monotonic()
        try:
            ending, exited = self._run()
        except Exception as error:  # the outer door: a mistake of ours must not take the worker down
            _log.exception("supervisor_failed", job_id=self._claim.job_id, attempt=self._claim.attempt)
            ending, exited = GivenBack(True, "internal", f"The worker failed: {error!r:.500}"), None
            if disk_full.is_meant(error):
                ending = endings.found(disk_full.KIND, fault="resource", message=disk_full.MESSAGE)
        try:
            self._conclude(ending, _cost(time.monotonic() - began, exited))
        except Exception:  # the outer door again: the lease runs out, and a reconciler finds the job
            _log.exception("settlement_failed", job_id=self._claim.job_id, attempt=self._claim.attempt)
        finally:
            self._watcher.remove(self)
            self._shop.look.set()

    def _run(self) -> tuple[Ending, Exited | None]:
        folder = AttemptFolder.create(self._shop.settings, self._claim)
        try:
            dataset = self._prepare(folder)
            if not isinstance(dataset, dict):
                return dataset, None
            return self._train(folder, dataset)
        finally:
            folder.remove()

    def _prepare(self, folder: AttemptFolder) -> dict[str, Any] | Ending:
        order = preparation_order(self._shop.settings, self._claim)
        answer = prepare.cached(order)
        if answer is None:
            deadline = time.monotonic() + self._shop.settings.first_step_s
            with Preparation(order, folder=folder.path, log=folder.log) as preparation:
                while (answer := preparation.answer(0.05)) is None:
                    if (ending := self._interrupted(deadline)) is not None:
                        return ending
        if (error := answer.get("error")) is not None:
            return endings.found(error["kind"], fault=error["fault"], message=error["message"])
        return self._interrupted(float("inf")) or answer

    def _interrupted(self, deadline: float) -> Ending | None:
        """Why nothing should be started, or go on that is no training yet."""
        if self._fenced:
            return Lost()
        if self._desired == "cancel":
            return endings.CANCELLED
        if self._desired == "pause":
            return endings.PAUSED
        if self._shop.stopping.is_set():
            return endings.PREEMPTED
        if boottime_s() > self._lease_until:
            return endings.LEASE_LOST
        if time.monotonic() > deadline:
            return GivenBack(True, "stalled", "Preparing the data took too long.")
        return None

    def _train(self, folder: AttemptFolder, dataset: dict[str, Any]) -> tuple[Ending, Exited | None]:
        order = work_order(
            self._claim,
            dataset=dataset,
            device=self._place.device,
            lease_until=self._lease_until,
            limits=self._shop.settings.limits,
        )
        try:
            pipes = Pipes.open(folder, order)
        except OrderTooLarge as error:
            return endings.found("spec_too_large", fault="user", message=f"The job is too large: {error}."), None
        training = Training(self._shop, self._claim, folder, pipes, self._inbox, give_up=self._gives_up)
        try:
            training.launch(filtered=self._place.resource_class == CPU)
            self._training = training
            while not training.is_over():
                self._step(training)
        except NotReady:
            return GivenBack(False, "no_launcher", "The worker could not start a training process."), None
        finally:
            self._training = None
            training.close()
        return training.ending(), training.exited

    def _step(self, training: Training) -> None:
        with suppress(Empty):
            mail = self._inbox.get(timeout=TICK_S)
            self._fenced |= isinstance(mail, FencedOff)
            training.hear(mail)
        if self._desired == "cancel":
            training.clocks.cancel()
        elif self._desired == "pause":
            training.clocks.stop("pause")
        if self._shop.stopping.is_set():
            training.clocks.stop("preempt")
        training.act(lease_until=self._lease_until)

    def _gives_up(self) -> bool:
        """Whether the database is waited for no longer: only when the worker stops and the lease is over."""
        return self._shop.stopping.is_set() and boottime_s() > self._lease_until

    def _conclude(self, ending: Ending, cost: dict[str, Any]) -> None:
        _log.info("attempt_ended", job_id=self._claim.job_id, attempt=self._claim.attempt, ending=type(ending).__name__)
        written = False
        if not isinstance(ending, Lost):
            with suppress(transactions.GaveUp):
                written = transactions.commit(
                    self._shop.database,
                    lambda session: endings.write(session, *self.key, ending, cost=cost),
                    give_up=self._gives_up,
                )
        if not written:  # it is another attempt's by now, or a reconciler finds it
            _log.warning("attempt_fenced", job_id=self._claim.job_id, attempt=self._claim.attempt)


def _cost(wall_s: float, exited: Exited | None) -> dict[str, Any]:
    cost: dict[str, Any] = {"wall_s": wall_s}
    if exited is not None:
        cost |= {"cpu_s": exited.cpu_s, "max_rss_bytes": exited.max_rss_kb * 1024}
    return cost
