"""What this service takes at most."""

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from api.dependencies import DoorDep, known_parameters_only
from api.problems import declared
from specs.limits import FORM, FormLimits, Limits

router = APIRouter(prefix="/v1/limits", tags=["service"], dependencies=[Depends(known_parameters_only)])


class LimitsAnswer(BaseModel):
    """All limits: beyond them a request is refused before anything is allocated for it."""

    service: Limits = Field(description="as this service is set; each is AFTERPROP_LIMITS__<NAME>")
    form: FormLimits = Field(description="what fields hold at most everywhere; also in the JSON Schemas")


@router.get("", operation_id="get_limits", response_model=LimitsAnswer, responses=declared())
def get_limits(door: DoorDep) -> LimitsAnswer:
    """The limits of this service, in one table."""
    return LimitsAnswer(service=door.settings.limits, form=FORM)
