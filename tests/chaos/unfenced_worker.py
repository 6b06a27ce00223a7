"""``python -m tests.chaos.unfenced_worker``: a worker whose fence is down, for the negative control of the chaos tests.

What it patches is what keeps a late attempt from writing: the condition on the attempt in every statement, the
heartbeat's answer, and the table's rule that only a success has a result (on PostgreSQL the test drops it). Nothing of
it can be reached from outside the tests.
"""

import sys
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, event, select, true
from sqlalchemy.orm import Session

from store import attempts, jobs, settlement
from store.database import Database, connect
from store.tables import Job
from worker import main


def _held(job_id: str, attempt: int) -> ColumnElement[bool]:
    return Job.id == job_id


def _move(session: Session, job_id: str, where: ColumnElement[bool], *, attempt: int = 0, **columns: Any) -> bool:
    return jobs.move(session, job_id, true(), attempt=attempt, **columns)


def _connect(url: str, **options: Any) -> Database:
    database = connect(url, **options)
    if database.is_sqlite:
        event.listen(database.engine, "connect", lambda raw, _: raw.execute("PRAGMA ignore_check_constraints=ON"))
    return database


def _desired_states(session: Session, claimed: Sequence[tuple[str, int]]) -> dict[tuple[str, int], str]:
    wanted = dict(session.execute(select(Job.id, Job.desired_state)).tuples().all())
    return {key: wanted[key[0]] for key in claimed}


if __name__ == "__main__":
    attempts.held = settlement.held = _held
    attempts.move = _move
    attempts.desired_states = _desired_states
    main.connect = _connect
    sys.exit(main.main())
