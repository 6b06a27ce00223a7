"""Roll-ups and segments come to what direct computation says, and come back from their bytes as they were."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_strategies

from store import rollups, segments
from store.sampling import sample

VALUES = st.floats(width=32, allow_nan=False) | st.sampled_from([np.nan, np.inf, -np.inf, 3e38, 0.0])


@st.composite
def series(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Steps [n], on an even grid, an uneven one or one with a large gap, and values [Q, n]."""
    count = draw(st.integers(1, 300))
    gaps = draw(st.sampled_from([1, 10, 200, 60_000, 3_000_000]))
    uneven = draw(st.booleans())
    differences = draw(numpy_strategies.arrays(np.int64, count, elements=st.integers(1, gaps if uneven else 1)))
    values = draw(numpy_strategies.arrays(np.float32, (2, count), elements=VALUES))
    return np.cumsum(differences if uneven else differences * gaps).astype(np.int32), values


@given(series())
@settings(deadline=None)
def test_segments_come_back_as_they_were(given_series: tuple[np.ndarray, np.ndarray]) -> None:
    steps, values = given_series
    stored = segments.encode(steps, values)
    grid = {"count": len(steps), "step_from": int(steps[0]), "step_to": int(steps[-1])}
    found_steps, found_values = segments.decode(stored, quantities=2, **grid)
    assert np.array_equal(found_steps, steps)
    assert found_values.tobytes() == values.tobytes()
    with pytest.raises(ValueError, match="no segment"):
        segments.decode(stored[:-1], quantities=2, **grid)


@pytest.mark.parametrize(
    ("differences", "width"), [([5, 5, 5], 0), ([1, 2, 255], 1), ([1, 2, 256], 2), ([1, 70_000], 4)]
)
def test_steps_take_as_few_bytes_as_their_grid_allows(differences: list[int], width: int) -> None:
    steps = np.cumsum([7, *differences]).astype(np.int32)
    values = np.zeros((3, len(steps)), np.float32)
    assert len(segments.encode(steps, values)) == (width + 4 * 3) * len(steps)


@given(series(), st.sampled_from([16, 64, 256]))
@settings(deadline=None)
def test_cells_are_what_direct_computation_says(given_series: tuple[np.ndarray, np.ndarray], level: int) -> None:
    steps, values = given_series
    cells = rollups.roll_up(steps, values, level)
    for cell, start in enumerate(range(0, len(steps), level)):
        inside = steps[start : start + level]
        assert (cells.step_from_C[cell], cells.step_to_C[cell]) == (inside[0], inside[-1])
        assert cells.count_C[cell] == len(inside)
        for quantity in range(2):
            piece = values[quantity, start : start + level]
            finite = np.isfinite(piece)
            assert cells.lost_QC[quantity, cell] == (~finite).sum()
            with np.errstate(invalid="ignore"):
                mean = np.float32(piece.astype(np.float64).mean())
            assert cells.mean_QC[quantity, cell] == pytest.approx(mean, rel=1e-6, nan_ok=True)
            if finite.any():
                assert cells.least_QC[quantity, cell] == piece[finite].min()
                assert cells.greatest_QC[quantity, cell] == piece[finite].max()
                for at, extreme in ((cells.least_at_QC, cells.least_QC), (cells.greatest_at_QC, cells.greatest_QC)):
                    assert piece[inside == at[quantity, cell]] == extreme[quantity, cell]
            else:
                assert np.isnan(cells.least_QC[quantity, cell]) and np.isnan(cells.greatest_QC[quantity, cell])
            if not finite.all():
                first = int(np.argmin(finite))
                assert cells.lost_at_QC[quantity, cell] == inside[first]
                assert np.array_equal(cells.lost_value_QC[quantity, cell], piece[first], equal_nan=True)


@given(series(), st.sampled_from([16, 64]))
@settings(deadline=None)
def test_cells_come_back_from_their_bytes(given_series: tuple[np.ndarray, np.ndarray], level: int) -> None:
    steps, values = given_series
    cells = rollups.roll_up(steps, values, level)
    lost = rollups.lost_cells(cells)
    found = rollups.decode(rollups.encode(cells), level=level, count=len(steps), quantities=2, lost=lost)
    for name in rollups.Cells.__dataclass_fields__:
        assert np.array_equal(getattr(found, name), getattr(cells, name), equal_nan=True), name


@pytest.mark.parametrize("count", [1, 8000, 8001, 32_000, 32_001, 1_000_000, 30_000_000])
def test_every_length_is_answered_from_few_cells(count: int) -> None:
    level = rollups.level_for(count)
    if level is None:
        assert count <= rollups.MAX_RAW and not list(rollups.levels(count))
    else:
        assert 500 <= count / level <= rollups.MAX_CELLS
        assert list(rollups.levels(count))[-1] == level


@given(st.data())
@settings(deadline=None)
def test_sampling_of_heavy_points_keeps_bounds_ends_spike_and_nan(data: st.DataObject) -> None:
    count = data.draw(st.integers(30, 400))
    weights = data.draw(numpy_strategies.arrays(np.float64, count, elements=st.sampled_from([0.5, 1.0, 8.0, 500.0])))
    y = data.draw(numpy_strategies.arrays(np.float32, count, elements=st.floats(-1e6, 1e6, width=32)))
    places = st.integers(0, count - 1)
    spike, lost = data.draw(places), data.draw(places)
    y[spike], y[lost] = 1e9, np.nan
    max_points = data.draw(st.integers(4, 25))
    x = np.arange(count, dtype=np.float64)
    for method in ("minmax", "lttb", "mean"):
        sampled_x, sampled_y = sample(x, y, max_points=max_points, method=method, weights=weights)
        assert len(sampled_x) == len(sampled_y) <= max_points
        assert np.all(np.diff(sampled_x) > 0)
        assert np.isnan(sampled_y).any()
        if method != "mean":
            assert (sampled_x[0], sampled_x[-1]) == (0, count - 1)
            assert lost in sampled_x
        if method == "minmax" and spike != lost:
            assert np.nanmax(sampled_y) == np.float32(1e9)
