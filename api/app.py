"""The application: routes, middleware and error handlers, put together."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio import to_thread
from fastapi import Depends, FastAPI
from pydantic import BaseModel

from api import errors, log_lines, memory, openapi
from api.admission import admitted
from api.dependencies import Door
from api.exposure import asks_for_keys, refusal_to_start, trusted_hosts
from api.metrics import Metrics
from api.middleware import Threshold
from api.routes import (
    admin,
    api_keys,
    artifacts,
    attempts,
    audit,
    catalog,
    comparisons,
    datasets,
    diagnostics,
    estimates,
    events,
    job_actions,
    jobs,
    limits,
    pages,
    probes,
    series,
    sign_in,
    usage,
    verdicts,
    verifications,
    webhooks,
)
from api.watcher import EventWatcher
from specs.api_keys import ApiKeyRequest
from specs.comparisons import ComparisonSpec
from specs.job import JobSpec
from specs.json_patch import Patch
from specs.probes import ProbeRequest
from specs.recipes import RecipeRequest
from specs.verifications import VerificationRequest
from specs.version import VERSION
from specs.webhooks import WebhookSpec
from store.database import connect
from store.queue import Bell
from store.settings import Settings
from store.settings import settings as settings_of_this_process

DESCRIPTION = "Training as a service for every learning rule: post a job, read results, diagnostics and the bill."
NOUNS = (
    jobs,
    job_actions,
    attempts,
    events,
    series,
    diagnostics,
    verdicts,
    probes,
    verifications,
    artifacts,
    comparisons,
    estimates,
    datasets,
    catalog,
    webhooks,
    usage,
    limits,
    admin,
    api_keys,
    audit,
    pages,
    sign_in,
)
BODIES: dict[str, type[BaseModel]] = {
    "JobSpec": JobSpec,
    "RecipeRequest": RecipeRequest,
    "ComparisonSpec": ComparisonSpec,
    "JobChanges": jobs.JobChanges,
    "Patch": Patch,
    "ApplyRequest": verdicts.ApplyRequest,
    "ProbeRequest": ProbeRequest,
    "VerificationRequest": VerificationRequest,
    "WebhookSpec": WebhookSpec,
    "ApiKeyRequest": ApiKeyRequest,
}


HANDLERS = 10
"""Requests that are worked on at a time; the others wait in line."""


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application by these settings, or by the environment's."""
    settings = settings or settings_of_this_process()
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        memory.share_one_arena()
        # More threads than pooled connections would only wait for each other, and each costs memory.
        to_thread.current_default_thread_limiter().total_tokens = HANDLERS
        database = connect(settings.resolved_database_url)
        bell = Bell(settings)
        watcher = EventWatcher(database, poll_s=settings.event_poll_s)
        watcher.start()
        app.state.door = Door(settings, database, bell, watcher, metrics)
        giving_back = asyncio.create_task(memory.give_back_now_and_then())
        yield
        giving_back.cancel()
        await watcher.stop()
        bell.close()
        database.dispose()

    app = FastAPI(
        title="Afterprop",
        version=VERSION,
        description=DESCRIPTION,
        lifespan=lifespan,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        dependencies=[Depends(admitted)],
    )
    for noun in NOUNS:
        app.include_router(noun.router)
    errors.install(app)
    openapi.install(app, BODIES, guarded=asks_for_keys(settings))
    app.add_middleware(Threshold, hosts=trusted_hosts(settings), settings=settings, metrics=metrics)
    return app


log_lines.configure()
_refusal = refusal_to_start(settings_of_this_process(), environment=os.environ)
if _refusal is not None:
    sys.exit(_refusal)
app = create_app()
