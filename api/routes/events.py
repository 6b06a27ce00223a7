"""What happened to a job, and what its trainer printed: as a page of JSON, or as a stream."""

import re
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Response
from pydantic import BaseModel

from api import streams
from api.answers import Page, Time
from api.dependencies import CallerDep, DoorDep, JobIdDep, bad_header, known_parameters_only
from api.negotiation import chosen
from api.problems import declared
from api.quotas import check_new_stream
from api.rows import rfc3339
from store import events, jobs, logs

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["progress"], dependencies=[Depends(known_parameters_only)])

FORMS = ("application/json", streams.MEDIA_TYPE)
STREAM: dict[str, Any] = {
    streams.MEDIA_TYPE: {
        "schema": {
            "description": "One server-sent event",
            "type": "object",
            "required": ["event", "id", "data"],
            "properties": {
                "event": {"type": "string", "description": "its type; `end` is the last"},
                "id": {"type": "string", "pattern": "^[0-9]+$", "description": "the sequence number"},
                "data": {"type": "string", "contentMediaType": "application/json", "description": "an object"},
            },
        }
    }
}
LAST = 2**63 - 1
_SEQUENCE = re.compile(r"[0-9]{1,18}")

Limit = Annotated[int, Query(ge=1, le=1000, description="of a page of JSON")]
Accept = Annotated[str | None, Header(include_in_schema=False)]


class EventAnswer(BaseModel):
    """Something that happened."""

    sequence: int
    event_id: str
    type: str
    attempt: int
    created_at: Time
    data: dict[str, Any]


class LogAnswer(BaseModel):
    """A line that the trainer printed."""

    sequence: int
    attempt: int
    created_at: Time
    message: str


async def _after(
    after: Annotated[int | None, Query(ge=0, le=LAST, description="a sequence number; later ones are wanted")] = None,
    last_event_id: Annotated[
        str | None,
        Header(
            alias="Last-Event-ID",
            description="the `id` of the last event seen; stands above `after`",
            json_schema_extra={"pattern": "^[0-9]{1,18}$"},
        ),
    ] = None,
) -> int:
    if last_event_id is None:
        return after or 0
    if not _SEQUENCE.fullmatch(last_event_id):
        detail = "not the `id` of an event of this job"
        raise bad_header("Last-Event-ID", "bad_last_event_id", detail, "1..18 digits: the id of the last event seen")
    return int(last_event_id)


After = Annotated[int, Depends(_after)]


@router.get(
    "/events",
    operation_id="list_events",
    response_model=Page[EventAnswer],
    responses={200: {"content": STREAM}, **declared(406)},
)
def list_events(
    door: DoorDep, caller: CallerDep, job_id: JobIdDep, after: After, limit: Limit = 200, accept: Accept = None
) -> Any:
    """`Accept: text/event-stream` streams: the `id` is the sequence number, `Last-Event-ID` resumes, `end` is last."""
    form = chosen(accept, FORMS)
    with door.database.reading() as session:
        jobs.get(session, job_id, project=caller.project)
        if form == streams.MEDIA_TYPE:
            check_new_stream(door, caller)
            stream = streams.event_stream(door, job_id, after=after)
            return streams.response(door.open_streams.counted(caller.project, stream))
        found = events.page(session, job_id, after=after, limit=limit + 1)
    page = Page[EventAnswer](
        data=[
            EventAnswer(
                sequence=event.sequence,
                event_id=event.id,
                type=event.type,
                attempt=event.attempt,
                created_at=rfc3339(event.created_at),
                data=event.detail,
            )
            for event in found[:limit]
        ],
        has_more=len(found) > limit,
        next_cursor=str(found[limit - 1].sequence) if len(found) > limit else None,
    )
    return Response(page.model_dump_json(), media_type="application/json")


@router.get(
    "/logs",
    operation_id="list_logs",
    response_model=Page[LogAnswer],
    responses={200: {"content": STREAM}, **declared(406)},
)
def list_logs(
    door: DoorDep, caller: CallerDep, job_id: JobIdDep, after: After, limit: Limit = 200, accept: Accept = None
) -> Any:
    """What the trainer printed; `Accept: text/event-stream` follows it."""
    form = chosen(accept, FORMS)
    with door.database.reading() as session:
        jobs.get(session, job_id, project=caller.project)
        if form == streams.MEDIA_TYPE:
            check_new_stream(door, caller)
            stream = streams.log_stream(door, job_id, after=after)
            return streams.response(door.open_streams.counted(caller.project, stream))
        found = logs.page(session, job_id, after=after, limit=limit + 1)
    page = Page[LogAnswer](
        data=[LogAnswer.model_validate(streams.log_fields(line)) for line in found[:limit]],
        has_more=len(found) > limit,
        next_cursor=str(found[limit - 1].sequence) if len(found) > limit else None,
    )
    return Response(page.model_dump_json(), media_type="application/json")
