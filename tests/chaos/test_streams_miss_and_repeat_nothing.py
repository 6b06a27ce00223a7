"""T25: a client of the event stream is cut off again and again, and continues with ``Last-Event-ID``."""

import random
import threading
from collections.abc import Callable, Iterator

import httpx2
import pytest

from store import events
from tests.chaos.api_process import ApiProcess
from tests.chaos.scale import Scale
from tests.job_life.floor import Floor, digits_job

EVENTS_A_CONNECTION = 4


def identifiers(lines: Iterator[str]) -> Iterator[int]:
    """Of the events of a stream."""
    for line in lines:
        if line.startswith("id:"):
            yield int(line.removeprefix("id:"))


@pytest.mark.chaos("T25")
def test_stream_that_is_cut_off_again_and_again_misses_and_repeats_nothing(
    floor: Floor, api: ApiProcess, rng: random.Random, scale: Scale, measured: Callable[..., None]
) -> None:
    job_id = floor.post(digits_job())
    cuts, over = scale.of(1000), threading.Event()
    written = [1]

    def go_on_writing() -> None:
        while not over.wait(rng.uniform(0, 0.01)):
            with floor.database.writing.begin() as session:
                several = [("progress", {"step": written[-1]})] * rng.randint(1, 3)
                written.append(events.append_all(session, job_id, several))

    writer = threading.Thread(target=go_on_writing)
    writer.start()
    seen: list[int] = []
    try:
        with httpx2.Client(base_url=api.url, timeout=30) as client:
            for _ in range(cuts):
                seen += read_some(client, job_id, seen[-1] if seen else None, rng.randint(1, EVENTS_A_CONNECTION))
    finally:
        over.set()
        writer.join()
    floor.cancel(job_id)
    with httpx2.Client(base_url=api.url, timeout=30) as client:
        seen += read_some(client, job_id, seen[-1], None)
    last = floor.job(job_id).event_sequence
    repeated, missed = len(seen) - len(set(seen)), set(range(1, last + 1)) - set(seen)
    measured(f"{cuts} cuts, {last} events", missed=len(missed), repeated=repeated)
    assert seen == list(range(1, last + 1))


def read_some(client: httpx2.Client, job_id: str, last: int | None, count: int | None) -> list[int]:
    """So many events after the last one, or all up to the end; then the client is gone."""
    headers = {"Accept": "text/event-stream"} | ({} if last is None else {"Last-Event-ID": str(last)})
    with client.stream("GET", f"/v1/jobs/{job_id}/events", headers=headers) as answer:
        assert answer.status_code == 200
        found: list[int] = []
        for identifier in identifiers(answer.iter_lines()):
            found.append(identifier)
            if len(found) == count:
                break
        return found
