"""Events and lines: a page of JSON, or a stream that resumes where it broke and ends with ``end``."""

import itertools
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
from fastapi.testclient import TestClient

from store import attempts, events, jobs, logs
from store.database import Database
from store.settings import Settings
from tests.api import lived_job
from tests.api.conftest import migrated
from tests.api.serving import served

SSE = {"Accept": "text/event-stream"}


@dataclass(frozen=True)
class Frame:
    """One server-sent event."""

    event: str
    id: int
    data: dict[str, Any]


def frames(lines: Iterator[str]) -> Iterator[Frame]:
    """Reads a stream by the rules of the standard; comments are passed over."""
    fields: dict[str, str] = {}
    for line in lines:
        if line == "" and fields:
            yield Frame(fields["event"], int(fields["id"]), json.loads(fields["data"]))
            fields = {}
        elif line and not line.startswith(":"):
            name, _, value = line.partition(": ")
            fields[name] = value


def streamed(http: TestClient, path: str, **headers: str) -> list[Frame]:
    answer = http.get(path, headers={**SSE, **headers})
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    return list(frames(iter(answer.text.split("\n"))))


@pytest.fixture
def job(database: Database, settings: Settings) -> str:
    return lived_job.succeeded(database, settings)


def test_stream_of_an_ended_job_replays_everything_and_ends(http: TestClient, job: str) -> None:
    everything = streamed(http, f"/v1/jobs/{job}/events")
    assert [frame.id for frame in everything] == list(range(1, len(everything) + 1))
    assert (everything[-1].event, everything[-1].data["status"]) == ("end", "succeeded")
    assert {frame.event for frame in everything} == {"status", "progress", "evaluation", "end"}
    assert all(frame.data["event_id"].startswith("evt_") for frame in everything)


def test_stream_resumes_after_every_event(http: TestClient, job: str) -> None:
    everything = streamed(http, f"/v1/jobs/{job}/events")
    for seen in range(len(everything) + 1):
        rest = everything[seen:]
        assert streamed(http, f"/v1/jobs/{job}/events", **{"Last-Event-ID": str(seen)}) == rest
        assert streamed(http, f"/v1/jobs/{job}/events?after={seen}") == rest


@pytest.mark.parametrize("last", ["x", "-1", "1.5", "1" * 30, "", "١"])
def test_unreadable_last_event_id_is_refused(http: TestClient, job: str, last: str) -> None:
    for headers in (SSE, {}):
        refused = http.get(f"/v1/jobs/{job}/events", headers={**headers, "Last-Event-ID": last.encode()})  # type: ignore[dict-item]
        assert (refused.status_code, refused.json()["code"]) == (400, "bad_last_event_id")


def test_page_of_events_goes_on_where_it_ended(http: TestClient, job: str) -> None:
    whole = http.get(f"/v1/jobs/{job}/events").json()
    assert whole["has_more"] is False
    page = http.get(f"/v1/jobs/{job}/events", params={"limit": 2}).json()
    seen = page["data"]
    while page["has_more"]:
        page = http.get(f"/v1/jobs/{job}/events", params={"limit": 2, "after": page["next_cursor"]}).json()
        seen += page["data"]
    assert seen == whole["data"]
    assert seen[0]["type"] == "status" and seen[0]["data"] == {"status": "queued"}


def test_lines_are_read_as_a_page_and_as_a_stream(http: TestClient, job: str) -> None:
    page = http.get(f"/v1/jobs/{job}/logs").json()
    assert [line["message"] for line in page["data"]] == ["first line", "second line", "<script>alert(1)</script>"]
    *lines, end = streamed(http, f"/v1/jobs/{job}/logs")
    assert [frame.data for frame in lines] == page["data"]
    assert (end.event, end.data) == ("end", {"status": "succeeded"})
    assert [frame.event for frame in streamed(http, f"/v1/jobs/{job}/logs", **{"Last-Event-ID": "2"})] == ["log", "end"]


def test_no_other_form_is_served(http: TestClient, job: str) -> None:
    assert http.get(f"/v1/jobs/{job}/events", headers={"Accept": "image/png"}).status_code == 406
    assert http.get(f"/v1/jobs/{job}/logs", headers={"Accept": "text/html"}).status_code == 406


@pytest.fixture(scope="module")
def served_database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Database]]:
    folder = tmp_path_factory.mktemp("live")
    database = migrated(f"sqlite:///{folder / 'state' / 'afterprop.db'}")
    environment = {"AFTERPROP_EVENT_POLL_S": "0.05", "AFTERPROP_EVENT_HEARTBEAT_S": "0.3"}
    with served(folder / "state", folder / "api.log", **environment) as (url, _):
        yield url, database
    database.dispose()


class TestLive:
    """Streams of a job that still runs, over a real connection."""

    @pytest.fixture
    def url(self, served_database: tuple[str, Database]) -> str:
        return served_database[0]

    @pytest.fixture
    def database(self, served_database: tuple[str, Database]) -> Database:
        return served_database[1]

    @pytest.fixture
    def lived(self, database: Database) -> lived_job.LivedJob:
        return lived_job.running(database)

    def write(self, database: Database, job_id: str, step: int) -> None:
        with database.writing.begin() as session:
            events.append(session, job_id, type="progress", detail={"step": step}, attempt=1)

    def end(self, database: Database, lived: lived_job.LivedJob) -> None:
        error = {"kind": "diverged", "fault": "user", "message": "NaN", "step": 1}
        with database.writing.begin() as session:
            assert attempts.fail(session, lived.job_id, 1, error=error)

    def test_event_arrives_soon_after_it_is_written(
        self, url: str, database: Database, lived: lived_job.LivedJob
    ) -> None:
        with httpx2.Client(timeout=20) as http:
            path = f"{url}/v1/jobs/{lived.job_id}/events"
            with http.stream("GET", path, headers={**SSE, "Last-Event-ID": "3"}) as stream:
                arriving = frames(stream.iter_lines())
                assert [frame.event for frame in itertools.islice(arriving, 2)] == ["progress", "evaluation"]
                for step in (2100, 2200):
                    written = time.monotonic()
                    self.write(database, lived.job_id, step)
                    frame = next(arriving)
                    assert (frame.event, frame.data["step"]) == ("progress", step)
                    assert time.monotonic() - written < 5
                self.end(database, lived)
                assert [frame.event for frame in arriving] == ["status", "end"]

    def test_every_reader_of_a_torn_line_gets_each_event_once(
        self, url: str, database: Database, lived: lived_job.LivedJob
    ) -> None:
        path, seen = f"{url}/v1/jobs/{lived.job_id}/events", []
        writer = threading.Thread(target=self._write_many, args=(database, lived))
        writer.start()
        with httpx2.Client(timeout=20) as http:
            ended, last = False, 0
            while not ended:
                headers = {**SSE, "Last-Event-ID": str(last)}
                with http.stream("GET", path, headers=headers) as stream:
                    for frame in itertools.islice(frames(stream.iter_lines()), 7):
                        seen.append(frame.id)
                        last, ended = frame.id, frame.event == "end"
        writer.join()
        assert seen == list(range(1, last + 1))
        assert len(seen) > 40

    def _write_many(self, database: Database, lived: lived_job.LivedJob) -> None:
        for step in range(40):
            self.write(database, lived.job_id, 3000 + step)
            time.sleep(0.01)
        self.end(database, lived)

    def test_silent_stream_sends_heartbeats(self, url: str, lived: lived_job.LivedJob) -> None:
        for noun in ("events", "logs"):
            with httpx2.Client(timeout=20) as http:
                headers = {**SSE, "Last-Event-ID": "900"}
                with http.stream("GET", f"{url}/v1/jobs/{lived.job_id}/{noun}", headers=headers) as stream:
                    comments = [line for line in itertools.islice(stream.iter_lines(), 8) if line]
            assert comments == [": heartbeat"] * 4

    def test_lines_arrive_as_they_are_written_until_the_job_ends(
        self, url: str, database: Database, lived: lived_job.LivedJob
    ) -> None:
        with httpx2.Client(timeout=20) as http:
            path = f"{url}/v1/jobs/{lived.job_id}/logs"
            with http.stream("GET", path, headers={**SSE, "Last-Event-ID": "3"}) as stream:
                arriving = frames(stream.iter_lines())
                with database.writing.begin() as session:
                    logs.append(session, lived.job_id, 1, ["later\nline"])
                assert next(arriving).data["message"] == "later\nline"
                with database.writing.begin() as session:
                    jobs.cancel(session, lived.job_id)
                self.settle(database, lived)
                assert [frame.event for frame in arriving] == ["end"]

    def settle(self, database: Database, lived: lived_job.LivedJob) -> None:
        from store import settlement

        with database.writing.begin() as session:
            assert settlement.settle(session, lived.job_id, 1, charge=False, code="cancelled", message="Cancelled.")

    def test_many_streams_are_fed_by_one_poller(self, url: str, database: Database, lived: lived_job.LivedJob) -> None:
        path = f"{url}/v1/jobs/{lived.job_id}/events"
        headers = {**SSE, "Last-Event-ID": "5"}
        with httpx2.Client(timeout=20) as http:
            opened = [http.stream("GET", path, headers=headers) for _ in range(20)]
            streams = [stream.__enter__() for stream in opened]
            self.wait_for_streams(http, url, 20)
            self.write(database, lived.job_id, 2100)
            self.end(database, lived)
            for stream in streams:
                assert [frame.event for frame in frames(stream.iter_lines())] == ["progress", "status", "end"]
            for each in opened:
                each.__exit__(None, None, None)
            self.wait_for_streams(http, url, 0)

    def wait_for_streams(self, http: httpx2.Client, url: str, wanted: int) -> None:
        deadline = time.monotonic() + 10
        while f"afterprop_streams {float(wanted)}" not in http.get(f"{url}/metrics").text:
            assert time.monotonic() < deadline
            time.sleep(0.05)


@pytest.mark.parametrize("settings", ["postgresql"], indirect=True)
def test_stream_is_the_same_on_postgresql(http: TestClient, job: str) -> None:
    assert [frame.event for frame in streamed(http, f"/v1/jobs/{job}/events")][-1] == "end"
