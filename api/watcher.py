"""One poller per API process: it reads the news of all watched jobs in one query and hands them out."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import structlog
from anyio import to_thread
from sqlalchemy.exc import SQLAlchemyError

from store import events
from store.database import Database
from store.tables import Event

_log = structlog.get_logger(__name__)


@dataclass(eq=False)
class Subscription:
    """What one open stream waits for: events of a job after ``seen``."""

    job_id: str
    seen: int
    waiting: asyncio.Queue[Event] = field(default_factory=asyncio.Queue)


class EventWatcher:
    """Fans out new events. Where it stands is in its subscriptions: a slow one never holds up another."""

    def __init__(self, database: Database, *, poll_s: float) -> None:
        self._database = database
        self._poll_s = poll_s
        self._subscriptions: set[Subscription] = set()
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def streams(self) -> int:
        """How many streams are open."""
        return len(self._subscriptions)

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="event-watcher")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    @asynccontextmanager
    async def subscribe(self, job_id: str, *, after: int) -> AsyncIterator[Subscription]:
        """Events of the job after this sequence number, as they come."""
        subscription = Subscription(job_id, after)
        self._subscriptions.add(subscription)
        self._wanted.set()
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)

    async def _run(self) -> None:
        while True:
            if not self._subscriptions:
                self._wanted.clear()
                await self._wanted.wait()
            try:
                self._hand_out(await to_thread.run_sync(self._read, self._watched()))
            except SQLAlchemyError as error:  # the database is away: the streams stay open and miss nothing
                _log.warning("events_not_read", error=type(error).__name__)
            await asyncio.sleep(self._poll_s)

    def _watched(self) -> dict[str, int]:
        """Each watched job with the least sequence number that one of its streams has seen."""
        watched: dict[str, int] = {}
        for subscription in self._subscriptions:
            seen = watched.get(subscription.job_id, subscription.seen)
            watched[subscription.job_id] = min(seen, subscription.seen)
        return watched

    def _read(self, watched: dict[str, int]) -> list[Event]:
        with self._database.reading() as session:
            return events.newer(session, watched)

    def _hand_out(self, news: list[Event]) -> None:
        by_job: dict[str, list[Event]] = {}
        for event in news:
            by_job.setdefault(event.job_id, []).append(event)
        for subscription in self._subscriptions:
            for event in by_job.get(subscription.job_id, ()):
                if event.sequence > subscription.seen:
                    subscription.seen = event.sequence
                    subscription.waiting.put_nowait(event)
