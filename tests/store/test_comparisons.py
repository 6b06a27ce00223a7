"""The life of a comparison in the store, on both databases: no step twice, no job lost."""

import json
import threading
from typing import Any

import pytest
from sqlalchemy import delete, func, select

from specs.comparison_plan import plan
from specs.comparisons import ComparisonSpec
from store import attempts, comparison_runs, comparisons, jobs, listing
from store.comparison_tables import Comparison
from store.comparisons import PRIORITY, WINDOW
from store.database import Database
from store.errors import BelongsToComparison, IllegalTransition, NotFound
from store.tables import Job

BASE: dict[str, Any] = {
    "dataset": {"kind": "builtin", "name": "digits"},
    "network": {"kind": "mlp", "hidden": [8]},
    "learners": ["mono_forward"],
    "seeds": 2,
    "tuning": {"trials": 2},
    "labels": {"study": "tests"},
    "resources": {"device": "cpu"},
}
ARMS = 6
TUNED = 4


def made(database: Database, **changes: Any) -> str:
    spec = ComparisonSpec.model_validate_json(json.dumps({**BASE, **changes}))
    with database.writing.begin() as session:
        row = comparisons.create(
            session,
            spec=BASE,
            resolved_spec=spec.resolved(),
            plan=plan(spec),
            resource_class="cpu",
            dataset="digits",
        )
        return row.id


def rows(database: Database, comparison_id: str, stage: str | None = None) -> list[comparisons.Row]:
    with database.reading() as session:
        return comparisons.rows(session, comparison_id, stage=stage)


def status(database: Database, comparison_id: str) -> str:
    with database.reading() as session:
        return comparisons.get(session, comparison_id).status


def end_all(database: Database, result: dict[str, Any] | None = None) -> int:
    """Every queued job ends, as a worker would end it."""
    ended = 0
    while True:
        with database.writing.begin() as session:
            claim = attempts.claim(session, worker_id="w", host="here", worker_pid=1, resource_class="cpu", lease_s=600)
            if claim is None:
                return ended
            key = claim.job_id, claim.attempt
            attempts.mark_started(session, *key, step=0, device="cpu", trainer_pid=1, receipt={})
            assert attempts.mark_finalizing(session, *key)
            found = result or {"metrics": {"test": {"accuracy": 0.5, "loss": 1.0}}}
            assert attempts.succeed(session, *key, result=found, receipt={}, diagnostics={})
            ended += 1


def test_tuning_is_queued_first_then_all_seeds_of_all_arms_with_what_was_chosen(database: Database) -> None:
    comparison_id = made(database)
    assert status(database, comparison_id) == "tuning"
    assert [run.stage for run in rows(database, comparison_id)] == ["tuning"] * (2 * TUNED)
    assert end_all(database) == TUNED, "the second trial of each arm waits for its settings"
    with database.writing.begin() as session:
        trials = {run.arm: (1, {"/optimizer/lr": 0.05}) for run in comparisons.rows(session, comparison_id)}
        assert comparisons.top_up(session, comparison_id, trials=trials) == "cpu"
        assert comparisons.top_up(session, comparison_id, trials=trials) is None, "asked for twice, added once"
    second = [run for run in rows(database, comparison_id) if run.trial == 1]
    assert {run.settings["optimizer"]["lr"] for run in second} == {0.05}
    assert end_all(database) == TUNED
    with database.writing.begin() as session:
        assert comparisons.start_finals(session, comparison_id, {"backprop": {"/optimizer/lr": 0.123}})
    final = rows(database, comparison_id, "final")
    assert {(run.arm, run.seed) for run in final} == {(run.arm, seed) for run in final for seed in (0, 1)}
    assert len(final) == 2 * ARMS
    for run in final:
        assert run.settings["training"]["seed"] == run.seed
        assert (run.settings["optimizer"]["lr"] == 0.123) == (run.arm == "backprop")
        assert run.settings["labels"] == {"study": "tests", "comparison": comparison_id, "stage": "final"}


def test_jobs_of_a_comparison_wait_behind_single_jobs(database: Database) -> None:
    made(database)
    spec = rows(database, made(database))[0].settings
    with database.writing.begin() as session:
        single = jobs.create(session, spec=spec, resolved_spec=spec, resource_class="cpu", dataset="digits").id
    with database.writing.begin() as session:
        claim = attempts.claim(session, worker_id="w", host="h", worker_pid=1, resource_class="cpu", lease_s=60)
    assert claim is not None
    assert claim.job_id == single
    with database.reading() as session:
        assert set(session.scalars(select(Job.priority).where(Job.id != single))) == {PRIORITY}


def test_step_that_two_workers_take_at_once_is_taken_once(database: Database) -> None:
    comparison_id = made(database)
    end_all(database)
    won: list[bool] = []
    start = threading.Barrier(4)

    def worker() -> None:
        start.wait()
        with database.writing.begin() as session:
            won.append(comparisons.start_finals(session, comparison_id, {}))

    threads = [threading.Thread(target=worker) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == [False, False, False, True]
    assert len(rows(database, comparison_id, "final")) == 2 * ARMS


def test_no_more_jobs_than_the_window_are_made_and_the_rest_follow(database: Database) -> None:
    comparison_id = made(database, seeds=20, tuning=None)
    found = rows(database, comparison_id)
    assert sum(run.job_id is not None for run in found) == WINDOW
    assert found[WINDOW].status == "planned"
    with database.writing.begin() as session:
        assert comparisons.top_up(session, comparison_id) is None
    done = 0
    while done < len(found):
        done += end_all(database)
        with database.writing.begin() as session:
            comparisons.top_up(session, comparison_id)
    assert done == len(found) == 20 * ARMS
    assert all(run.ended for run in rows(database, comparison_id))


def test_jobs_timed_by_a_clock_are_made_one_by_one(database: Database) -> None:
    budget = {"budget": {"kind": "seconds", "value": 1}}
    comparison_id = made(database, tuning=None, training=budget)
    for count in range(1, 4):
        assert sum(run.job_id is not None for run in rows(database, comparison_id)) == count
        with database.writing.begin() as session:
            assert comparisons.top_up(session, comparison_id) is None, "the last one still waits"
        assert end_all(database) == 1
        with database.writing.begin() as session:
            assert comparisons.top_up(session, comparison_id) == "cpu"


def test_cancelling_ends_every_job_and_nothing_follows(database: Database) -> None:
    comparison_id = made(database)
    with database.writing.begin() as session:
        claim = attempts.claim(session, worker_id="w", host="h", worker_pid=1, resource_class="cpu", lease_s=60)
    assert claim is not None
    with database.writing.begin() as session:
        row, changed = comparisons.cancel(session, comparison_id)
        assert (row.status, changed) == ("cancelling", True)
    with database.writing.begin() as session:
        assert not comparisons.finish_cancelling(session, comparison_id), "one job still runs"
        assert comparisons.cancel(session, comparison_id)[1] is False
        assert comparisons.start_finals(session, comparison_id, {}) is False
        assert comparisons.top_up(session, comparison_id) is None
    with database.writing.begin() as session:
        jobs.move(session, claim.job_id, Job.status == "cancelling", status="cancelled")
    with database.writing.begin() as session:
        assert comparisons.finish_cancelling(session, comparison_id)
    assert status(database, comparison_id) == "cancelled"
    assert {run.status for run in rows(database, comparison_id) if run.trial == 0} == {"cancelled"}
    assert {run.job_id for run in rows(database, comparison_id) if run.trial == 1} == {None}
    with database.reading() as session:
        assert comparisons.active(session) == []


def test_comparison_whose_jobs_all_wait_is_cancelled_at_once_and_an_ended_one_not_at_all(database: Database) -> None:
    comparison_id = made(database)
    with database.writing.begin() as session:
        assert comparisons.cancel(session, comparison_id)[0].status == "cancelled"
    other = made(database)
    with database.writing.begin() as session:
        assert comparisons.fail(session, other, kind="every_run_failed", message="none")
    with database.writing.begin() as session, pytest.raises(IllegalTransition):
        comparisons.cancel(session, other)


def test_only_one_answer_is_stored(database: Database) -> None:
    comparison_id = made(database, tuning=None)
    with database.writing.begin() as session:
        assert comparisons.succeed(session, comparison_id, {"sentence": "first"})
        assert not comparisons.succeed(session, comparison_id, {"sentence": "second"})
        assert not comparisons.fail(session, comparison_id, kind="k", message="m")
    with database.reading() as session:
        assert comparisons.get(session, comparison_id).sentence == "first"


def test_deleted_job_is_told_from_one_that_was_not_made_yet(database: Database) -> None:
    comparison_id = made(database, tuning=None)
    end_all(database)
    gone = rows(database, comparison_id)[0].job_id
    assert gone is not None
    with database.writing.begin() as session, pytest.raises(BelongsToComparison, match=comparison_id):
        listing.remove(session, jobs.get(session, gone))
    with database.writing.begin() as session:  # by hand, as nobody but its owner can
        session.execute(delete(Job).where(Job.id == gone))
    assert rows(database, comparison_id)[0].status == "deleted"
    assert all(run.ended for run in rows(database, comparison_id))


def test_pages_meet_without_gap_or_repeat(database: Database) -> None:
    ids = [made(database, tuning=None, seeds=[0, 1]) for _ in range(3)]
    seen, cursor = [], None
    for _ in range(3):
        with database.reading() as session:
            found, cursor = comparisons.page(session, limit=1, after=cursor)
        seen += [row.id for row in found]
    assert (seen, cursor) == (ids[::-1], None)
    with database.reading() as session:
        assert comparison_runs.counts(session, ids)[ids[0]] == {"queued": 2 * ARMS}
        assert session.scalar(select(func.count()).select_from(Comparison)) == 3
        with pytest.raises(NotFound):
            comparisons.get(session, "cmp_" + "0" * 32)
