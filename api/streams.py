"""Server-sent events: what a job lived through, then what happens next, up to its end."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from anyio import to_thread
from fastapi.responses import StreamingResponse
from fastapi.sse import format_sse_event

from api.dependencies import Door
from api.rows import rfc3339
from store import events, jobs, logs
from store.tables import Event, LogLine

MEDIA_TYPE = "text/event-stream"
HEARTBEAT = format_sse_event(comment="heartbeat")
PAGE = 500


def response(stream: AsyncIterator[bytes]) -> StreamingResponse:
    """The stream as an answer that no proxy keeps or holds back."""
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(stream, media_type=MEDIA_TYPE, headers=headers)


async def event_stream(door: Door, job_id: str, *, after: int) -> AsyncIterator[bytes]:
    """Events after a sequence number: those that stand, then those that come. ``end`` is the last."""
    yield HEARTBEAT
    while True:
        replayed, ended = await to_thread.run_sync(_events, door, job_id, after)
        for event in replayed:
            after = event.sequence
            yield _event_frame(event)
        if not replayed:
            break
    if ended:
        return
    async with door.watcher.subscribe(job_id, after=after) as subscription:
        while True:
            try:
                async with asyncio.timeout(door.settings.event_heartbeat_s):
                    event = await subscription.waiting.get()
            except TimeoutError:
                yield HEARTBEAT
                continue
            yield _event_frame(event)
            if event.type == "end":
                return


async def log_stream(door: Door, job_id: str, *, after: int) -> AsyncIterator[bytes]:
    """Lines after a sequence number, as they are written; then ``end`` with the job's status."""
    yield HEARTBEAT
    silent_s = 0.0
    while True:
        lines, status = await to_thread.run_sync(_lines, door, job_id, after)
        for line in lines:
            after, silent_s = line.sequence, 0.0
            yield _frame("log", after, log_fields(line))
        if lines:
            continue
        if status is not None:
            yield _frame("end", after, {"status": status})
            return
        await asyncio.sleep(door.settings.event_poll_s)
        silent_s += door.settings.event_poll_s
        if silent_s >= door.settings.event_heartbeat_s:
            silent_s = 0.0
            yield HEARTBEAT


def event_fields(event: Event) -> dict[str, Any]:
    """An event as one object: its own fields, and when it happened."""
    return {
        **event.detail,
        "event_id": event.id,
        "attempt": event.attempt,
        "created_at": rfc3339(event.created_at),
    }


def log_fields(line: LogLine) -> dict[str, Any]:
    """A line of the log."""
    return {
        "sequence": line.sequence,
        "attempt": line.attempt,
        "created_at": rfc3339(line.created_at),
        "message": line.message,
    }


def _events(door: Door, job_id: str, after: int) -> tuple[list[Event], bool]:
    """A page of events, and whether the job had ended when it was read; its last event stands by then."""
    with door.database.reading() as session:
        ended = jobs.get(session, job_id).phase == "terminal"
        return events.page(session, job_id, after=after, limit=PAGE), ended


def _lines(door: Door, job_id: str, after: int) -> tuple[list[LogLine], str | None]:
    """A page of lines, and the status of a job that had ended."""
    with door.database.reading() as session:
        job = jobs.get(session, job_id)
        return logs.page(session, job_id, after=after, limit=PAGE), job.status if job.phase == "terminal" else None


def _event_frame(event: Event) -> bytes:
    return _frame(event.type, event.sequence, event_fields(event))


def _frame(name: str, sequence: int, fields: dict[str, Any]) -> bytes:
    return format_sse_event(data_str=json.dumps(fields, allow_nan=False), event=name, id=str(sequence))
