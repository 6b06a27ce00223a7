"""Comparisons: post, list, read, cancel."""

import json
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Response
from fastapi.responses import StreamingResponse
from sqlalchemy.orm import Session

from api.answers import Page
from api.bodies import JsonBody, Posted
from api.comparison_answers import ComparisonAnswer, ComparisonSummary, as_csv, comparison_answer, summary
from api.comparison_bundle import bundle
from api.conditional import etag_of, tagged
from api.creation import create_once
from api.dashboard.comparison_view import exported
from api.dependencies import CallerDep, DoorDep, IdempotencyKeyDep, id_in_path, known_parameters_only
from api.negotiation import chosen
from api.noting import note
from api.openapi import body
from api.problems import declared
from api.quotas import check_new_job
from api.rows import dataset_name, resource_class
from api.submission import require_dataset, with_device
from specs.comparison_plan import plan
from specs.comparisons import ComparisonSpec
from store import comparison_runs, comparisons, listing
from store.comparison_tables import Comparison

router = APIRouter(prefix="/v1/comparisons", tags=["comparisons"], dependencies=[Depends(known_parameters_only)])

CSV = "text/csv"
HTML = "text/html"
ZIP = "application/zip"
FORMS = ("application/json", CSV)


ComparisonIdDep = Annotated[str, Depends(id_in_path("comparison_id", "cmp", "comparison"))]


@router.post(
    "",
    operation_id="create_comparison",
    status_code=202,
    response_model=ComparisonAnswer,
    responses={200: {"model": ComparisonAnswer, "description": "Replayed"}, **declared(409, 415)},
    openapi_extra=body("ComparisonSpec"),
)
def create_comparison(
    door: DoorDep,
    caller: CallerDep,
    key: IdempotencyKeyDep,
    posted: Annotated[Posted[ComparisonSpec], Depends(JsonBody(ComparisonSpec))],
) -> Any:
    """Compares learners on one network and data set at an equal budget, with controls, tuning and paired statistics.

    The answer states the power before anything runs: how often a gap of two deviations would be found.
    """

    check_new_job(door, caller)

    def make(session: Session) -> Comparison:
        resolved = with_device(session, posted.value.resolved(), door)
        require_dataset(session, resolved, caller.project)
        return comparisons.create(
            session,
            spec=posted.fields,
            resolved_spec=resolved,
            plan=plan(ComparisonSpec.model_validate_json(json.dumps(resolved))),
            resource_class=resource_class(resolved),
            dataset=dataset_name(resolved),
            project=caller.project,
        )

    return create_once(
        door,
        project=caller.project,
        at=router.prefix,
        key=key,
        request_sha256=posted.sha256,
        make=make,
        read=lambda session, comparison_id: whole(
            session, comparisons.get(session, comparison_id, project=caller.project)
        ),
    )


@router.get("", operation_id="list_comparisons", response_model=Page[ComparisonSummary], responses=declared())
def list_comparisons(
    door: DoorDep,
    caller: CallerDep,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    after: Annotated[
        str | None,
        Query(
            description="`next_cursor` of the page before",
            json_schema_extra={"pattern": f"^{listing.CURSOR}$"},
            max_length=48,
        ),
    ] = None,
) -> Any:
    """Comparisons, newest first."""
    with door.database.reading() as session:
        found, cursor = comparisons.page(session, project=caller.project, limit=limit, after=after)
        counts = comparison_runs.counts(session, [row.id for row in found])
        page = Page[ComparisonSummary](
            data=[ComparisonSummary.model_validate(summary(row, counts.get(row.id, {}))) for row in found],
            has_more=cursor is not None,
            next_cursor=cursor,
        )
    return Response(page.model_dump_json(), media_type="application/json")


@router.get(
    "/{comparison_id}",
    operation_id="get_comparison",
    response_model=ComparisonAnswer,
    responses={200: {"content": {CSV: {"schema": {"type": "string"}}}}, **declared(406), 304: {}},
)
def get_comparison(
    door: DoorDep,
    caller: CallerDep,
    comparison_id: ComparisonIdDep,
    if_none_match: Annotated[str | None, Header()] = None,
    accept: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> Any:
    """The comparison with each of its jobs and the answer; the jobs alone as CSV by `Accept: text/csv`."""
    form = chosen(accept, FORMS)
    with door.database.reading() as session:
        row = comparisons.get(session, comparison_id, project=caller.project)
        if form == CSV:
            return Response(as_csv(comparisons.rows(session, comparison_id)), media_type=CSV)
        answer = whole(session, row)
    return tagged(answer, if_none_match)


@router.get(
    "/{comparison_id}/bundle",
    operation_id="get_comparison_bundle",
    response_class=Response,
    responses={
        200: {"content": {ZIP: {"schema": {"type": "string", "format": "binary"}}}, "description": "A zip archive"},
        **declared(),
    },
)
def get_comparison_bundle(door: DoorDep, caller: CallerDep, comparison_id: ComparisonIdDep) -> Response:
    """An archive to cite: specs, rows, receipts, protocol and answer."""
    with door.database.reading() as session:
        answer = whole(session, comparisons.get(session, comparison_id, project=caller.project))
        rows = comparisons.rows(session, comparison_id)
        receipts = comparison_runs.receipts(session, comparison_id)
    return _file(bundle(answer, rows, receipts), ZIP, f"{comparison_id}.zip")


@router.get(
    "/{comparison_id}/page",
    operation_id="get_comparison_page",
    response_class=StreamingResponse,
    responses={200: {"content": {HTML: {"schema": {"type": "string"}}}, "description": "A page"}, **declared()},
)
def get_comparison_page(door: DoorDep, caller: CallerDep, comparison_id: ComparisonIdDep) -> Response:
    """The comparison as one HTML file with tables and charts, which needs neither this service nor a network."""
    with door.database.reading() as session:
        answer = whole(session, comparisons.get(session, comparison_id, project=caller.project))
    headers = {"Content-Disposition": f'attachment; filename="{comparison_id}.html"'}
    return StreamingResponse(exported(answer), media_type=HTML, headers=headers)


@router.post(
    "/{comparison_id}/cancel",
    operation_id="cancel_comparison",
    status_code=202,
    response_model=ComparisonAnswer,
    responses={200: {"model": ComparisonAnswer, "description": "Asked for before"}, **declared(409)},
)
def cancel_comparison(door: DoorDep, caller: CallerDep, comparison_id: ComparisonIdDep) -> Response:
    """Ends the comparison and all its jobs."""
    with door.database.writing.begin() as session:
        comparisons.get(session, comparison_id, project=caller.project)
        row, changed = comparisons.cancel(session, comparison_id)
        if changed:
            note(session, caller, "comparison.cancel", comparison_id)
        answer = whole(session, row)
    return Response(answer.model_dump_json(), status_code=202 if changed else 200, media_type="application/json")


def whole(session: Session, row: Comparison) -> ComparisonAnswer:
    """The comparison as it is answered."""
    counts = comparison_runs.counts(session, [row.id]).get(row.id, {})
    return comparison_answer(row, comparisons.rows(session, row.id), counts)


def _file(content: bytes, media_type: str, name: str) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "ETag": etag_of(content)}
    return Response(content, media_type=media_type, headers=headers)
