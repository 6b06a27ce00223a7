"""A POST that makes something: written under its Idempotency-Key in one transaction, then the bell."""

from collections.abc import Callable
from typing import Protocol

from fastapi import Response
from pydantic import BaseModel
from sqlalchemy.orm import Session

from api.conditional import etag_of
from api.dependencies import Door
from store import idempotency


class Made(Protocol):
    """A row that a worker has to hear of."""

    id: str
    resource_class: str


def create_once(
    door: Door,
    *,
    project: str,
    at: str,
    key: str | None,
    request_sha256: str,
    make: Callable[[Session], Made],
    read: Callable[[Session, str], BaseModel],
    known: Callable[[Session], str | None] | None = None,
) -> Response:
    """202 with what ``make`` made; 200 with what an earlier request with the same key and body made.

    ``read`` gives the answer for an id; ``at`` is the address of the collection. ``known`` gives the id of what makes
    another one pointless, whatever its key: that is the answer then, as if it were a repeat.
    """
    with door.database.writing.begin() as session:
        earlier = idempotency.begin(session, key, request_sha256=request_sha256, project=project) if key else None
        if earlier is None and known is not None and (earlier := known(session)) is not None and key:
            idempotency.finish(session, key, job_id=earlier, project=project)
        if earlier is not None:
            return _answer(read(session, earlier), f"{at}/{earlier}", replayed=True)
        made = make(session)
        if key:
            idempotency.finish(session, key, job_id=made.id, project=project)
        session.flush()
        made_id, resource_class = made.id, made.resource_class
        answer = read(session, made_id)
    door.bell.ring(resource_class)
    return _answer(answer, f"{at}/{made_id}", replayed=False)


def _answer(answer: BaseModel, location: str, *, replayed: bool) -> Response:
    content = answer.model_dump_json().encode()
    headers = {"Location": location, "ETag": etag_of(content)}
    if replayed:
        headers["Idempotent-Replayed"] = "true"
    return Response(content, status_code=200 if replayed else 202, media_type="application/json", headers=headers)
