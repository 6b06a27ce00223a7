"""Measured series: which there are, and their points."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Response
from fastapi.responses import StreamingResponse

from api import parquet, series_export
from api.answers import Page
from api.dependencies import CallerDep, DoorDep, JobIdDep, known_parameters_only
from api.negotiation import chosen
from api.problems import declared
from api.series_query import Axis, CatalogAnswer, SeriesAnswer, Wanted, as_csv, catalog, check_names, query
from store import jobs
from store.sampling import Method
from store.series_blocks import Selection

router = APIRouter(prefix="/v1/jobs/{job_id}/series", tags=["results"], dependencies=[Depends(known_parameters_only)])

CSV = "text/csv"
FORMS = ("application/json", CSV)
FILES = {CSV: ("csv", series_export.as_csv), parquet.MEDIA_TYPE: ("parquet", series_export.as_parquet)}
LAST_STEP = 2**31 - 1

Names = Annotated[list[str] | None, Query(description="repeated, or separated by commas; all when absent")]
Step = Annotated[int | None, Query(ge=0, le=LAST_STEP)]


@router.get("", operation_id="list_series", response_model=Page[CatalogAnswer], responses=declared())
def list_series(door: DoorDep, caller: CallerDep, job_id: JobIdDep) -> Any:
    """Which series the job has: name, layer, unit, count, last, least and greatest value."""
    with door.database.reading() as session:
        jobs.get(session, job_id, project=caller.project)
        page = Page[CatalogAnswer](data=catalog(session, job_id))
    return Response(page.model_dump_json(), media_type="application/json")


async def _wanted(
    names: Names = None,
    layers: Names = None,
    parameters: Names = None,
    split: Names = None,
    from_step: Step = None,
    to_step: Step = None,
    max_points: Annotated[int, Query(ge=1, le=2000, description="of each series")] = 500,
    method: Annotated[
        Method, Query(description="how points are left out; a spike or a NaN survives minmax and lttb")
    ] = "minmax",
    x: Annotated[Axis, Query(description="the horizontal axis")] = "step",
) -> Wanted:
    return Wanted(
        names=_split(names),
        layers=_split(layers),
        parameters=_split(parameters),
        splits=_split(split),
        from_step=from_step,
        to_step=to_step,
        max_points=max_points,
        method=method,
        x=x,
    )


@router.get(
    "/query",
    operation_id="query_series",
    response_model=Page[SeriesAnswer],
    responses={200: {"content": {CSV: {"schema": {"type": "string"}}}}, **declared(406)},
)
def query_series(
    door: DoorDep,
    caller: CallerDep,
    job_id: JobIdDep,
    wanted: Annotated[Wanted, Depends(_wanted)],
    accept: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> Any:
    """Points of the wanted series; JSON, or CSV by `Accept: text/csv`."""
    form = chosen(accept, FORMS)
    with door.database.reading() as session:
        jobs.get(session, job_id, project=caller.project)
        answers = query(session, job_id, wanted)
    if form == CSV:
        return Response(as_csv(answers), media_type=CSV)
    page = Page[SeriesAnswer](data=answers)
    return Response(page.model_dump_json(), media_type="application/json")


async def _selection(
    names: Names = None,
    layers: Names = None,
    parameters: Names = None,
    split: Names = None,
    from_step: Step = None,
    to_step: Step = None,
) -> Selection:
    return Selection(_split(names), _split(layers), _split(parameters), _split(split), from_step, to_step)


@router.get(
    "/export",
    operation_id="export_series",
    response_class=Response,
    responses={
        200: {
            "description": "A row for each point: name, layer, parameter, split, unit, step, value",
            "content": {
                CSV: {"schema": {"type": "string"}},
                parquet.MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}},
            },
        },
        **declared(406),
    },
)
def export_series(
    door: DoorDep,
    caller: CallerDep,
    job_id: JobIdDep,
    wanted: Annotated[Selection, Depends(_selection)],
    accept: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> StreamingResponse:
    """Every point of the wanted series, nothing left out, as CSV; as Parquet by `Accept`."""
    form = chosen(accept, tuple(FILES))
    ending, written = FILES[form]
    with door.database.reading() as session:
        jobs.get(session, job_id, project=caller.project)
        check_names(session, job_id, wanted.names or ())
    headers = {"Content-Disposition": f'attachment; filename="{job_id}.{ending}"'}
    return StreamingResponse(written(door.database, job_id, wanted), media_type=form, headers=headers)


def _split(given: list[str] | None) -> list[str] | None:
    if given is None:
        return None
    return [name for part in given for name in part.split(",") if name]
