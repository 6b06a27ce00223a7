"""What the caller's project takes, beside what it may take."""

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from api.dependencies import CallerDep, DoorDep, known_parameters_only
from api.problems import declared
from store import usage

router = APIRouter(prefix="/v1/usage", tags=["service"], dependencies=[Depends(known_parameters_only)])

COUNTED_TO = 1_000_000


class Used(BaseModel):
    """One quantity."""

    name: str = Field(description="as the setting `AFTERPROP_QUOTAS__<NAME>`")
    used: int
    limit: int | None = Field(description="null: as much as there is")


class UsageAnswer(BaseModel):
    """What a project takes."""

    project: str
    enforced: bool = Field(description="only where keys are asked for; `running_jobs` always")
    data: list[Used]


@router.get("", operation_id="get_usage", response_model=UsageAnswer, responses=declared())
def get_usage(door: DoorDep, caller: CallerDep) -> UsageAnswer:
    """What the project takes of what it may take, at the moment."""
    quotas = door.settings.quotas
    with door.database.reading() as session:
        used = {
            "jobs_per_minute": usage.made_lately(session, caller.project, up_to=COUNTED_TO),
            "queued_jobs": usage.waiting(session, caller.project, up_to=COUNTED_TO),
            "running_jobs": usage.running(session, caller.project),
            "streams": door.open_streams.count[caller.project],
        }
    return UsageAnswer(
        project=caller.project,
        enforced=door.asks_for_keys,
        data=[Used(name=name, used=count, limit=getattr(quotas, name)) for name, count in used.items()],
    )
