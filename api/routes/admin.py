"""The state of the service: live, ready, version, workers, queue, metrics."""

from importlib.metadata import version as installed
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse

from api import readiness
from api.answers import Page, StatusReason
from api.dependencies import CallerDep, DoorDep, known_parameters_only
from api.problems import declared
from api.rows import rfc3339
from store import workers
from store.tables import Worker

router = APIRouter(tags=["service"], dependencies=[Depends(known_parameters_only)])


class Live(BaseModel):
    """The process answers."""

    status: str


class Ready(BaseModel):
    """Whether the service can take jobs. Without its broker it can: workers also look by themselves."""

    status: str = Field(description="ready, degraded or unavailable")
    database: bool
    broker: bool


class WorkerAnswer(BaseModel):
    """A live worker."""

    id: str
    host: str
    pid: int
    classes: list[str]
    slots: int
    busy: int
    devices: list[dict[str, Any]]
    launcher: dict[str, Any] = Field(description="how trainers are started, and what hardens them")
    versions: dict[str, Any]
    started_at: str
    seen_at: str


class Waiting(BaseModel):
    """A queued job and its place."""

    job_id: str
    resource_class: str
    priority: int
    position: int
    jobs_ahead: int
    status_reason: StatusReason


class Queue(BaseModel):
    """What waits, and what runs."""

    counts: dict[str, dict[str, int]] = Field(description="everybody's jobs that have not ended, by class and status")
    data: list[Waiting]
    has_more: bool
    next_cursor: str | None


class Version(BaseModel):
    """What runs here, and how it is guarded."""

    version: str
    open: bool = Field(description="no keys are asked for")
    open_mode: str | None = Field(
        description="loopback, or loopback-published: ports published on 127.0.0.1 only; null where keys are asked for"
    )
    database: str
    workers: list[dict[str, Any]] | None = Field(
        description="launcher and versions of each live worker; null where keys are asked for: see /v1/workers"
    )


@router.get("/livez", operation_id="get_livez", response_model=Live, responses=declared())
async def get_livez() -> Live:
    """Whether the process answers: without waiting for a handler, of which all may be busy."""
    return Live(status="live")


@router.get(
    "/readyz",
    operation_id="get_readyz",
    response_model=Ready,
    responses={**declared(), 503: {"model": Ready, "description": "The database does not answer"}},
)
async def get_readyz(door: DoorDep) -> Any:
    """Whether jobs can be taken: needs the database; without the broker it is `degraded`."""
    database, broker = await readiness.answers(door.database, door.settings.broker_url)
    if not database:
        ready = Ready(status="unavailable", database=False, broker=broker)
        return JSONResponse(ready.model_dump(), status_code=503, headers={"Retry-After": "2"})
    return Ready(status="ready" if broker else "degraded", database=True, broker=broker)


@router.get("/version", operation_id="get_version", response_model=Version, responses=declared())
def get_version(door: DoorDep) -> Version:
    """What runs here, how trainers are started and what guards them. Anybody may ask."""
    guarded = door.asks_for_keys
    with door.database.reading() as session:
        living = workers.living(session, lease_s=door.settings.lease_s)
    return Version(
        version=installed("afterprop"),
        open=not guarded,
        open_mode=None if guarded else door.settings.open or "loopback",
        database=door.database.engine.dialect.name,
        workers=None
        if guarded
        else [{"id": row.id, "launcher": row.launcher, "versions": row.versions} for row in living],
    )


@router.get("/v1/workers", operation_id="list_workers", response_model=Page[WorkerAnswer], responses=declared())
def list_workers(door: DoorDep) -> Page[WorkerAnswer]:
    """The workers that were heard of within a lease."""
    with door.database.reading() as session:
        living = workers.living(session, lease_s=door.settings.lease_s)
    return Page[WorkerAnswer](data=[_worker(row) for row in living])


@router.get("/v1/queue", operation_id="get_queue", response_model=Queue, responses=declared())
def get_queue(door: DoorDep, caller: CallerDep, limit: Annotated[int, Query(ge=1, le=200)] = 50) -> Queue:
    """What waits: the next own jobs of each class, with their position among them and typed reason."""
    with door.database.reading() as session:
        counts = workers.queue_counts(session)
        places = workers.waiting(session, project=caller.project, limit=limit + 1, lease_s=door.settings.lease_s)
    shown = [
        Waiting(
            job_id=job.id,
            resource_class=job.resource_class,
            priority=job.priority,
            position=place.position,
            jobs_ahead=place.jobs_ahead,
            status_reason=StatusReason(code=place.code, message=place.message, since=rfc3339(job.reason_since)),
        )
        for job, place in places
    ]
    return Queue(counts=counts, data=shown[:limit], has_more=len(shown) > limit, next_cursor=None)


@router.get(
    "/metrics",
    operation_id="get_metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **declared()},
)
def get_metrics(door: DoorDep) -> Response:
    """Figures for Prometheus."""
    with door.database.reading() as session:
        counts = workers.queue_counts(session)
        living = workers.living(session, lease_s=door.settings.lease_s)
    exposed = door.metrics.text(
        jobs=counts,
        workers=len(living),
        rung=door.bell.counts.rung,
        dropped=door.bell.counts.dropped,
        streams=door.watcher.streams,
    )
    return Response(exposed, media_type="text/plain; version=0.0.4")


def _worker(row: Worker) -> WorkerAnswer:
    return WorkerAnswer(
        id=row.id,
        host=row.host,
        pid=row.pid,
        classes=row.classes,
        slots=row.slots,
        busy=row.busy,
        devices=row.devices,
        launcher=row.launcher,
        versions=row.versions,
        started_at=rfc3339(row.started_at),
        seen_at=rfc3339(row.seen_at),
    )
