"""Keys: made, listed, revoked. All of it asks for the scope admin, which is of the whole service."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel, Field

from api.answers import Page, Time
from api.bodies import JsonBody, Posted
from api.callers import Scope
from api.dependencies import CallerDep, DoorDep, id_in_path, known_parameters_only
from api.noting import note
from api.openapi import body
from api.problems import declared
from api.rows import key_fields
from specs.api_keys import ApiKeyRequest
from store import keys

router = APIRouter(prefix="/v1/api-keys", tags=["service"], dependencies=[Depends(known_parameters_only)])

KEY_ID = "^key_[0-9a-f]{32}$"


class ApiKeyAnswer(BaseModel):
    """A key, without its text."""

    id: str
    project: str
    name: str
    scopes: list[Scope]
    created_at: Time
    expires_at: Time | None = Field(description="null: it never expires")
    revoked_at: Time | None
    last_used_at: Time | None = Field(description="to the minute; null: never used")


class NewApiKey(ApiKeyAnswer):
    """A key that was just made."""

    key: str = Field(description="the text to send as `Authorization: Bearer`; it is shown this once")


@router.post(
    "",
    operation_id="create_api_key",
    status_code=201,
    response_model=NewApiKey,
    responses=declared(415),
    openapi_extra=body("ApiKeyRequest"),
)
def create_api_key(
    door: DoorDep, caller: CallerDep, posted: Annotated[Posted[ApiKeyRequest], Depends(JsonBody(ApiKeyRequest))]
) -> Response:
    """A new key. Its text is in this answer and nowhere else: the service keeps a digest."""
    wanted = posted.value
    with door.database.writing.begin() as session:
        row, text = keys.create(session, **wanted.model_dump())
        detail = {"project": row.project, "name": row.name, "scopes": row.scopes, "expires_in_s": wanted.expires_in_s}
        note(session, caller, "api_key.create", row.id, detail)
        answer = NewApiKey(**key_fields(row), key=text)
    headers = {"Location": f"{router.prefix}/{row.id}", "Cache-Control": "no-store"}
    return Response(answer.model_dump_json(), status_code=201, media_type="application/json", headers=headers)


@router.get("", operation_id="list_api_keys", response_model=Page[ApiKeyAnswer], responses=declared())
def list_api_keys(
    door: DoorDep,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    after: Annotated[
        str | None, Query(description="`next_cursor` of the page before", pattern=KEY_ID, max_length=36)
    ] = None,
) -> Page[ApiKeyAnswer]:
    """The keys of all projects, newest first, revoked and expired ones too."""
    with door.database.reading() as session:
        found = keys.page(session, limit=limit + 1, after=after)
    more = len(found) > limit
    shown = [ApiKeyAnswer(**key_fields(row)) for row in found[:limit]]
    return Page[ApiKeyAnswer](data=shown, has_more=more, next_cursor=shown[-1].id if more else None)


@router.delete("/{key_id}", operation_id="revoke_api_key", status_code=204, responses=declared())
def revoke_api_key(
    door: DoorDep,
    caller: CallerDep,
    key_id: Annotated[str, Depends(id_in_path("key_id", "key", "key"))],
) -> Response:
    """Ends a key, and the sessions that were begun with it, at once and for good. It stays in the list."""
    with door.database.writing.begin() as session:
        row = keys.revoke(session, key_id)
        note(session, caller, "api_key.revoke", row.id, {"project": row.project, "name": row.name})
    return Response(status_code=204)
