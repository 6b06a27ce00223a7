"""Series survive attempts, NaN and down-sampling, on both databases."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_strategies

from specs.reports import SeriesBlock
from store import series
from store.database import Database
from store.sampling import sample
from tests.store.attempted_job import attempt, claimed, give_back


def _append(database: Database, job_id: str, attempt: int, steps: list[int], *rows: list[float]) -> int:
    block = SeriesBlock(
        layer="blocks.0",
        layer_index=0,
        split="train",
        quantities=tuple(f"quantity_{index}" for index in range(len(rows))),
        units=("1",) * len(rows),
        count=len(steps),
    )
    payload = np.asarray(steps, "<i4").tobytes() + np.asarray(rows, "<f4").tobytes()
    with database.writing.begin() as session:
        return series.append(session, job_id, attempt, [block], payload, ids=series.BlockIds())


def _read(database: Database, job_id: str, **wanted: Any) -> list[series.Points]:
    with database.reading() as session:
        return series.read(session, job_id, **wanted)


def test_points_come_back_as_they_were_written_nan_included(database: Database) -> None:
    job_id = claimed(database)
    assert _append(database, job_id, 1, [1, 10], [0.5, float("nan")], [1.0, float("inf")]) == 4
    first, second = _read(database, job_id)
    assert (first.name, first.layer, first.steps.tolist()) == ("quantity_0", "blocks.0", [1, 10])
    assert first.values[0] == np.float32(0.5) and np.isnan(first.values[1])
    assert np.isposinf(second.values[1])


def test_writing_a_segment_twice_changes_nothing(database: Database) -> None:
    job_id = claimed(database)
    for _ in range(2):
        _append(database, job_id, 1, [1, 2], [0.1, 0.2])
    assert _read(database, job_id)[0].steps.tolist() == [1, 2]


def test_a_resumed_attempt_replaces_what_the_lost_one_measured_after_the_checkpoint(database: Database) -> None:
    job_id = claimed(database)
    _append(database, job_id, 1, [1, 2, 3], [1, 1, 1])
    _append(database, job_id, 1, [4, 5], [1, 1])
    give_back(database, job_id, 1, crashed=True)
    attempt(database, resumed_from=3)
    (before,) = _read(database, job_id)
    assert before.steps.tolist() == [1, 2, 3]
    _append(database, job_id, 2, [4, 5, 6], [2, 2, 2])
    (points,) = _read(database, job_id)
    assert points.steps.tolist() == [1, 2, 3, 4, 5, 6]
    assert points.values.tolist() == [1, 1, 1, 2, 2, 2]


def test_a_series_that_lies_in_two_blocks_is_one_series(database: Database) -> None:
    job_id = claimed(database)
    _append(database, job_id, 1, [1, 3], [1, 3])
    _append(database, job_id, 1, [2, 4], [2, 4], [20, 40])
    first, second = _read(database, job_id)
    assert (first.steps.tolist(), first.values.tolist()) == ([1, 2, 3, 4], [1, 2, 3, 4])
    assert second.steps.tolist() == [2, 4]


def test_a_window_and_a_name_choose_points(database: Database) -> None:
    job_id = claimed(database)
    _append(database, job_id, 1, [1, 2, 3, 4], [1, 2, 3, 4], [5, 6, 7, 8])
    (points,) = _read(database, job_id, names=["quantity_1"], step_from=2, step_to=3)
    assert (points.steps.tolist(), points.values.tolist()) == ([2, 3], [6, 7])
    assert _read(database, job_id, layers=["blocks.9"]) == []


@pytest.mark.parametrize("extra", [b"", b"12345678901234567890"])
def test_a_payload_of_the_wrong_length_is_refused(extra: bytes) -> None:
    block = SeriesBlock(quantities=("loss",), units=("1",), count=2)
    with pytest.raises(ValueError, match="payload"):
        list(series.split([block], extra))


@given(
    y=numpy_strategies.arrays(np.float32, st.integers(1, 400), elements=st.floats(-1e6, 1e6, width=32)),
    max_points=st.integers(4, 60),
    spike=st.integers(0, 10**6),
)
def test_sampling_keeps_the_spike_and_the_bound(y: np.ndarray, max_points: int, spike: int) -> None:
    y[spike % len(y)] = 1e9
    x = np.arange(len(y), dtype=np.float64)
    for method in ("minmax", "lttb"):
        sampled_x, sampled_y = sample(x, y, max_points=max_points, method=method)
        assert len(sampled_x) == len(sampled_y) <= max(max_points, 4)
        assert np.all(np.diff(sampled_x) > 0)
        if method == "minmax":
            assert sampled_y.max() == np.float32(1e9)


@pytest.mark.parametrize("method", ["minmax", "lttb", "mean"])
def test_a_nan_survives_sampling(method: Any) -> None:
    y = np.ones(1000, np.float32)
    y[537] = np.nan
    _, sampled = sample(np.arange(1000.0), y, max_points=50, method=method)
    assert np.isnan(sampled).sum() == 1


def test_mean_is_the_mean_of_each_bucket() -> None:
    x, y = sample(np.arange(100.0), np.arange(100, dtype=np.float32), max_points=10, method="mean")
    assert y.tolist() == [4.5 + 10 * bucket for bucket in range(10)]
    assert x.tolist() == y.tolist()
