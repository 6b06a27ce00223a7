"""Estimates: a question is asked by the API, taken by one worker, answered, and forgotten."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, delete, select, update
from sqlalchemy.orm import Session

from store.database import now_s
from store.estimate_tables import EstimateRequest
from store.identifiers import new_id
from store.tables import DEFAULT_PROJECT

FRESH_S: Final = 300.0
"""An answer is given again for so long: later the machine may be in another state."""
KEPT_S: Final = 86_400.0
"""So long a job's page can say what was foretold."""
TAKEN_S: Final = 60.0
"""A question that was taken longer ago, and not answered, was taken by a worker that died."""


def spec_digest(resolved: dict[str, Any]) -> str:
    """The digest by which two specs are told apart. Name and labels are no part of what is trained."""
    counted = {name: value for name, value in resolved.items() if name not in ("name", "labels")}
    return hashlib.sha256(json.dumps(counted, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def ask(session: Session, resolved: dict[str, Any], *, resource_class: str, project: str = DEFAULT_PROJECT) -> str:
    """The id of a question: of one that the project asked before and is answered, or will be, else of a new one.

    What another project asked is not its to know, not even by a quicker answer.
    """
    digest = spec_digest(resolved)
    now = session.execute(select(now_s())).scalar_one()
    open_or_fresh = select(EstimateRequest).where(
        EstimateRequest.project == project,
        EstimateRequest.spec_sha256 == digest,
        EstimateRequest.created_at > now - FRESH_S,
    )
    for before in session.scalars(open_or_fresh.order_by(EstimateRequest.created_at.desc())):
        if before.answer is None or "error" not in before.answer:
            return before.id
    asked = EstimateRequest(
        id=new_id("est"),
        project=project,
        spec_sha256=digest,
        resolved_spec=resolved,
        resource_class=resource_class,
        created_at=now,
        taken_at=None,
        worker_id=None,
        answer=None,
    )
    session.add(asked)
    session.flush()
    return asked.id


def answer(session: Session, estimate_id: str) -> dict[str, Any] | None:
    """The answer to a question, or None as long as there is none."""
    return session.execute(select(EstimateRequest.answer).where(EstimateRequest.id == estimate_id)).scalar()


def any_waits(session: Session, *, classes: Sequence[str]) -> bool:
    """Whether a question of these classes waits: a look that locks nothing."""
    return session.execute(_waiting(classes)).first() is not None


def take(session: Session, worker_id: str, *, classes: Sequence[str]) -> EstimateRequest | None:
    """The oldest question of these classes that nobody works on, for this worker alone."""
    first = _waiting(classes).scalar_subquery()
    taking = update(EstimateRequest).where(EstimateRequest.id == first, *_open())
    taken = session.execute(
        taking.values(taken_at=now_s(), worker_id=worker_id).returning(EstimateRequest.id),
        execution_options={"synchronize_session": False},
    ).scalar()
    return None if taken is None else session.get_one(EstimateRequest, taken, populate_existing=True)


def write_answer(session: Session, estimate_id: str, found: dict[str, Any]) -> None:
    """The worker's word; a second one changes nothing."""
    unanswered = update(EstimateRequest).where(EstimateRequest.id == estimate_id, EstimateRequest.answer.is_(None))
    session.execute(unanswered.values(answer=found))


def of_spec(
    session: Session, resolved: dict[str, Any], *, before: float, project: str = DEFAULT_PROJECT
) -> dict[str, Any] | None:
    """The newest estimate of such a job that its project asked for before this moment."""
    query = select(EstimateRequest.answer).where(
        EstimateRequest.project == project,
        EstimateRequest.spec_sha256 == spec_digest(resolved),
        EstimateRequest.created_at <= before,
        EstimateRequest.answer.is_not(None),
    )
    found = session.execute(query.order_by(EstimateRequest.created_at.desc()).limit(1)).scalar()
    return None if found is None or "error" in found else found


def forget(session: Session) -> None:
    """Removes what is older than a job's page will ask for."""
    session.execute(delete(EstimateRequest).where(EstimateRequest.created_at < now_s() - KEPT_S))


def _open() -> tuple[ColumnElement[bool], ...]:
    taken_by_nobody = EstimateRequest.taken_at.is_(None) | (EstimateRequest.taken_at < now_s() - TAKEN_S)
    return EstimateRequest.answer.is_(None), taken_by_nobody


def _waiting(classes: Sequence[str]) -> Select[str]:
    asked = select(EstimateRequest.id).where(*_open(), EstimateRequest.resource_class.in_(classes))
    return asked.order_by(EstimateRequest.created_at, EstimateRequest.id).limit(1)
