"""A job that a worker has claimed, attempted, given back: the life that stored series need."""

from typing import Any

from store import attempts, jobs, settlement
from store.database import Database

_RESOLVED: dict[str, Any] = {
    "learner": {"kind": "backprop"},
    "network": {"kind": "mlp"},
    "limits": {"max_attempts": 3},
}


def claimed(database: Database) -> str:
    """A job whose first attempt has started."""
    with database.writing.begin() as session:
        job_id = jobs.create(session, spec={}, resolved_spec=_RESOLVED, resource_class="cpu", dataset="digits").id
    attempt(database, resumed_from=0)
    return job_id


def attempt(database: Database, *, resumed_from: int) -> None:
    """The next attempt, started after step ``resumed_from``."""
    with database.writing.begin() as session:
        claim = attempts.claim(session, worker_id="wrk_1", host="here", worker_pid=1, resource_class="cpu", lease_s=30)
        assert claim is not None
        attempts.mark_started(
            session, claim.job_id, claim.attempt, step=resumed_from, device="cpu", trainer_pid=2, receipt={}
        )


def give_back(database: Database, job_id: str, number: int, *, crashed: bool = False) -> None:
    """The attempt is over and the job waits again."""
    code, message = ("crashed", "It died.") if crashed else ("preempted", "It was stopped.")
    with database.writing.begin() as session:
        assert settlement.settle(session, job_id, number, charge=crashed, code=code, message=message)
