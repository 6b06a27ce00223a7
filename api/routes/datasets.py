"""Data sets: those that a job may name as they are, and files that are uploaded."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from pydantic import BaseModel, Field
from sqlalchemy.exc import IntegrityError
from starlette.concurrency import run_in_threadpool

from api import catalog
from api.answers import Page, Time
from api.callers import Caller
from api.catalog import DatasetEntry
from api.conditional import tagged
from api.dependencies import CallerDep, Door, DoorDep, known_parameters_only
from api.errors import Refused
from api.inspection import inspected
from api.meant import asked
from api.noting import note
from api.problems import ProblemItem, declared
from api.rows import rfc3339
from api.uploads import ANY_TYPE, FORM_TYPE, Arrived, arrived
from specs.uploads import MEDIA_TYPES
from store import datasets
from store.dataset_tables import Dataset
from store.errors import NotFound
from store.identifiers import is_id, new_id
from store.uploaded_files import path_of, settle

router = APIRouter(prefix="/v1/datasets", tags=["datasets"], dependencies=[Depends(known_parameters_only)])


class Upload(BaseModel):
    """An uploaded data set. What only parsing would tell is null."""

    kind: str = "uploaded"
    origin: str = "uploaded"
    id: str
    name: str = Field(description="what the client called the file; a label, nothing else")
    format: str
    sha256: str
    size_bytes: int
    rows: int | None = None
    columns: list[str] | None = Field(default=None, description="at most 200 of them")
    input_shape: list[int] | None = None
    classes: int | None = None
    warnings: list[str] = Field(default_factory=list)
    created_at: Time
    example: dict[str, Any] = Field(description="the `dataset` section of a job")


AnyDataset = Upload | DatasetEntry
_FILE = {"schema": {"type": "string", "format": "binary"}}
_FORM = {"schema": {"type": "object", "properties": {"file": {"type": "string", "format": "binary"}}}}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {**dict.fromkeys((*MEDIA_TYPES, ANY_TYPE), _FILE), FORM_TYPE: _FORM},
    }
}


async def _arrived(
    request: Request,
    _caller: CallerDep,  # nobody's bytes are taken in before it is known who sends them
    name: Annotated[
        str | None,
        Query(max_length=255, description="what the file is called; its ending says what it is", examples=["a.csv"]),
    ] = None,
) -> AsyncIterator[Arrived]:
    async for file in arrived(request, name):
        yield file


@router.post(
    "",
    operation_id="upload_dataset",
    status_code=201,
    response_model=Upload,
    responses={200: {"model": Upload, "description": "These bytes were uploaded before"}, **declared(415, 507)},
    openapi_extra=_BODY,
)
async def upload_dataset(
    door: DoorDep, caller: CallerDep, file: Annotated[Arrived, Depends(_arrived, scope="function")]
) -> Any:
    """Takes a csv, npz, parquet or safetensors file, or a zip of an image folder.

    It is inspected before it is parsed; a job then names it as `{"kind": "uploaded", "id": ...}`.
    """
    return await run_in_threadpool(_kept, door, caller, file)


def _kept(door: Door, caller: Caller, file: Arrived) -> Response:
    with door.database.reading() as session:
        known = datasets.same(session, project=caller.project, sha256=file.sha256, kind=file.kind)
        stored = datasets.stored_bytes(session, project=caller.project)
    if known is not None:
        return _answer(known, status=200)
    if stored + file.size_bytes > door.settings.limits.project_upload_bytes:
        most = door.settings.limits.project_upload_bytes
        detail = f"The files of a project take {most} bytes at most; {stored} are taken."
        raise Refused("quota", detail)
    contents = inspected(file.path, file.kind)
    dataset_id = new_id("ds")
    target = path_of(door.settings.uploads_dir, dataset_id, file.kind)
    settle(file.path, target)
    try:
        with door.database.writing.begin() as session:
            row = datasets.add(
                session,
                dataset_id,
                project=caller.project,
                name=file.name[:255],
                kind=file.kind,
                sha256=file.sha256,
                size_bytes=file.size_bytes,
                contents=contents,
            )
            note(session, caller, "dataset.create", dataset_id)
    except IntegrityError:  # the same bytes were uploaded beside this request
        target.unlink(missing_ok=True)
        with door.database.reading() as session:
            known = datasets.same(session, project=caller.project, sha256=file.sha256, kind=file.kind)
        if known is None:
            raise
        return _answer(known, status=200)
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    return _answer(row, status=201)


@router.get("", operation_id="list_datasets", response_model=Page[AnyDataset], responses={**declared(), 304: {}})
def list_datasets(
    door: DoorDep,
    caller: CallerDep,
    limit: Annotated[int, Query(ge=1, le=200, description="of uploads")] = 50,
    after: Annotated[
        str | None, Query(pattern="^ds_[0-9a-f]{32}$", description="`next_cursor` of the page before")
    ] = None,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Any:
    """What a job may name: on the first page all that needs no upload, then uploads, newest first."""
    with door.database.reading() as session:
        found = datasets.page(session, project=caller.project, limit=limit + 1, after=after)
    named: list[AnyDataset] = [] if after else list(catalog.datasets(door.settings.data_dir))
    shown = [_upload(row) for row in found[:limit]]
    more = len(found) > limit
    page = Page[AnyDataset](data=[*named, *shown], has_more=more, next_cursor=shown[-1].id if more else None)
    return tagged(page, if_none_match)


@router.get(
    "/{kind_or_id}",
    operation_id="get_datasets",
    response_model=Upload | Page[DatasetEntry],
    responses={**declared(), 304: {}},
)
def get_datasets(
    door: DoorDep,
    caller: CallerDep,
    kind_or_id: Annotated[str, Path(max_length=200, description="`builtin`, `file` ..., or the id of an upload")],
    if_none_match: Annotated[str | None, Header()] = None,
) -> Any:
    """One upload, or the data sets of one kind (`builtin`, `synthetic`, `published`, `file`)."""
    if is_id(kind_or_id, "ds"):
        with door.database.reading() as session:
            return tagged(_upload(datasets.get(session, kind_or_id, project=caller.project)), if_none_match)
    found = [entry for entry in catalog.datasets(door.settings.data_dir) if entry.kind == kind_or_id]
    if not found and kind_or_id != "file":
        kinds = sorted({entry.kind for entry in catalog.datasets(None)} | {"file"})
        detail = f"there is no {kind_or_id[:80]!r} in this list{asked(kind_or_id, kinds)}"
        item = ProblemItem(pointer="/path/kind_or_id", code="not_found", detail=detail, allowed=kinds)
        raise Refused("not_found", detail, errors=[item])
    return tagged(Page[DatasetEntry](data=found), if_none_match)


@router.delete("/{dataset_id}", operation_id="delete_dataset", status_code=204, responses=declared(409))
def delete_dataset(
    door: DoorDep,
    caller: CallerDep,
    dataset_id: Annotated[str, Path(max_length=200, json_schema_extra={"pattern": "^ds_[0-9a-f]{32}$"})],
) -> Response:
    """Deletes an upload that no job needs any more."""
    if not is_id(dataset_id, "ds"):
        raise NotFound("There is no such data set.")
    with door.database.writing.begin() as session:
        row = datasets.get(session, dataset_id, project=caller.project)
        datasets.remove(session, row)
        note(session, caller, "dataset.delete", dataset_id)
    path_of(door.settings.uploads_dir, dataset_id, row.format).unlink(missing_ok=True)
    return Response(status_code=204)


def _answer(row: Dataset, *, status: int) -> Response:
    answer = _upload(row)
    headers = {"Location": f"/v1/datasets/{row.id}", "ETag": f'"{row.sha256}"'}
    return Response(answer.model_dump_json(), status_code=status, media_type="application/json", headers=headers)


def _upload(row: Dataset) -> Upload:
    return Upload(
        id=row.id,
        name=row.name,
        format=row.format,
        sha256=row.sha256,
        size_bytes=row.size_bytes,
        created_at=rfc3339(row.created_at),
        example={"kind": "uploaded", "id": row.id},
        **row.contents,
    )
