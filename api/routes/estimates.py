"""Estimates: what a job would need, before anybody trains it. Nothing is queued, and nothing is left."""

import asyncio
import time
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Depends, Response

from api.bodies import JsonBody, Posted
from api.callers import Caller
from api.dependencies import CallerDep, Door, DoorDep, known_parameters_only
from api.errors import Refused
from api.openapi import body
from api.problems import ProblemItem, declared
from api.rows import resource_class
from api.submission import require_dataset, with_device
from specs.estimate import Estimate
from specs.job import JobSpec
from store import estimates, workers

router = APIRouter(prefix="/v1/estimates", tags=["jobs"], dependencies=[Depends(known_parameters_only)])

LOOK_S = 0.1
RETRY_AFTER_S = 2


@router.post(
    "",
    operation_id="create_estimate",
    response_model=Estimate,
    responses=declared(415),
    openapi_extra=body("JobRequest"),
)
async def create_estimate(
    door: DoorDep, caller: CallerDep, posted: Annotated[Posted[JobSpec], Depends(JsonBody(JobSpec))]
) -> Any:
    """What a job would need: parameters, bytes by component, FLOPs, seconds, and whether it fits.

    A worker takes some steps on made-up rows; the job is not queued. 503 `no_worker`: nobody can; 503
    `estimate_not_ready`: it takes longer than a request may, ask again with the same body.
    """
    estimate_id = await to_thread.run_sync(_ask, door, caller, posted.value)
    deadline = time.monotonic() + door.settings.estimate_wait_s
    # Waiting here holds no thread: a handful of estimates must not keep everybody else waiting.
    while (found := await to_thread.run_sync(_answer, door, estimate_id)) is None:
        if time.monotonic() > deadline:
            raise Refused("estimate_not_ready", headers={"Retry-After": str(RETRY_AFTER_S)})
        await asyncio.sleep(LOOK_S)
    if "error" in found:
        raise _refusal(found["error"])
    return Response(Estimate.model_validate(found).model_dump_json(), media_type="application/json")


def _ask(door: Door, caller: Caller, spec: JobSpec) -> str:
    with door.database.writing.begin() as session:
        resolved = with_device(session, spec.resolved(), door)
        require_dataset(session, resolved, caller.project)
        wanted = resource_class(resolved)
        living = workers.living(session, lease_s=door.settings.lease_s)
        if not any(wanted in worker.classes for worker in living):
            detail = f"No live worker takes {wanted} jobs, and only a worker can tell what one needs."
            raise Refused("no_worker", detail, headers={"Retry-After": str(RETRY_AFTER_S)})
        estimate_id = estimates.ask(session, resolved, resource_class=wanted, project=caller.project)
    door.bell.ring(wanted)
    return estimate_id


def _answer(door: Door, estimate_id: str) -> dict[str, Any] | None:
    with door.database.reading() as session:
        return estimates.answer(session, estimate_id)


def _refusal(error: dict[str, str]) -> Refused:
    if error["fault"] == "user":
        item = ProblemItem(pointer="/dataset", code=error["kind"], detail=error["message"])
        return Refused("invalid_request", error["message"], errors=[item])
    return Refused("estimate_failed", error["message"], headers={"Retry-After": str(RETRY_AFTER_S)})
