"""The audit log: who changed what."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field

from api.answers import Page, Time
from api.dependencies import DoorDep, known_parameters_only
from api.problems import declared
from api.rows import rfc3339
from store import audit

router = APIRouter(prefix="/v1/audit", tags=["service"], dependencies=[Depends(known_parameters_only)])


class AuditAnswer(BaseModel):
    """One change."""

    id: str
    created_at: Time
    project: str = Field(description="of the caller")
    key_id: str | None = Field(description="null: no key was asked for, or it was made at the machine itself")
    action: str = Field(description="what was done: `api_key.create`, `job.cancel` ...; an open set")
    subject: str = Field(description="the id of what was changed")
    detail: dict[str, Any] | None


@router.get("", operation_id="list_audit", response_model=Page[AuditAnswer], responses=declared())
def list_audit(
    door: DoorDep,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    after: Annotated[
        str | None,
        Query(description="`next_cursor` of the page before", pattern="^aud_[0-9a-f]{32}$", max_length=36),
    ] = None,
) -> Page[AuditAnswer]:
    """Changes by all projects, newest first. Nothing is ever changed or removed here; the database refuses it."""
    with door.database.reading() as session:
        found = audit.page(session, limit=limit + 1, after=after)
    shown = [
        AuditAnswer(
            id=row.id,
            created_at=rfc3339(row.created_at),
            project=row.project,
            key_id=row.key_id,
            action=row.action,
            subject=row.subject,
            detail=row.detail,
        )
        for row in found[:limit]
    ]
    more = len(found) > limit
    return Page[AuditAnswer](data=shown, has_more=more, next_cursor=shown[-1].id if more else None)
