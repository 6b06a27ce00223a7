"""Merging a job that is over changes how its series are stored and nothing of what is read, on both databases."""

from typing import Any

import numpy as np
import pytest
from sqlalchemy import func, select

from specs.reports import SeriesBlock as Block
from store import attempts, jobs, listing, merging, overviews, rollups, series, summaries
from store.database import Database
from store.series import Selection
from store.small_segments import SmallSegments
from store.tables import SeriesBlock, SeriesRollup, SeriesSegment
from tests.store.attempted_job import attempt, claimed, give_back
from worker.merger import merge_some

LONG = 70_000
"""Points that need two levels of roll-ups."""


def end(database: Database, job_id: str, number: int = 1) -> None:
    with database.writing.begin() as session:
        error = {"kind": "diverged", "fault": "user", "message": "NaN", "step": None}
        assert attempts.fail(session, job_id, number, error=error)


def append(
    database: Database, job_id: str, steps: np.ndarray, values: np.ndarray, *, number: int = 1, layer: int = 0
) -> None:
    """In the small pieces in which they come from a trainer."""
    ids = series.BlockIds()
    piece = max(20, len(steps) // 40)
    with database.writing.begin() as session:
        for start in range(0, len(steps), piece):
            part, of_part = steps[start : start + piece], values[:, start : start + piece]
            block = Block(
                layer=f"blocks.{layer}",
                layer_index=layer,
                split="train",
                quantities=tuple(f"quantity_{index}" for index in range(len(values))),
                units=("1",) * len(values),
                count=len(part),
            )
            payload = part.astype("<i4").tobytes() + of_part.astype("<f4").tobytes()
            series.append(session, job_id, number, [block], payload, ids=ids)


def measured(count: int, seed: int = 0) -> np.ndarray:
    """Two series with spikes, a NaN and infinities."""
    generator = np.random.default_rng(seed)
    values = generator.normal(size=(2, count)).astype(np.float32)
    values[0, count // 3], values[1, count // 2] = 1e6, -1e6
    values[0, count // 7], values[1, count // 5], values[1, count - 2] = np.nan, np.inf, -np.inf
    return values


def stored(database: Database) -> list[Any]:
    with database.reading() as session:
        found: list[Any] = []
        for table in (SeriesSegment, SeriesRollup, SeriesBlock):
            found += [
                tuple(row) for row in session.execute(select(table.__table__).order_by(*table.__table__.primary_key))
            ]
        return found


def read(database: Database, job_id: str, **wanted: Any) -> dict[Any, tuple[list[int], bytes]]:
    with database.reading() as session:
        found = series.read(session, job_id, **wanted)
    return {(each.name, each.layer): (each.steps.tolist(), each.values.tobytes()) for each in found}


def test_merging_keeps_every_point_in_fewer_rows_and_bytes(database: Database) -> None:
    job_id = claimed(database)
    steps = np.arange(10, 10 * 3001, 10)
    append(database, job_id, steps, measured(3000))
    append(database, job_id, steps[::7], measured(3000)[:1, ::7], layer=1)
    before = read(database, job_id)
    end(database, job_id)
    assert merge_some(database) == 2
    assert read(database, job_id) == before
    assert read(database, job_id, step_from=1000, step_to=2500) == {
        key: _window(points, 1000, 2500) for key, points in before.items()
    }
    with database.reading() as session:
        counts = session.execute(select(SeriesSegment.count).order_by(SeriesSegment.block_id, SeriesSegment.step_from))
        assert list(counts.scalars()) == [1024, 1024, 952, 429]
        # Steps on an even grid cost nothing.
        assert session.execute(select(func.sum(func.length(SeriesSegment.points)))).scalar() == 4 * (2 * 3000 + 429)


def _window(points: tuple[list[int], bytes], first: int, last: int) -> tuple[list[int], bytes]:
    kept = [(step, points[1][4 * at : 4 * at + 4]) for at, step in enumerate(points[0]) if first <= step <= last]
    return [step for step, _ in kept], b"".join(value for _, value in kept)


def test_of_resumed_attempts_the_newest_points_are_merged(database: Database) -> None:
    job_id = claimed(database)
    append(database, job_id, np.arange(1, 501), np.full((1, 500), 1.0))
    give_back(database, job_id, 1)
    attempt(database, resumed_from=300)
    append(database, job_id, np.arange(301, 451), np.full((1, 150), 2.0), number=2)
    give_back(database, job_id, 2)
    attempt(database, resumed_from=400)
    append(database, job_id, np.arange(401, 601), np.full((1, 200), 3.0), number=3)
    before = read(database, job_id)
    end(database, job_id, 3)
    assert merge_some(database) == 1
    assert read(database, job_id) == before
    [(steps, values)] = before.values()
    assert steps == list(range(1, 601))
    assert np.frombuffer(values, np.float32).tolist() == [1.0] * 300 + [2.0] * 100 + [3.0] * 200
    with database.reading() as session:
        assert session.execute(select(func.sum(SeriesSegment.count))).scalar() == 600


def test_merging_twice_changes_nothing(database: Database) -> None:
    job_id = claimed(database)
    append(database, job_id, np.arange(1, 9002), measured(9001))
    end(database, job_id)
    with database.reading() as session:
        (block,) = merging.waiting(session, limit=9)
        merged = merging.merged(session, block)  # as another worker sees it at the same time
    assert merge_some(database) == 1
    once = stored(database)
    assert merge_some(database) == 0
    with database.writing.begin() as session:
        assert not merging.write(session, merged)
    assert stored(database) == once


def test_job_that_still_runs_is_not_merged(database: Database) -> None:
    job_id = claimed(database)
    append(database, job_id, np.arange(1, 101), measured(100))
    before = stored(database)
    assert merge_some(database) == 0
    assert stored(database) == before


def test_deleted_job_leaves_nothing_to_merge(database: Database) -> None:
    job_id = claimed(database)
    append(database, job_id, np.arange(1, 9002), measured(9001))
    end(database, job_id)
    with database.reading() as session:
        merged = merging.merged(session, merging.waiting(session, limit=1)[0])
    assert merge_some(database) == 1
    with database.writing.begin() as session:
        listing.remove(session, jobs.get(session, job_id))
    with database.writing.begin() as session:
        assert not merging.write(session, merged)
    assert stored(database) == []


def test_worker_that_dies_between_two_blocks_leaves_everything_readable(database: Database) -> None:
    job_id = claimed(database)
    for layer in range(3):
        append(database, job_id, np.arange(1, 9002), measured(9001, seed=layer), layer=layer)
    before = read(database, job_id)
    summed = _summaries(database, job_id)
    end(database, job_id)
    with database.reading() as session:
        blocks = merging.waiting(session, limit=9)
        halves = [merging.merged(session, block) for block in blocks]
    with database.writing.begin() as session:
        assert merging.write(session, halves[0])
    with pytest.raises(_Killed), database.writing.begin() as session:
        assert merging.write(session, halves[1])
        raise _Killed  # before it could commit
    with database.reading() as session:
        assert len(merging.waiting(session, limit=9)) == 2
    assert read(database, job_id) == before
    assert _summaries(database, job_id) == summed
    assert {key[1] for key in _extremes(database, job_id, Selection())} == {"blocks.0", "blocks.1", "blocks.2"}
    assert merge_some(database) == 2  # by the next worker that looks
    assert read(database, job_id) == before
    assert _summaries(database, job_id) == summed


class _Killed(Exception):
    """A worker's end in the middle of a transaction."""


def _summaries(database: Database, job_id: str) -> list[str]:
    with database.reading() as session:
        return [repr(summary) for summary in summaries.read(session, job_id)]


def _extremes(database: Database, job_id: str, wanted: Selection) -> dict[Any, overviews.Overview]:
    with database.reading() as session:
        found = overviews.read(session, job_id, wanted, by="extremes")
    return {(each.name, each.layer): each for each in found}


@pytest.fixture
def long_job(database: Database) -> str:
    """A merged job with a long series on an even grid, and one on an uneven grid."""
    job_id = claimed(database)
    append(database, job_id, 5 * np.arange(1, LONG + 1), measured(LONG))
    uneven = np.cumsum(np.random.default_rng(1).integers(1, 9, LONG))
    append(database, job_id, uneven, measured(LONG, seed=1), layer=1)
    end(database, job_id)
    assert merge_some(database) == 2
    return job_id


def test_any_range_keeps_ends_spikes_and_what_is_not_finite_in_few_cells(database: Database, long_job: str) -> None:
    whole = read(database, long_job)
    generator = np.random.default_rng(2)
    windows = [(None, None), (1, 5 * LONG), (5 * LONG - 40, None), (3, 3), (400_000, None)]
    windows += [tuple(sorted(generator.integers(1, 5 * LONG, 2).tolist())) for _ in range(4)]
    for first, last in windows:
        found = _extremes(database, long_job, Selection(step_from=first, step_to=last))
        for key, points in whole.items():
            steps, values = np.asarray(points[0]), np.frombuffer(points[1], np.float32)
            inside = (steps >= (first or 0)) & (steps <= (last or steps[-1]))
            steps, values = steps[inside], values[inside]
            overview = found[key]
            assert overview.count == len(steps)
            assert (overview.weights > 1).sum() <= 3 * rollups.MAX_CELLS
            assert len(overview.steps) <= max(rollups.MAX_RAW, 2 * rollups.MAX_CELLS + 3 * 1024) + 10
            assert np.isin(overview.steps, steps).all() and (np.diff(overview.steps) > 0).all()
            at = np.searchsorted(steps, overview.steps)
            assert overview.values.tobytes() == values[at].tobytes()  # each at the step where it was measured
            if len(steps):
                assert (overview.steps[0], overview.steps[-1]) == (steps[0], steps[-1])
                finite = np.isfinite(values)
                assert set(steps[~finite].tolist()) <= set(overview.steps.tolist())
                if finite.any():
                    of_found = overview.values[np.isfinite(overview.values)]
                    assert (of_found.min(), of_found.max()) == (values[finite].min(), values[finite].max())


def test_means_of_a_range_weigh_every_point_once(database: Database, long_job: str) -> None:
    wanted = Selection(names=["quantity_0"], step_from=70_000, step_to=340_000)
    with database.reading() as session:
        found = overviews.read(session, long_job, wanted, by="means")
        points = series.read(session, long_job, names=["quantity_0"], step_from=70_000, step_to=340_000)
    assert len(found) == len(points) == 2
    for overview, exact in zip(found, points, strict=True):
        assert overview.weights.sum() == overview.count == len(exact.steps)
        assert np.average(overview.values, weights=overview.weights) == pytest.approx(
            exact.values.mean(dtype=np.float64), rel=1e-5
        )
    assert len(found[0].steps) < len(points[0].steps) / 5


def test_block_ids_of_a_transaction_that_was_rolled_back_are_forgotten(database: Database) -> None:
    job_id = claimed(database)
    block = Block(quantities=("loss",), units=("",), count=1)
    payload = np.asarray([1], "<i4").tobytes() + np.asarray([0.5], "<f4").tobytes()
    ids = series.BlockIds()
    with pytest.raises(_Killed), database.writing.begin() as session:
        series.append(session, job_id, 1, [block], payload, ids=ids)
        raise _Killed
    for _ in range(2):
        ids.begin()
        with database.writing.begin() as session:
            series.append(session, job_id, 1, [block], payload, ids=ids)
        ids.committed()
    assert read(database, job_id) == {("loss", None): ([1], np.float32(0.5).tobytes())}


@pytest.mark.parametrize("rolls_back", [False, True])
def test_small_segments_of_a_running_job_grow_into_large_ones(database: Database, rolls_back: bool) -> None:
    job_id = claimed(database)
    ids, small = series.BlockIds(), SmallSegments()
    values = measured(1200)
    order = np.arange(1200)
    order[[604, 605]] = order[[605, 604]]  # a step that turned out bad late

    def flush(start: int) -> None:
        part = order[start : start + 50]
        block = Block(quantities=("a", "b"), units=("", ""), count=len(part))
        payload = (part + 1).astype("<i4").tobytes() + values[:, part].astype("<f4").tobytes()
        ids.begin()
        small.begin()
        with database.writing.begin() as session:
            series.append(session, job_id, 1, [block], payload, ids=ids, small=small)
            if rolls_back and start % 100 == 0 and tried.setdefault(start, 0) == 0:
                tried[start] = 1
                raise _Killed
        ids.committed()
        small.committed()

    tried: dict[int, int] = {}
    for start in range(0, 1200, 50):
        try:
            flush(start)
        except _Killed:
            flush(start)
    steps = list(range(1, 1201))
    assert read(database, job_id) == {
        ("a", None): (steps, values[0].tobytes()),
        ("b", None): (steps, values[1].tobytes()),
    }
    with database.reading() as session:
        counts = session.execute(select(SeriesSegment.count).order_by(SeriesSegment.step_from)).scalars().all()
    assert counts == [550, 550, 50, 50]
    assert bool(tried) == rolls_back
