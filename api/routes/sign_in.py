"""How a person comes to the pages where keys are asked for: a key once, then a cookie for some hours."""

from typing import Annotated
from urllib.parse import parse_qs

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import RedirectResponse

from api.admission import COOKIE, bad_key, from_own_page, known_key
from api.bodies import read
from api.callers import Caller, with_lower
from api.dashboard.rendering import page
from api.dependencies import Door, DoorDep, known_parameters_only
from api.errors import Refused
from api.noting import note
from store import page_sessions

router = APIRouter(include_in_schema=False, dependencies=[Depends(known_parameters_only)])

FORM = "application/x-www-form-urlencoded"
HERE = "/"


@router.get("/login")
def sign_in_page(door: DoorDep, next: Annotated[str, Query(max_length=2000)] = HERE) -> Response:
    """The form."""
    return page("sign_in.html", door.settings, place="sign_in", next=own_address(next), wrong=False)


async def _form(request: Request) -> dict[str, str]:
    """The fields of the form, once each."""
    if not from_own_page(request):
        raise Refused("cross_site")
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        raise Refused("unsupported_media_type")
    text = (await read(request)).decode("utf-8", "replace")
    return {name: values[0] for name, values in parse_qs(text, max_num_fields=10, errors="replace").items()}


@router.post("/login")
def sign_in(request: Request, door: DoorDep, form: Annotated[dict[str, str], Depends(_form)]) -> Response:
    """Begins a session. The cookie is read by no script, and sent by no other site's page."""
    after = own_address(form.get("next", HERE))
    if not door.asks_for_keys:
        return RedirectResponse(after, status_code=303)
    found = known_key(door, form.get("key", "").strip())
    if found is None:
        refusal = bad_key(door, request)
        if refusal.code != "unauthorized":
            raise refusal
        return page("sign_in.html", door.settings, status=401, place="sign_in", next=after, wrong=True)
    with door.database.writing.begin() as session:
        text = page_sessions.begin(session, found.id)
        note(session, Caller(found.project, with_lower(found.scopes), found.id), "page_session.begin", found.id)
    answer = RedirectResponse(after, status_code=303, headers={"Cache-Control": "no-store"})
    answer.set_cookie(
        COOKIE,
        text,
        max_age=int(page_sessions.LASTS_S),
        httponly=True,
        samesite="strict",
        secure=_by_tls(request, door),
    )
    return answer


@router.post("/logout")
def sign_out(request: Request, door: DoorDep, _form: Annotated[dict[str, str], Depends(_form)]) -> Response:
    """Ends the session."""
    cookie = request.cookies.get(COOKIE)
    if cookie is not None:
        with door.database.writing.begin() as session:
            page_sessions.end(session, cookie)
    answer = RedirectResponse("/login", status_code=303)
    answer.delete_cookie(COOKIE, httponly=True, samesite="strict", secure=_by_tls(request, door))
    return answer


def own_address(wanted: str) -> str:
    """A path of this service: nobody is sent elsewhere by what a link says."""
    plain = wanted.startswith("/") and not wanted.startswith(("//", "/\\")) and wanted.isprintable()
    return wanted if plain and "\\" not in wanted else HERE


def _by_tls(request: Request, door: Door) -> bool:
    return door.settings.behind_tls or request.url.scheme == "https"
