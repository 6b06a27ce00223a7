"""Exceptions on their way out: one table from class to kind of problem, and the handlers that use it."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from fastapi import FastAPI, Request, Response
from fastapi.dependencies.utils import get_flat_params
from fastapi.exceptions import RequestValidationError
from pydantic import TypeAdapter
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.routing import Match

from api import problems
from api.problems import ProblemItem
from api.validation import parameter_items
from store.datasets import InUse
from store.errors import (
    BelongsToComparison,
    IdempotencyKeyInFlight,
    IdempotencyKeyReused,
    IllegalTransition,
    NotFound,
    StoreError,
    VersionMismatch,
)
from store.listing import BadCursor

RETRY_AFTER_S = 2
CURSOR_ADVICE = "next_cursor of an earlier page, or no `after` for the first page"
METHODS = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")


class Refused(Exception):
    """The door refused the request; ``code`` is a key of ``problems.KINDS``."""

    def __init__(
        self,
        code: str,
        detail: str | None = None,
        *,
        errors: Sequence[ProblemItem] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.errors = errors
        self.headers = headers


CODES: Mapping[type[Exception], str] = {
    NotFound: "not_found",
    IllegalTransition: "illegal_transition",
    BelongsToComparison: "belongs_to_comparison",
    VersionMismatch: "precondition_failed",
    IdempotencyKeyReused: "idempotency_key_reused",
    IdempotencyKeyInFlight: "idempotency_key_in_flight",
    BadCursor: "bad_cursor",
    InUse: "dataset_in_use",
}
"""What the store refuses -> the kind of problem."""

_HTTP_CODES = {400: "malformed_request", 404: "not_found", 405: "method_not_allowed", 413: "body_too_large"}


def install(app: FastAPI) -> None:
    """Every exception that may leave a handler becomes a problem. What is not listed is a defect."""
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(StoreError, _store_error)
    app.add_exception_handler(RequestValidationError, _invalid_parameters)
    app.add_exception_handler(HTTPException, _http_exception)
    for unavailable in (OperationalError, InterfaceError, PoolTimeout):
        app.add_exception_handler(unavailable, _database_unavailable)


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return problems.response(request.scope, error.code, error.detail, errors=error.errors, headers=error.headers)


def _store_error(request: Request, error: Exception) -> Response:
    code = CODES[type(error)]
    items = []
    if isinstance(error, IllegalTransition):
        items = [ProblemItem(pointer="/status", code=code, detail=f"is {error.status}", allowed=list(error.allowed))]
    elif isinstance(error, BadCursor):
        detail = "not a cursor that this list has given out"
        items = [ProblemItem(pointer="/query/after", code=code, detail=detail, allowed=[CURSOR_ADVICE])]
    headers = {"Retry-After": "1"} if isinstance(error, IdempotencyKeyInFlight) else None
    return problems.response(request.scope, code, str(error), errors=items, headers=headers)


def _invalid_parameters(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    items = parameter_items(error.errors(), _schemas(request.scope["route"]))
    return problems.response(request.scope, "invalid_request", items[0].detail if items else None, errors=items)


def _schemas(route: Any) -> dict[str, Mapping[str, Any]]:
    """The JSON Schemas of a route's parameters, by pointer."""
    found: dict[str, Mapping[str, Any]] = {}
    for field in get_flat_params(route.dependant):
        info: Any = field.field_info
        kind: Any = Annotated[info.annotation, *info.metadata] if info.metadata else info.annotation
        found[f"/{info.in_.value}/{field.alias}"] = TypeAdapter(kind).json_schema()
    return found


def _http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = _HTTP_CODES.get(error.status_code, "malformed_request")
    headers: dict[str, str] = dict(error.headers or {})
    detail = None
    if code == "method_not_allowed":
        headers["Allow"] = ", ".join(allowed_methods(request.app, request.scope))
        detail = f"This path takes {headers['Allow']}."
    return problems.response(request.scope, code, detail, headers=headers)


def allowed_methods(app: FastAPI, scope: Mapping[str, Any]) -> list[str]:
    """All methods that any route takes at this path; the router itself names those of the first route alone."""
    return [
        method
        for method in METHODS
        if any(route.matches({**scope, "method": method})[0] is Match.FULL for route in app.routes)
    ]


def _database_unavailable(request: Request, error: Exception) -> Response:
    if _says_disk_full(error):
        return problems.response(
            request.scope, "disk_full", "The database's disk has no space left: nothing was changed."
        )
    return problems.response(
        request.scope,
        "database_unavailable",
        "The database does not answer. Nothing was changed, or it was changed and cannot be told: "
        "repeat the request with the same Idempotency-Key.",
        headers={"Retry-After": str(RETRY_AFTER_S)},
    )


def _says_disk_full(error: Exception) -> bool:
    """By the driver's own code: SQLite's name, PostgreSQL's SQLSTATE."""
    original = getattr(error, "orig", None)
    return (
        getattr(original, "sqlite_errorname", None) in ("SQLITE_FULL", "SQLITE_IOERR_SHMSIZE", "SQLITE_IOERR_WRITE")
        or getattr(original, "sqlstate", None) == "53100"
    )
