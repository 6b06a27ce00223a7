"""Whether a job can be repeated: a replay from a kept checkpoint, compared bit by bit with what the job left."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header, Query, Response
from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from api.answers import Page, Time
from api.bodies import OptionalJsonBody, Posted
from api.conditional import tagged
from api.creation import create_once
from api.dependencies import CallerDep, Door, DoorDep, IdempotencyKeyDep, JobIdDep, id_in_path, known_parameters_only
from api.errors import Refused
from api.openapi import body
from api.problems import ProblemItem, declared
from api.routes.probes import ProbeError
from api.rows import rfc3339
from specs.verifications import VerificationRequest
from store import jobs, verifications
from store.errors import IllegalTransition
from store.tables import Job
from store.verification_tables import Verification

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["results"], dependencies=[Depends(known_parameters_only)])

SHARE_OF_THE_LIMIT = 0.5
"""A replay that the job's own time foretells to take more than this much of its limit is not begun."""


class Difference(BaseModel):
    """The first value that is not the same, in the order of steps, then of tensors' names."""

    tensor: str = Field(description="`network.`, `own.`, `optimizer.` and `best.` tensors, as checkpoints name them")
    step: int
    index: list[int] | None = Field(description="null where the tensor is missing, or has another shape or type")
    stored: float | int | str | None
    replayed: float | int | str | None


class LossDifference(BaseModel):
    """The first logged loss that is not the same."""

    step: int
    stored: float | None
    replayed: float | None


class Comparison(BaseModel):
    """What was compared, and what came of it."""

    from_step: int
    to_step: int
    compared_at: list[int] = Field(
        description="steps at which all tensors were compared: kept checkpoints, and the end"
    )
    tensors: int
    values: int
    losses: int = Field(description="logged losses that were compared, as they are stored: in float32")
    largest_relative_difference: float | None = Field(
        description="of two values, over the largest magnitude in their tensor; null where it is infinite"
    )
    first_difference: Difference | None
    first_loss_difference: LossDifference | None
    metrics_equal: bool
    state_differs: list[str] = Field(description="what else than tensors a checkpoint holds and was not the same")
    diverged: str | None = Field(description="how the replay ended, where the job did not")
    circumstances: dict[str, Any] = Field(
        description="what of the receipt was not the same in the replay: versions, threads, device, settings"
    )


class VerificationAnswer(BaseModel):
    """A replay, and what became of it."""

    id: str
    job_id: str
    from_step: int = Field(description="0: from the start")
    tolerance: float
    status: str = Field(description="`queued`, `running`, `done` or `failed`")
    attempt: int = Field(description="how often a worker began it")
    verdict: Literal["bitwise", "tolerance", "different"] | None = Field(
        description="bitwise: tensors, logged losses and metrics are the same bits; tolerance: within it; or different"
    )
    result: Comparison | None
    error: ProbeError | None
    created_at: Time
    started_at: Time | None
    finished_at: Time | None


VerificationIdDep = Annotated[str, Depends(id_in_path("verification_id", "vrf", "verification"))]


@router.post(
    "/verify-resume",
    operation_id="verify_resume",
    status_code=202,
    response_model=VerificationAnswer,
    responses={200: {"model": VerificationAnswer, "description": "Replayed"}, **declared(409, 415)},
    openapi_extra=body("VerificationRequest", required=False),
)
def verify_resume(
    door: DoorDep,
    caller: CallerDep,
    job_id: JobIdDep,
    key: IdempotencyKeyDep,
    posted: Annotated[
        Posted[VerificationRequest], Depends(OptionalJsonBody(VerificationRequest, without=VerificationRequest()))
    ],
) -> Any:
    """Replays a succeeded job from a kept checkpoint to its end, and compares every tensor, loss and metric.

    A worker of the job's class does it beside its jobs. The answer is `bitwise`, `tolerance` with the largest relative
    difference, or `different` with the first value that is. Where no checkpoint is kept, a short job is replayed from
    its start; a long one is refused.
    """
    asked = posted.value

    def make(session: Session) -> Verification:
        job = jobs.get(session, job_id, project=caller.project)
        from_step = _start(session, door, job, asked.from_step)
        return verifications.create(session, job, from_step=from_step, tolerance=asked.tolerance)

    return create_once(
        door,
        project=caller.project,
        at=f"/v1/jobs/{job_id}/verifications",
        key=key,
        request_sha256=posted.sha256,
        make=make,
        read=lambda session, verification_id: _answer(verifications.get(session, job_id, verification_id)),
    )


@router.get(
    "/verifications",
    operation_id="list_verifications",
    response_model=Page[VerificationAnswer],
    responses=declared(),
)
def list_verifications(
    door: DoorDep, caller: CallerDep, job_id: JobIdDep, limit: Annotated[int, Query(ge=1, le=200)] = 50
) -> Response:
    """The newest verifications of the job, newest first."""
    with door.database.reading() as session:
        jobs.get(session, job_id, project=caller.project)
        found = [_answer(row) for row in verifications.of_job(session, job_id, limit=limit)]
    return Response(Page[VerificationAnswer](data=found).model_dump_json(), media_type="application/json")


@router.get(
    "/verifications/{verification_id}",
    operation_id="get_verification",
    response_model=VerificationAnswer,
    responses={**declared(), 304: {}},
)
def get_verification(
    door: DoorDep,
    caller: CallerDep,
    job_id: JobIdDep,
    verification_id: VerificationIdDep,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """One verification, with a strong ETag."""
    with door.database.reading() as session:
        jobs.get(session, job_id, project=caller.project)
        answer = _answer(verifications.get(session, job_id, verification_id))
    return tagged(answer, if_none_match)


def _start(session: Session, door: Door, job: Job, asked: int | None) -> int:
    """The step that the replay begins after. Refused: a job without a result, and what cannot be replayed."""
    if job.status != "succeeded" or job.result is None:
        raise IllegalTransition(job.status, allowed=("succeeded",))
    phases = job.resolved_spec["learner"].get("phases") or ()
    if any((phase.get("until") or {}).get("kind") == "seconds" for phase in phases):
        raise Refused("not_replayable", "A phase of the job ends by a clock, which no replay can repeat.")
    kept = verifications.starts(session, job.id)
    if asked is not None and asked not in {0, *kept}:
        detail = f"no checkpoint of step {asked} is kept"
        item = ProblemItem(pointer="/from_step", code="no_such_checkpoint", detail=detail, allowed=[0, *kept])
        raise Refused("invalid_request", detail, errors=[item])
    start = asked if asked is not None else kept[0] if kept else 0
    _check_length(door, job, start, kept)
    return start


def _check_length(door: Door, job: Job, start: int, kept: list[int]) -> None:
    assert job.result is not None
    steps, wall_s = job.result["step"], (job.result.get("cost") or {}).get("wall_s") or 0.0
    takes_s = wall_s * (steps - start) / max(steps, 1)
    longest_s = SHARE_OF_THE_LIMIT * door.settings.verification_limit_s
    if takes_s > longest_s:
        where = (
            f"from step {start}" if start else "from the start" if kept else "from the start, as no checkpoint is kept"
        )
        detail = f"A replay {where} would take about {takes_s:.0f} s, and {longest_s:.0f} s are admitted."
        raise Refused("not_replayable", detail)


def _answer(row: Verification) -> VerificationAnswer:
    return VerificationAnswer(
        id=row.id,
        job_id=row.job_id,
        from_step=row.from_step,
        tolerance=row.tolerance,
        status=row.status,
        attempt=row.attempt,
        verdict=row.verdict,
        result=None if row.result is None else Comparison.model_validate(row.result),
        error=None if row.error is None else ProbeError.model_validate(row.error),
        created_at=rfc3339(row.created_at),
        started_at=rfc3339(row.started_at),
        finished_at=rfc3339(row.finished_at),
    )
