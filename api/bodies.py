"""Request bodies: size, media type, strict JSON, then the model. Nothing else reads a body."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from api import strict_json
from api.errors import Refused
from api.middleware import dropped
from api.problems import ProblemItem
from api.validation import body_items
from specs.limits import Limits

Model = TypeVar("Model", bound=BaseModel)

JSON_TYPES = ("application/json",)


@dataclass(frozen=True)
class Posted(Generic[Model]):
    """A body: the validated value, the JSON as it was sent, and a digest that tells two bodies apart."""

    value: Model
    fields: Any
    sha256: str


class JsonBody(Generic[Model]):
    """The dependency that reads a body as ``model``."""

    def __init__(self, model: type[Model]) -> None:
        self._model = model

    async def __call__(self, request: Request) -> Posted[Model]:
        fields = await json_of(request, JSON_TYPES)
        limits: Limits = request.app.state.door.settings.limits
        return Posted(value=validated(self._model, fields, limits), fields=fields, sha256=digest(request, fields))


class OptionalJsonBody(Generic[Model]):
    """The dependency that reads a body as ``model``, or no body as ``without``."""

    def __init__(self, model: type[Model], *, without: Model, media_types: tuple[str, ...] = JSON_TYPES) -> None:
        self._model = model
        self._without = without
        self._media_types = media_types

    async def __call__(self, request: Request) -> Posted[Model]:
        fields = await json_of(request, self._media_types, optional=True)
        value = self._without if fields is None else validated(self._model, fields)
        return Posted(value=value, fields=fields, sha256=digest(request, fields))


async def json_of(request: Request, media_types: tuple[str, ...], *, optional: bool = False) -> Any:
    """The body as JSON. ``optional``: no body at all is None."""
    body = await read(request)
    if not body:
        if optional:
            return None
        item = ProblemItem(pointer="", code="missing", detail="a JSON body is required")
        raise Refused("invalid_request", item.detail, errors=[item])
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in media_types:
        item = ProblemItem(
            pointer="/header/Content-Type", code="media_type", detail="not read here", allowed=list(media_types)
        )
        raise Refused("unsupported_media_type", errors=[item])
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise Refused("unsupported_media_type", "A body is sent without Content-Encoding.")
    try:
        return strict_json.parse(body)
    except strict_json.MalformedJson as error:
        raise Refused("malformed_json", f"The body is not strict JSON: {error}.") from None
    except strict_json.UnusableValue as error:
        item = ProblemItem(pointer=error.pointer, code=error.code, detail=str(error))
        raise Refused("invalid_request", item.detail, errors=[item]) from None


def validated(model: type[Model], fields: Any, limits: Limits | None = None) -> Model:
    """The fields as ``model`` within these limits, or the problem that names each mistake."""
    try:
        return model.model_validate_json(json.dumps(fields), context={"limits": limits})
    except ValidationError as error:
        items = body_items(error.errors(include_url=False), fields, model)
        raise Refused("invalid_request", _sentence(items), errors=items) from None


def digest(request: Request, fields: Any) -> str:
    """Tells apart what two requests asked for: the path and the body, however it was spaced or ordered."""
    canonical = json.dumps([request.url.path, fields], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


async def read(request: Request) -> bytes:
    """The body, counted as it comes: a length that was not announced does not get past the limit."""
    limit = request.app.state.door.settings.limits.body_bytes
    pieces: list[bytes] = []
    size = 0
    async for piece in request.stream():
        size += len(piece)
        if size > limit:
            await dropped(request.scope, request.receive)
            detail = f"The body is larger than {limit} bytes."
            raise Refused("body_too_large", detail, headers={"Connection": "close"})
        pieces.append(piece)
    return b"".join(pieces)


def _sentence(items: list[ProblemItem]) -> str:
    first = items[0]
    more = f" ({len(items) - 1} more)" if len(items) > 1 else ""
    return f"{first.pointer or 'the body'}: {first.detail}{more}"
