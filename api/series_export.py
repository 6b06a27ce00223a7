"""All points of a job's series as a file that is written while it is sent: no row is left out, nothing is sampled."""

import csv
import io
from collections.abc import Iterator

from api import parquet
from store import series
from store.database import Database
from store.series import Points
from store.series_blocks import Selection

COLUMNS = ("name", "layer", "parameter", "split", "unit", "step", "value")
LINES_AT_ONCE = 20_000


def as_csv(database: Database, job_id: str, wanted: Selection) -> Iterator[bytes]:
    """One line a point. A value that is not finite is written out: nan, inf or -inf."""
    yield (",".join(COLUMNS) + "\r\n").encode()
    for points in _series(database, job_id, wanted):
        scope = _csv_line(points.name, points.layer, points.parameter, points.split, points.unit)
        for start in range(0, len(points.steps), LINES_AT_ONCE):
            steps = points.steps[start : start + LINES_AT_ONCE].tolist()
            # As text of numpy's own: the shortest that gives the same float32 again.
            values = points.values[start : start + LINES_AT_ONCE].astype(str).tolist()
            lines = (f"{scope},{step},{value}\r\n" for step, value in zip(steps, values, strict=True))
            yield "".join(lines).encode()


def as_parquet(database: Database, job_id: str, wanted: Selection) -> Iterator[bytes]:
    """One row a point, a row group a series."""
    return parquet.written(_series(database, job_id, wanted))


def _series(database: Database, job_id: str, wanted: Selection) -> Iterator[Points]:
    """One scope after the other, each in a transaction of its own: a slow reader must not hold one open."""
    with database.reading() as session:
        blocks = series.blocks_of(session, job_id, wanted)
    scopes = dict.fromkeys((block.layer, block.layer_index, block.parameter, block.split) for block in blocks)
    for scope in scopes:
        own = [block for block in blocks if (block.layer, block.layer_index, block.parameter, block.split) == scope]
        with database.reading() as session:
            found = series.points_of(session, job_id, own, wanted)
        yield from (points for points in found if len(points.steps))


def _csv_line(*cells: str | None) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(cells)
    return text.getvalue()
