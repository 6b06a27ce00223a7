"""What one project may take of a service that asks for keys, so that it leaves something to the others."""

import math
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from api.callers import Caller
from api.errors import Refused
from api.problems import ProblemItem
from store import usage

if TYPE_CHECKING:
    from api.dependencies import Door

QUEUE_MOVES_IN_S = 30
STREAM_ENDS_IN_S = 5


@dataclass(frozen=True)
class OpenStreams:
    """The event streams of this process, by project."""

    count: Counter[str] = field(default_factory=Counter)

    async def counted(self, project: str, stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The stream, counted from its first piece to its end, however it ends."""
        self.count[project] += 1
        try:
            async for piece in stream:
                yield piece
        finally:
            self.count[project] -= 1


def check_new_job(door: "Door", caller: Caller) -> None:
    """Refused with 429 where the project has made, or has waiting, as many jobs as it may.

    It is read before the transaction that makes the job, so a flood of refusals keeps nobody from writing. Requests
    at the same instant may pass together, ten at most.
    """
    quotas = door.settings.quotas
    if not door.asks_for_keys:
        return
    with door.database.reading() as session:
        most = quotas.jobs_per_minute
        if most is not None and usage.made_lately(session, caller.project, up_to=most) >= most:
            wait_s = usage.free_again_in_s(session, caller.project, most=most)
            raise _refused("rate_limited", "jobs_per_minute", f"at most {most} jobs a minute", most, wait_s)
        most = quotas.queued_jobs
        if most is not None and usage.waiting(session, caller.project, up_to=most) >= most:
            raise _refused("quota_exceeded", "queued_jobs", f"at most {most} jobs wait", most, QUEUE_MOVES_IN_S)


def check_new_stream(door: "Door", caller: Caller) -> None:
    """Refused with 429 where the project follows as many streams as it may."""
    most = door.settings.quotas.streams
    if door.asks_for_keys and most is not None and door.open_streams.count[caller.project] >= most:
        raise _refused("quota_exceeded", "streams", f"at most {most} streams are open", most, STREAM_ENDS_IN_S)


def _refused(code: str, quota: str, sentence: str, most: int, wait_s: float) -> Refused:
    detail = f"Of one project {sentence}."
    item = ProblemItem(pointer="", code=quota, detail=detail, allowed=[most])
    return Refused(code, detail, errors=[item], headers={"Retry-After": str(max(1, math.ceil(wait_s)))})
