"""Problems: every refusal of this service as ``application/problem+json`` (RFC 9457), from one table."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import Response
from pydantic import BaseModel, ConfigDict, Field

MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True)
class Kind:
    """One kind of problem: its HTTP status, its title and what a client can do about it."""

    status: int
    title: str
    advice: str


KINDS: Mapping[str, Kind] = {
    "malformed_json": Kind(400, "Malformed JSON", "Send UTF-8 JSON without NaN, duplicate names or lone surrogates."),
    "malformed_request": Kind(400, "Malformed request", "A header or the request line cannot be read; see `detail`."),
    "untrusted_host": Kind(
        400,
        "Untrusted host",
        "The service answers only to names that it knows: 127.0.0.1, localhost, and those of AFTERPROP_ALLOWED_HOSTS.",
    ),
    "bad_idempotency_key": Kind(400, "Bad Idempotency-Key", "A key is 1 to 255 printable ASCII characters."),
    "bad_last_event_id": Kind(400, "Bad Last-Event-ID", "Send the `id` of the last event that you have seen."),
    "sign_in": Kind(303, "Sign in", "Pages are shown to those who signed in with a key."),
    "unauthorized": Kind(401, "Key asked for", "Send `Authorization: Bearer` with a key that stands."),
    "forbidden": Kind(403, "Not allowed", "The key lacks the scope that `allowed` names."),
    "cross_site": Kind(403, "Sent from elsewhere", "A session of the pages acts only from the pages: use a key."),
    "not_found": Kind(404, "Not found", "There is no such resource, or no such route. The list is in /openapi.json."),
    "method_not_allowed": Kind(405, "Method not allowed", "The header `Allow` says which methods this path takes."),
    "not_acceptable": Kind(406, "Not acceptable", "Ask for one of the media types in `allowed`."),
    "illegal_transition": Kind(
        409, "The status does not allow this", "`allowed` lists the statuses from which it may be asked for."
    ),
    "not_replayable": Kind(
        409,
        "The job cannot be replayed",
        "`detail` says why; a job with `checkpoint_every_s` set low keeps a near one.",
    ),
    "belongs_to_comparison": Kind(
        409, "The job belongs to a comparison", "Its answer rests on this job: jobs of comparisons are kept."
    ),
    "dataset_in_use": Kind(409, "The data set is in use", "Wait for the jobs that need it to end, or cancel them."),
    "idempotency_key_in_flight": Kind(
        409, "Idempotency-Key in flight", "A request with this key is being answered; send it again in a moment."
    ),
    "too_many_webhooks": Kind(409, "Too many webhooks", "Delete one of the project's webhooks first."),
    "precondition_failed": Kind(412, "Precondition failed", "The job has changed: read it again, then repeat."),
    "body_too_large": Kind(413, "Body too large", "`/v1/limits` says how large a body may be."),
    "upload_timeout": Kind(408, "Upload timed out", "The file came too slowly: send it again."),
    "quota": Kind(413, "Over quota", "Delete what is not needed any more, or ask for more room."),
    "unsupported_media_type": Kind(415, "Unsupported media type", "Send one of the media types in `allowed`."),
    "range_not_satisfiable": Kind(
        416, "Range not satisfiable", "The header `Content-Range` says how long the file is."
    ),
    "invalid_request": Kind(422, "Invalid request", "`errors` names each field, what is wrong and what is allowed."),
    "idempotency_key_reused": Kind(
        422, "Idempotency-Key reused", "This key came with another body before: use a new key for a new request."
    ),
    "unfit_file": Kind(422, "The file cannot be used", "`errors` says what is wrong with it, and where."),
    "patch_failed": Kind(422, "The patch does not apply", "`errors` names the operation that failed."),
    "bad_cursor": Kind(422, "Bad cursor", "Use `next_cursor` of an earlier page as it stands."),
    "too_many_bad_keys": Kind(
        429, "Too many bad keys", "From this address came ten bad keys within a minute: wait for `Retry-After`."
    ),
    "disk_full": Kind(507, "Disk full", "The service has no room for this now; nothing was kept."),
    "internal_error": Kind(500, "Internal error", "This is a defect: report it with the request_id."),
    "no_worker": Kind(503, "No worker", "Start a worker of this class; `/v1/workers` lists those that live."),
    "estimate_not_ready": Kind(503, "Estimate not ready", "A worker is at it: ask again with the same body."),
    "estimate_failed": Kind(503, "Estimate failed", "`detail` says why; the job itself may still be posted."),
    "rate_limited": Kind(429, "Too many requests", "Wait for `Retry-After`; `/v1/usage` says what is left."),
    "quota_exceeded": Kind(429, "Quota exceeded", "`/v1/usage` says what the project takes, and what it may take."),
    "overloaded": Kind(
        503, "Overloaded", "More requests came than are worked on: wait for `Retry-After`, send it again."
    ),
    "database_unavailable": Kind(503, "Database unavailable", "Try again after the seconds in `Retry-After`."),
}


class ProblemItem(BaseModel):
    """One thing that is wrong: where, what, and what would be right."""

    pointer: str = Field(description="JSON pointer into the body, or `/query/<name>`, `/header/<name>`")
    code: str
    detail: str
    allowed: list[Any] | None = Field(default=None, description="what would have been accepted")


class Problem(BaseModel):
    """An RFC 9457 problem."""

    model_config = ConfigDict(json_schema_extra={"additionalProperties": True})

    type: str = Field(description="page that explains this kind of problem")
    title: str
    status: int
    detail: str
    instance: str
    code: str
    request_id: str
    errors: list[ProblemItem] = Field(default_factory=list)


def response(
    scope: Mapping[str, Any],
    code: str,
    detail: str | None = None,
    *,
    errors: Sequence[ProblemItem] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The problem of this kind as an answer to the request of ``scope``."""
    kind = KINDS[code]
    problem = Problem(
        type=f"/errors/{code}",
        title=kind.title,
        status=kind.status,
        detail=_short(detail or kind.advice),
        instance=_short(str(scope.get("path", ""))),
        code=code,
        request_id=scope.get("state", {}).get("request_id", ""),
        errors=list(errors)[:20],
    )
    body = json.dumps(problem.model_dump(mode="json"), ensure_ascii=True, allow_nan=False)
    return Response(body, status_code=kind.status, media_type=MEDIA_TYPE, headers=dict(headers or {}))


def declared(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The answers of an operation that are problems, for its OpenAPI entry."""
    reference = {"$ref": "#/components/schemas/Problem"}
    return {
        status: {
            "description": "; ".join(kind.title for kind in KINDS.values() if kind.status == status),
            "content": {MEDIA_TYPE: {"schema": reference}},
        }
        for status in sorted({400, 404, 413, 422, 503, *statuses})
    }


def _short(text: str, limit: int = 400) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
