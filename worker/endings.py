"""How an attempt can end, and the one transaction that writes it."""

import signal
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy.orm import Session

from specs.reports import Failure, Result
from store import attempts, settlement
from worker.storable import storable

LEASE_PASSED: Final = 76
_MAX_CODE_LENGTH: Final = 40
_MAX_MESSAGE_LENGTH: Final = 4000


@dataclass(frozen=True)
class Completed:
    """Training is complete, and every report is written."""

    result: Result
    receipt: dict[str, Any]


@dataclass(frozen=True)
class Found:
    """Training ended on a finding: the job fails."""

    error: dict[str, Any]


@dataclass(frozen=True)
class GivenBack:
    """No result: cancelled, paused, queued again, or failed after the last attempt."""

    charge: bool
    code: str
    message: str


@dataclass(frozen=True)
class Lost:
    """The attempt is no longer the job's, or its lease is over: nothing may be written."""


Ending = Completed | Found | GivenBack | Lost

CANCELLED: Final = GivenBack(False, "cancelled_by_user", "Cancelled on request.")
PAUSED: Final = GivenBack(False, "paused_by_user", "Paused on request.")
PREEMPTED: Final = GivenBack(False, "preempted", "The worker was stopped.")
LEASE_LOST: Final = GivenBack(False, "lease_lost", "The lease could not be renewed in time.")


def finding(failure: Failure) -> Found:
    """The end of a job on what its trainer found."""
    error = failure.model_dump(exclude={"type"})
    return Found({**storable(error), "kind": failure.kind[:_MAX_CODE_LENGTH]})


def found(kind: str, *, fault: str, message: str, step: int | None = None) -> Found:
    """The end of a job on what its worker found."""
    return Found({"kind": kind[:_MAX_CODE_LENGTH], "fault": fault, "message": message, "step": step})


def crashed(code: int) -> GivenBack:
    """The trainer's process ended without a word."""
    if code == LEASE_PASSED:
        return LEASE_LOST
    how = f"exit code {code}"
    if code < 0:
        how = f"signal {-code} ({signal.Signals(-code).name})"
    return GivenBack(True, "crashed", f"The training process ended by {how}.")


def write(session: Session, job_id: str, attempt: int, ending: Ending, *, cost: dict[str, Any]) -> bool:
    """Ends the attempt. Where a client's cancellation came first, the job is cancelled instead. False: fenced."""
    if isinstance(ending, Completed):
        result = ending.result
        if attempts.succeed(
            session,
            job_id,
            attempt,
            result=storable(
                {
                    "metrics": result.metrics,
                    "best": result.best,
                    "cost": result.cost,
                    "weights_sha256": result.weights_sha256,
                    "step": result.step,
                }
            ),
            receipt=storable({**ending.receipt, **result.receipt}),
            diagnostics=storable(result.diagnostics),
        ):
            return True
        ending = CANCELLED
    if isinstance(ending, Found):
        error = {**ending.error, "message": ending.error["message"][:_MAX_MESSAGE_LENGTH]}
        if attempts.fail(session, job_id, attempt, error=error, cost=cost):
            return True
        ending = CANCELLED
    if isinstance(ending, Lost):
        return False
    settled = settlement.settle(
        session,
        job_id,
        attempt,
        charge=ending.charge,
        code=ending.code,
        message=ending.message[:_MAX_MESSAGE_LENGTH],
        cost=cost,
    )
    return settled is not None
