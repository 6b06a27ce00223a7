"""Strong entity tags and the headers that compare them (RFC 9110, section 13)."""

import hashlib
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import Header, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel

from api.errors import Refused


def etag_of(body: bytes) -> str:
    """A strong tag: equal tags mean equal bytes."""
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def tagged(answer: BaseModel, if_none_match: str | None) -> Response:
    """The answer with its tag, or 304 when the client has it."""
    return tagged_json(answer.model_dump_json(by_alias=True).encode(), if_none_match)


def tagged_json(body: bytes, if_none_match: str | None) -> Response:
    """Bytes of JSON with their tag, or 304."""
    tag = etag_of(body)
    headers = {"ETag": tag, "Cache-Control": "no-cache"}
    if matches(if_none_match, tag, weakly=True):
        return Response(status_code=304, headers=headers)
    return Response(body, media_type="application/json", headers=headers)


async def if_none_match(_tag: Annotated[str | None, Header(alias="If-None-Match")] = None) -> None:
    """The header that ``TaggedRoute`` reads from the request, for the documentation."""


class TaggedRoute(APIRoute):
    """A route whose answer carries its tag, and is 304 when the client has it."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answered = super().get_route_handler()

        async def handler(request: Request) -> Response:
            answer = await answered(request)
            return tagged_json(bytes(answer.body), request.headers.get("If-None-Match"))

        return handler


def require_match(answer: BaseModel, if_match: str | None) -> None:
    """Refused unless If-Match is absent or names the resource as it stands."""
    if if_match is not None and not matches(if_match, etag_of(answer.model_dump_json().encode()), weakly=False):
        raise Refused("precondition_failed")


def matches(header: str | None, tag: str, *, weakly: bool) -> bool:
    """Whether one of the tags in the header is this one."""
    if header is None:
        return False
    listed = [part.strip() for part in header.split(",")]
    if weakly:
        listed = [part.removeprefix("W/") for part in listed]
    return tag in listed or listed == ["*"]
