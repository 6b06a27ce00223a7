"""Advances comparisons: queues their next jobs, chooses what tuning found, writes the answer. Every worker has one.

Each step is a conditional UPDATE, so any number of conductors may run at once, and one that dies in between is
followed by another. The answer is worked out while only reading, so that it keeps nobody from writing.
"""

from typing import Final

import structlog

from specs.comparison_trials import Asked, is_known
from store import comparisons
from store.comparison_tables import Comparison
from store.comparisons import Row
from worker.comparison import answer, scores, tuning
from worker.rounds import Rounds
from worker.storable import storable
from worker.workshop import Workshop

FAILED: Final = "every_run_failed"

_log = structlog.get_logger(__name__)


class Conductor:
    """A thread that looks at the comparisons that are not over, as often as the poller looks for jobs."""

    def __init__(self, shop: Workshop) -> None:
        self._shop = shop
        self._rounds = Rounds("conductor", self.look, every_s=shop.settings.poll_s)

    def start(self) -> None:
        self._rounds.start()

    def close(self) -> None:
        self._rounds.close()

    def look(self) -> None:
        """One step of every comparison that has one to take."""
        with self._shop.database.reading() as session:
            waiting = comparisons.active(session)
        for comparison_id in waiting:
            self._advance(comparison_id)

    def _advance(self, comparison_id: str) -> None:
        with self._shop.database.reading() as session:
            row = comparisons.get(session, comparison_id)
            runs = comparisons.rows(session, comparison_id)
        own = [run for run in runs if run.stage == ("tuning" if row.status == "tuning" else "final")]
        if row.status == "cancelling":
            with self._shop.database.writing.begin() as session:
                comparisons.finish_cancelling(session, comparison_id)
        elif not all(run.ended for run in own):
            trials = tuning.asked(row.plan, own, row.resolved_spec["tuning"]) if row.status == "tuning" else {}
            if trials or any(_may_be_queued(row, run) for run in own):
                self._top_up(comparison_id, trials)
        elif row.status == "tuning":
            chosen = scores.choose(own, row.plan["arms"])
            with self._shop.database.writing.begin() as session:
                moved = comparisons.start_finals(session, comparison_id, chosen)
            if moved:
                _log.info("comparison_tuned", comparison_id=comparison_id)
                self._wake(row.resource_class)
        elif row.status == "running":
            self._finish(row, runs)

    def _top_up(self, comparison_id: str, trials: Asked) -> None:
        with self._shop.database.writing.begin() as session:
            resource_class = comparisons.top_up(session, comparison_id, trials=trials)
        if resource_class is not None:
            self._wake(resource_class)

    def _wake(self, resource_class: str) -> None:
        self._shop.look.set()
        self._shop.bell.ring(resource_class)

    def _finish(self, row: Comparison, runs: list[Row]) -> None:
        final = [run for run in runs if run.stage == "final"]
        reference = [run for run in final if run.arm == row.plan["arms"][0]["name"]]
        if not any(run.status == "succeeded" for run in reference):
            first = next((run.error for run in reference if run.error), None)
            message = f"No run of the reference has a result. {(first or {}).get('message', '')}".strip()
            with self._shop.database.writing.begin() as session:
                comparisons.fail(session, row.id, kind=FAILED, message=message)
            return
        with self._shop.database.reading() as session:
            found = answer.of(session, row, runs)
        with self._shop.database.writing.begin() as session:
            if comparisons.succeed(session, row.id, storable(found)):
                _log.info("comparison_answered", comparison_id=row.id)


def _may_be_queued(row: Comparison, run: Row) -> bool:
    return run.status == "planned" and is_known(row.plan, stage=run.stage, arm=run.arm, trial=run.trial)
