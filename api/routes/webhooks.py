"""Webhooks: who is told when jobs and comparisons end, and what became of telling them."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, Field

from api.answers import Page, Time
from api.bodies import JsonBody, Posted
from api.dependencies import CallerDep, DoorDep, id_in_path, known_parameters_only
from api.errors import Refused
from api.middleware import host_name
from api.noting import note
from api.openapi import body
from api.problems import ProblemItem, declared
from api.rows import rfc3339
from specs.webhooks import WebhookSpec
from store import webhooks
from store.destinations import Forbidden, destination
from store.webhook_tables import Delivery, Webhook

router = APIRouter(prefix="/v1/webhooks", tags=["service"], dependencies=[Depends(known_parameters_only)])

MOST_WEBHOOKS = 20


class WebhookAnswer(BaseModel):
    """A webhook. Its secret is shown when it is made, and never again."""

    id: str
    url: str
    events: list[str]
    previous_secret_until: Time | None = Field(description="until then the secret before the last rotation signs too")
    created_at: Time


class NewWebhookAnswer(WebhookAnswer):
    """A webhook with the secret that verifies what it is sent."""

    secret: str = Field(description="`whsec_` and base64, as the libraries of Standard Webhooks take it")


class TryAnswer(BaseModel):
    """One try of a delivery. Nothing of what the receiver answered is kept but its status."""

    at: Time
    status_code: int | None
    error: str | None = Field(
        description="null: delivered; `status`, `timeout`, `not_reached`, `certificate`, `encryption`, `not_http`, or "
        "why this service does not send there"
    )
    duration_s: float


class DeliveryAnswer(BaseModel):
    """Something that the webhook is to be told, and the tries so far."""

    id: str
    event_id: str = Field(description="the header `webhook-id`, the same at every try")
    type: str
    data: dict[str, Any]
    status: str = Field(description="`pending`, `delivered`, or `failed` after eight tries within a day")
    tries: list[TryAnswer]
    created_at: Time
    next_try_at: Time | None


WebhookIdDep = Annotated[str, Depends(id_in_path("webhook_id", "whk", "webhook"))]


@router.post(
    "",
    operation_id="create_webhook",
    status_code=201,
    response_model=NewWebhookAnswer,
    responses=declared(409, 415),
    openapi_extra=body("WebhookSpec"),
)
def create_webhook(
    door: DoorDep,
    caller: CallerDep,
    request: Request,
    posted: Annotated[Posted[WebhookSpec], Depends(JsonBody(WebhookSpec))],
) -> Response:
    """Has an address told of the project's events, signed by Standard Webhooks. It is not called now."""
    _check_address(door, request, posted.value.url)
    with door.database.writing.begin() as session:
        if webhooks.count(session, caller.project) >= MOST_WEBHOOKS:
            raise Refused("too_many_webhooks", f"A project has at most {MOST_WEBHOOKS} webhooks: delete one first.")
        made = webhooks.create(
            session, project=caller.project, url=posted.value.url, events=sorted(set(posted.value.events))
        )
        note(session, caller, "webhook.create", made.id, {"url": made.url})
        answer = _with_secret(made)
    return Response(
        answer.model_dump_json(),
        status_code=201,
        media_type="application/json",
        headers={"Location": f"/v1/webhooks/{answer.id}", "Cache-Control": "no-store"},
    )


@router.get("", operation_id="list_webhooks", response_model=Page[WebhookAnswer], responses=declared())
def list_webhooks(door: DoorDep, caller: CallerDep) -> Page[WebhookAnswer]:
    """The project's webhooks, oldest first."""
    with door.database.reading() as session:
        return Page[WebhookAnswer](data=[_answer(row) for row in webhooks.of_project(session, caller.project)])


@router.get("/{webhook_id}", operation_id="get_webhook", response_model=WebhookAnswer, responses=declared())
def get_webhook(door: DoorDep, caller: CallerDep, webhook_id: WebhookIdDep) -> WebhookAnswer:
    """One webhook."""
    with door.database.reading() as session:
        return _answer(webhooks.get(session, webhook_id, project=caller.project))


@router.delete("/{webhook_id}", operation_id="delete_webhook", status_code=204, responses=declared())
def delete_webhook(door: DoorDep, caller: CallerDep, webhook_id: WebhookIdDep) -> Response:
    """Ends a webhook. What it was not told yet it will not be."""
    with door.database.writing.begin() as session:
        webhooks.remove(session, webhook_id, project=caller.project)
        note(session, caller, "webhook.delete", webhook_id)
    return Response(status_code=204)


@router.post(
    "/{webhook_id}/rotate", operation_id="rotate_webhook", response_model=NewWebhookAnswer, responses=declared()
)
def rotate_webhook(door: DoorDep, caller: CallerDep, webhook_id: WebhookIdDep) -> Response:
    """Gives the webhook a new secret. For 24 hours the one before it signs too."""
    with door.database.writing.begin() as session:
        answer = _with_secret(webhooks.rotate(session, webhook_id, project=caller.project))
        note(session, caller, "webhook.rotate", webhook_id)
    return Response(answer.model_dump_json(), media_type="application/json", headers={"Cache-Control": "no-store"})


@router.get(
    "/{webhook_id}/deliveries",
    operation_id="list_deliveries",
    response_model=Page[DeliveryAnswer],
    responses=declared(),
)
def list_deliveries(
    door: DoorDep, caller: CallerDep, webhook_id: WebhookIdDep, limit: Annotated[int, Query(ge=1, le=200)] = 50
) -> Page[DeliveryAnswer]:
    """The newest deliveries, newest first, each with its tries."""
    with door.database.reading() as session:
        webhooks.get(session, webhook_id, project=caller.project)
        found = webhooks.deliveries(session, webhook_id, limit=limit)
    return Page[DeliveryAnswer](data=[_delivery(row) for row in found])


def _check_address(door: DoorDep, request: Request, url: str) -> None:
    """Refused where this service would not send. The name is looked up, and nothing is connected to."""
    try:
        found = destination(door.settings, url)
        if found.encrypted and found.host == host_name(request.headers.get("host", "")):
            raise Forbidden("own_address", "this is the service's own address", allowed=["another host"])
    except Forbidden as error:
        item = ProblemItem(pointer="/url", code=error.code, detail=str(error), allowed=error.allowed or None)
        raise Refused("invalid_request", f"/url: {error}", errors=[item]) from None


def _answer(row: Webhook) -> WebhookAnswer:
    return WebhookAnswer(
        id=row.id,
        url=row.url,
        events=row.events,
        previous_secret_until=rfc3339(row.previous_until),
        created_at=rfc3339(row.created_at),
    )


def _with_secret(row: Webhook) -> NewWebhookAnswer:
    return NewWebhookAnswer(**_answer(row).model_dump(), secret=row.secret)


def _delivery(row: Delivery) -> DeliveryAnswer:
    return DeliveryAnswer(
        id=row.id,
        event_id=row.event_id,
        type=row.type,
        data=row.detail,
        status=row.status,
        tries=[TryAnswer(**{**tried, "at": rfc3339(tried["at"])}) for tried in row.tries],
        created_at=rfc3339(row.created_at),
        next_try_at=rfc3339(row.next_try_at),
    )
