"""Pages of jobs by keyset: no page is slower than the first, and none skips a job that was there."""

import re
import struct
from collections.abc import Mapping, Sequence

from sqlalchemy import ColumnElement, delete, select, tuple_
from sqlalchemy.orm import Session

from store.comparison_tables import ComparisonRun
from store.errors import BelongsToComparison, IllegalTransition, StoreError
from store.tables import DEFAULT_PROJECT, TERMINAL, Job

CURSOR = "41[0-9a-f]{46}"
"""A float64 between 2**17 and 2**33 seconds, which reaches from 1970 to 2242, and a UUID."""


OWN = "none"
"""In the place of a comparison: the jobs that belong to none."""


class BadCursor(StoreError):
    """The cursor is not one that this list has given out."""


def page(
    session: Session,
    *,
    limit: int,
    project: str = DEFAULT_PROJECT,
    after: str | None = None,
    statuses: Sequence[str] = (),
    learner: str | None = None,
    network: str | None = None,
    dataset: str | None = None,
    name: str | None = None,
    comparison: str | None = None,
    labels: Mapping[str, str] | None = None,
    created_after: float | None = None,
) -> tuple[list[Job], str | None]:
    """Jobs of a project, newest first, and the cursor of the next page or None. ``comparison`` is an id, or OWN."""
    query = select(Job).where(Job.project == project)
    if statuses:
        query = query.where(Job.status.in_(statuses))
    for column, wanted in (
        (Job.learner, learner),
        (Job.network, network),
        (Job.dataset, dataset),
        (Job.name, name),
    ):
        if wanted is not None:
            query = query.where(column == wanted)
    if comparison is not None:
        query = query.where(_of(comparison))
    for label, value in (labels or {}).items():
        query = query.where(Job.labels[label].as_string() == value)
    if created_after is not None:
        query = query.where(Job.created_at > created_after)
    if after is not None:
        query = query.where(tuple_(Job.created_at, Job.id) < tuple_(*decode(after)))
    found = list(session.scalars(query.order_by(Job.created_at.desc(), Job.id.desc()).limit(limit + 1)))
    if len(found) <= limit:
        return found, None
    return found[:limit], encode(found[limit - 1])


def _of(comparison: str) -> ColumnElement[bool]:
    runs = select(ComparisonRun.job_id).where(ComparisonRun.job_id == Job.id)
    if comparison == OWN:
        return ~runs.exists()
    return runs.where(ComparisonRun.comparison_id == comparison).exists()


def remove(session: Session, job: Job) -> None:
    """Deletes a terminal job with all that belongs to it; its files are the caller's. Jobs of comparisons are kept."""
    of = comparison_of(session, job.id)
    if of is not None:
        raise BelongsToComparison(f"The job belongs to the comparison {of}, whose answer rests on it.")
    if job.status not in TERMINAL:
        raise IllegalTransition(job.status, allowed=TERMINAL)
    session.execute(delete(Job).where(Job.id == job.id, Job.phase == "terminal"))


def comparison_of(session: Session, job_id: str) -> str | None:
    """The comparison that a job runs for, or None."""
    return session.scalar(select(ComparisonRun.comparison_id).where(ComparisonRun.job_id == job_id))


def encode(job: Job) -> str:
    """The cursor that stands after ``job``: the bits of its time, then the digits of its id."""
    return struct.pack(">d", job.created_at).hex() + job.id.removeprefix("job_")


def decode(cursor: str) -> tuple[float, str]:
    """Where a cursor stands, or BadCursor. Every text of the form CURSOR stands somewhere."""
    if re.fullmatch(CURSOR, cursor) is None:
        raise BadCursor
    return struct.unpack(">d", bytes.fromhex(cursor[:16]))[0], f"job_{cursor[16:]}"
