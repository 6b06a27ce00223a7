"""Who is let in: every route asks here before anything else of a request is read."""

import time
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

import structlog
from anyio import to_thread
from fastapi import Request
from sqlalchemy.exc import SQLAlchemyError

from api.callers import EVERYBODY, Caller, with_lower
from api.errors import Refused
from api.problems import ProblemItem
from api.scopes import PAGES, READING, is_public, scope_of
from store import keys, page_sessions
from store.key_tables import ApiKey

if TYPE_CHECKING:
    from api.dependencies import Door

COOKIE = "afterprop_session"
CHALLENGE = {"WWW-Authenticate": 'Bearer realm="afterprop"'}
NOBODY = Caller("", frozenset(), None)
"""The caller of a public route, where keys are asked for elsewhere."""

_log = structlog.get_logger(__name__)


async def admitted(request: Request) -> Caller:
    """The caller, who has the scope that the route asks for. Refused otherwise: 401, 403 or 429."""
    door: Door = request.app.state.door
    if not door.asks_for_keys:
        return EVERYBODY
    path = request.scope["route"].path
    if is_public(request.method, path):
        return NOBODY
    key = await _key(door, request)
    caller = Caller(key.project, with_lower(key.scopes), key.id)
    require(caller, scope_of(request.method, path))
    return caller


def require(caller: Caller, scope: str | None) -> None:
    """Refused unless the caller has the scope. None is nobody's."""
    if scope is not None and scope in caller.scopes:
        return
    detail = f"This asks for a key with the scope {scope}." if scope else "No key may do this."
    item = ProblemItem(
        pointer="/header/Authorization", code="forbidden", detail=detail, allowed=[scope] if scope else []
    )
    raise Refused("forbidden", detail, errors=[item])


async def _key(door: "Door", request: Request) -> ApiKey:
    """The key that stands behind the request: of its header, or, where there is none, of its cookie's session."""
    header = request.headers.get("authorization")
    cookie = request.cookies.get(COOKIE)
    if header is not None:
        scheme, _, text = header.partition(" ")
        found = await to_thread.run_sync(known_key, door, text.strip() if scheme.lower() == "bearer" else "")
        return found or _refuse_bad_key(door, request)
    if cookie is not None:
        found = await to_thread.run_sync(_key_of_session, door, cookie)
        if found is not None:
            if request.method not in READING and not from_own_page(request):
                raise Refused("cross_site")
            return found
    raise _to_sign_in(request) if request.scope["route"].path in PAGES else unauthorized()


def known_key(door: "Door", text: str) -> ApiKey | None:
    """The key of this text, if it stands; that it was used is noted."""
    with door.database.reading() as session:
        found = keys.of_text(session, text)
    if found is not None and door.last_uses.is_due(found.id):
        try:
            with door.database.writing.begin() as session:
                keys.used(session, found.id)
        except SQLAlchemyError as error:  # whoever may read is not sent away because nothing can be written
            _log.warning("use_of_key_not_noted", key_id=found.id, error=type(error).__name__)
    return found


def _key_of_session(door: "Door", cookie: str) -> ApiKey | None:
    with door.database.reading() as session:
        return page_sessions.key_of(session, cookie)


def _refuse_bad_key(door: "Door", request: Request) -> ApiKey:
    raise bad_key(door, request)


def bad_key(door: "Door", request: Request) -> Refused:
    """The refusal of a key that is none: 401, or 429 for the eleventh within a minute."""
    wait_s = door.bad_keys.wait_s(request.client.host if request.client else None, now=time.monotonic())
    if wait_s is None:
        return unauthorized()
    return Refused("too_many_bad_keys", headers={"Retry-After": str(wait_s)})


def unauthorized() -> Refused:
    """The one answer to a key that is missing, malformed, unknown, expired or revoked."""
    return Refused("unauthorized", headers=CHALLENGE)


def _to_sign_in(request: Request) -> Refused:
    query = f"?{request.url.query}" if request.url.query else ""
    return Refused("sign_in", headers={"Location": f"/login?next={quote(request.url.path + query, safe='')}"})


def from_own_page(request: Request) -> bool:
    """Whether a browser says that a page of this service sent the request. Silence is no."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = urlsplit(request.headers.get("origin", ""))
    return bool(origin.netloc) and origin.netloc.lower() == request.headers.get("host", "").lower()
