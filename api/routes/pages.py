"""Pages: the list of jobs, a job, the API's documentation, what an error means; and the files they load.

The application includes ``router``; nothing else is to be mounted.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.responses import StreamingResponse

from api.comparison_answers import ComparisonSummary, summary
from api.conditional import matches
from api.dashboard import comparison_view, static_files
from api.dashboard.job_view import job_view
from api.dashboard.list_view import EVERY, list_view
from api.dashboard.rendering import message, page
from api.dependencies import CallerDep, DoorDep, known_parameters_only
from api.filters import STATUSES
from api.problems import KINDS
from api.routes.comparisons import whole
from store import comparison_runs, comparisons
from store.errors import NotFound
from store.identifiers import is_id
from store.listing import OWN, BadCursor

router = APIRouter(include_in_schema=False, dependencies=[Depends(known_parameters_only)])

Text = Annotated[str, Query(max_length=200)]


@router.get("/")
def jobs_page(
    request: Request,
    door: DoorDep,
    caller: CallerDep,
    status: Text = "",
    learner: Text = "",
    network: Text = "",
    dataset: Text = "",
    comparison: Text = "",
    after: Annotated[str | None, Query(max_length=400)] = None,
) -> Response:
    """The list of jobs."""
    given = {"status": status, "learner": learner, "network": network, "dataset": dataset, "comparison": comparison}
    wanted = {name: value for name, value in given.items() if value}
    if not set(status.split(",") if status else ()) <= set(STATUSES):
        return message(door.settings, status=422, code="422", title="No such status", detail=", ".join(STATUSES))
    if comparison not in ("", EVERY, OWN) and not is_id(comparison, "cmp"):
        detail = "A comparison is named by its id."
        return message(door.settings, status=422, code="422", title="No such comparison", detail=detail)
    try:
        with door.database.reading() as session:
            content = list_view(session, door, caller, wanted, cursor=after, base_url=str(request.base_url))
    except BadCursor:
        detail = "The address is not one that this list has given out."
        return message(door.settings, status=422, code="422", title="No such page of jobs", detail=detail)
    return page("job_list.html", door.settings, **content)


@router.get("/jobs/{job_id}")
def job_page(door: DoorDep, caller: CallerDep, job_id: str) -> Response:
    """A job."""
    try:
        if not is_id(job_id, "job"):
            raise NotFound
        with door.database.reading() as session:
            content = job_view(session, job_id, door, caller)
    except NotFound:
        detail = "Its address may be incomplete, or it was deleted."
        return message(door.settings, status=404, code="404", title="There is no such job", detail=detail)
    return page("job.html", door.settings, **content)


@router.get("/comparisons")
def comparisons_page(
    request: Request, door: DoorDep, caller: CallerDep, after: Annotated[str | None, Query(max_length=400)] = None
) -> Response:
    """The list of comparisons."""
    try:
        with door.database.reading() as session:
            found, older = comparisons.page(session, project=caller.project, limit=50, after=after)
            counts = comparison_runs.counts(session, [row.id for row in found])
            rows = [ComparisonSummary.model_validate(summary(row, counts.get(row.id, {}))) for row in found]
    except BadCursor:
        detail = "The address is not one that this list has given out."
        return message(door.settings, status=422, code="422", title="No such page of comparisons", detail=detail)
    command = comparison_view.command(str(request.base_url))
    shown: dict[str, Any] = {"rows": rows, "cursor": after, "older": older, "command": command}
    return page("comparison_list.html", door.settings, place="comparisons", **shown)


@router.get("/comparisons/{comparison_id}")
def comparison_page(door: DoorDep, caller: CallerDep, comparison_id: str) -> Response:
    """A comparison."""
    try:
        if not is_id(comparison_id, "cmp"):
            raise NotFound
        with door.database.reading() as session:
            answer = whole(session, comparisons.get(session, comparison_id, project=caller.project))
    except NotFound:
        detail = "Its address may be incomplete."
        return message(door.settings, status=404, code="404", title="There is no such comparison", detail=detail)
    return page("comparison.html", door.settings, place="comparisons", **comparison_view.content(answer))


@router.get("/docs")
def docs_page(door: DoorDep) -> Response:
    """The API's documentation, out of installed files."""
    return page("docs.html", door.settings, place="docs")


@router.get("/errors/{slug}")
def error_page(door: DoorDep, slug: str) -> Response:
    """What the `type` of a problem means."""
    kind = KINDS.get(slug)
    if kind is None:
        detail = "The `type` of a problem is the address of the page that explains it."
        return message(door.settings, status=404, code="404", title="There is no such kind of error", detail=detail)
    code = f"{kind.status} · {slug}"
    return message(door.settings, status=200, code=code, title=kind.title, detail=kind.advice)


@router.get("/static/{name}")
def static_file(
    door: DoorDep,
    name: str,
    if_none_match: Annotated[str | None, Header()] = None,
    accept_encoding: Annotated[str, Header()] = "",
) -> Response:
    """A file that a page loads."""
    found = static_files.find(name)
    if found is None:
        detail = "No page loads a file of this name."
        return message(door.settings, status=404, code="404", title="There is no such file", detail=detail)
    headers = {"ETag": found.etag, "Cache-Control": found.cache_control, "Vary": "Accept-Encoding"}
    if matches(if_none_match, found.etag, weakly=True):
        return Response(status_code=304, headers=headers)
    if "gzip" in accept_encoding:
        headers["Content-Encoding"] = "gzip"
        return Response(found.gzipped, media_type=found.media_type, headers=headers)
    return StreamingResponse(found.plain(), media_type=found.media_type, headers=headers)
