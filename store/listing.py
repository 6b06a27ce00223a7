"""Pages of jobs by keyset: no page is slower than the first, and none skips a job that was there."""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence

from sqlalchemy import delete, select, tuple_
from sqlalchemy.orm import Session

from store.errors import IllegalTransition, StoreError
from store.tables import TERMINAL, Job


class BadCursor(StoreError):
    """The cursor is not one that this list has given out."""


def page(
    session: Session,
    *,
    limit: int,
    after: str | None = None,
    statuses: Sequence[str] = (),
    learner: str | None = None,
    network: str | None = None,
    dataset: str | None = None,
    labels: Mapping[str, str] | None = None,
    created_after: float | None = None,
) -> tuple[list[Job], str | None]:
    """Jobs, newest first, and the cursor of the next page or None."""
    query = select(Job)
    if statuses:
        query = query.where(Job.status.in_(statuses))
    for column, wanted in ((Job.learner, learner), (Job.network, network), (Job.dataset, dataset)):
        if wanted is not None:
            query = query.where(column == wanted)
    for name, value in (labels or {}).items():
        query = query.where(Job.labels[name].as_string() == value)
    if created_after is not None:
        query = query.where(Job.created_at > created_after)
    if after is not None:
        query = query.where(tuple_(Job.created_at, Job.id) < tuple_(*decode(after)))
    found = list(session.scalars(query.order_by(Job.created_at.desc(), Job.id.desc()).limit(limit + 1)))
    if len(found) <= limit:
        return found, None
    return found[:limit], encode(found[limit - 1])


def remove(session: Session, job: Job) -> None:
    """Deletes a terminal job with all that belongs to it; its files are the caller's."""
    if job.status not in TERMINAL:
        raise IllegalTransition(job.status, allowed=TERMINAL)
    session.execute(delete(Job).where(Job.id == job.id, Job.phase == "terminal"))


def encode(job: Job) -> str:
    """The cursor that stands after ``job``."""
    return base64.urlsafe_b64encode(json.dumps([job.created_at, job.id]).encode()).decode().rstrip("=")


def decode(cursor: str) -> tuple[float, str]:
    """Where a cursor stands, or BadCursor."""
    try:
        created_at, job_id = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True))
    except (ValueError, TypeError, binascii.Error, RecursionError):
        raise BadCursor from None
    if not isinstance(created_at, float) or not isinstance(job_id, str) or created_at != created_at:
        raise BadCursor
    return created_at, job_id
