"""Files that a job left: whole, in ranges, or not at all when the client has them."""

import stat
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi import Path as InPath
from fastapi.responses import FileResponse
from pydantic import BaseModel

from api.answers import Page, Time
from api.byte_range import NotSatisfiable, satisfied
from api.callers import Caller
from api.conditional import matches
from api.dependencies import CallerDep, Door, DoorDep, JobIdDep, known_parameters_only
from api.errors import Refused
from api.problems import declared
from api.rows import rfc3339
from store import artifacts, jobs
from store.errors import NotFound

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["results"], dependencies=[Depends(known_parameters_only)])

OCTETS = "application/octet-stream"
BYTES: dict[str, Any] = {"content": {OCTETS: {"schema": {"type": "string", "format": "binary"}}}}
FILE_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {**BYTES, "description": "The whole file"},
    206: {**BYTES, "description": "The range"},
    304: {"description": "The client has it"},
}
HEAD_ANSWERS: dict[int | str, dict[str, Any]] = {
    status: {"description": answer["description"]} for status, answer in FILE_ANSWERS.items()
}


class ArtifactAnswer(BaseModel):
    """A file that a job left."""

    name: str
    attempt: int
    bytes: int
    sha256: str
    media_type: str
    created_at: Time
    url: str


class CheckpointAnswer(BaseModel):
    """The state of training at a step; a resumed job continues from the newest."""

    id: str
    attempt: int
    step: int
    bytes: int
    sha256: str
    created_at: Time


@router.get("/artifacts", operation_id="list_artifacts", response_model=Page[ArtifactAnswer], responses=declared())
def list_artifacts(door: DoorDep, caller: CallerDep, job_id: JobIdDep) -> Page[ArtifactAnswer]:
    """The files of the job, by name."""
    with door.database.reading() as session:
        jobs.get(session, job_id, project=caller.project)
        rows = artifacts.of_job(session, job_id)
    return Page[ArtifactAnswer](
        data=[
            ArtifactAnswer(
                name=row.name,
                attempt=row.attempt,
                bytes=row.size_bytes,
                sha256=row.sha256,
                media_type=row.media_type,
                created_at=rfc3339(row.created_at),
                url=f"/v1/jobs/{job_id}/artifacts/{row.name}",
            )
            for row in rows
        ]
    )


@router.get(
    "/checkpoints", operation_id="list_checkpoints", response_model=Page[CheckpointAnswer], responses=declared()
)
def list_checkpoints(door: DoorDep, caller: CallerDep, job_id: JobIdDep) -> Page[CheckpointAnswer]:
    """The checkpoints that are kept, newest first."""
    with door.database.reading() as session:
        jobs.get(session, job_id, project=caller.project)
        rows = artifacts.checkpoints(session, job_id)
    return Page[CheckpointAnswer](
        data=[
            CheckpointAnswer(
                id=row.id,
                attempt=row.attempt,
                step=row.step,
                bytes=row.size_bytes,
                sha256=row.sha256,
                created_at=rfc3339(row.created_at),
            )
            for row in rows
        ]
    )


async def _conditions(
    _range: Annotated[str | None, Header(alias="Range", description="one range of bytes: `bytes=0-99`")] = None,
    _if_range: Annotated[str | None, Header(alias="If-Range")] = None,
    _if_none_match: Annotated[str | None, Header(alias="If-None-Match")] = None,
) -> None:
    """The headers that ``_file`` reads from the request, for the documentation."""


Name = Annotated[str, InPath(description="as the list names it", max_length=200)]


@router.get(
    "/artifacts/{name}",
    operation_id="get_artifact",
    response_class=Response,
    responses=FILE_ANSWERS | declared(416),
    dependencies=[Depends(_conditions)],
)
def get_artifact(request: Request, door: DoorDep, caller: CallerDep, job_id: JobIdDep, name: Name) -> Response:
    """The file. The ETag is its sha256."""
    return _file(request, door, caller, job_id, name)


@router.head(
    "/artifacts/{name}",
    operation_id="head_artifact",
    response_class=Response,
    responses=HEAD_ANSWERS | declared(416),
    dependencies=[Depends(_conditions)],
)
def head_artifact(request: Request, door: DoorDep, caller: CallerDep, job_id: JobIdDep, name: Name) -> Response:
    """The file's headers."""
    return _file(request, door, caller, job_id, name)


def _file(request: Request, door: Door, caller: Caller, job_id: str, name: str) -> Response:
    if "\0" in name:
        raise NotFound("There is no such artifact.")
    with door.database.reading() as session:
        jobs.get(session, job_id, project=caller.project)
        row = artifacts.get(session, job_id, name)
    path = _standing(Path(row.path), door.settings.artifacts_dir)
    tag = f'"{row.sha256}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache", "Accept-Ranges": "bytes"}
    if matches(request.headers.get("if-none-match"), tag, weakly=True):
        return Response(status_code=304, headers=headers)
    try:
        part = satisfied(request.headers.get("range"), row.size_bytes)
    except NotSatisfiable:
        raise Refused("range_not_satisfiable", headers={"Content-Range": f"bytes */{row.size_bytes}"}) from None
    if part is None or request.headers.get("if-range", tag) != tag:
        # The response class reads the headers again: it must not see a range that was not granted.
        _forget(request, b"range")
    return FileResponse(path, media_type=OCTETS, filename=name, headers=headers, stat_result=path.stat())


def _standing(path: Path, inside: Path) -> Path:
    """The file, if it is a plain file below the artifacts: no link leads out."""
    real = path.resolve()
    if not real.is_relative_to(inside.resolve()) or not real.exists() or not stat.S_ISREG(real.stat().st_mode):
        raise NotFound("The file is gone.")
    return real


def _forget(request: Request, name: bytes) -> None:
    request.scope["headers"] = [pair for pair in request.scope["headers"] if pair[0] != name]
