"""Jobs: post them, watch them, read what they measured and left."""

import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, final
from urllib.parse import urlencode

import httpx2

from afterprop.answers import TERMINAL, Artifact, Event, Job, Page, SeriesPoints, Verdict
from afterprop.errors import StreamLost, Unreachable
from afterprop.transport import Transport, pause_before

# Within the class `list` is the verb of the service.
Rows = list[dict[str, Any]]
Points = list[SeriesPoints]
Artifacts = list[Artifact]
Verdicts = list[Verdict]

STREAM_RETRIES = 8
PAGE = 200
LOOK_S = 0.5


@final
class Jobs:
    """The jobs of one service."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(self, spec: Mapping[str, Any], *, idempotency_key: str | None = None) -> Job:
        """Post a job spec. A lost connection is retried with the same key, so it never makes two jobs."""
        headers = {"Idempotency-Key": idempotency_key or new_key()}
        job: Job = self._transport.json("POST", "/v1/jobs", body=dict(spec), headers=headers)
        return job

    def retrieve(self, job_id: str) -> Job:
        job: Job = self._transport.json("GET", path_of(job_id))
        return job

    def page(self, *, after: str | None = None, limit: int = PAGE, **filters: Any) -> Page[Job]:
        """One page, newest first. Filters: status, learner, network, dataset, name, comparison, created_after,
        ``label[k]``; ``comparison`` is an id, or none: jobs of their own."""
        query = {"limit": limit, "after": after, **filters}
        page: Page[Job] = self._transport.json("GET", "/v1/jobs", query=query)
        return page

    def list(self, **filters: Any) -> Iterator[Job]:
        """All jobs that the filters let through, newest first; pages are fetched as they are needed."""
        after = None
        while True:
            page = self.page(after=after, **filters)
            yield from page["data"]
            after = page["next_cursor"]
            if not page["has_more"] or after is None:
                return

    def update(self, job_id: str, **changes: Any) -> Job:
        """Change name, labels or priority."""
        job: Job = self._transport.json("PATCH", path_of(job_id), body=changes)
        return job

    def delete(self, job_id: str) -> None:
        """Remove a job that has ended, with everything it left."""
        self._transport.json("DELETE", path_of(job_id))

    def cancel(self, job_id: str) -> Job:
        return self._ask(job_id, "cancel")

    def pause(self, job_id: str) -> Job:
        return self._ask(job_id, "pause")

    def resume(self, job_id: str) -> Job:
        return self._ask(job_id, "resume")

    def retry(self, job_id: str, *, patch: Sequence[Mapping[str, Any]] | None = None) -> Job:
        """A new job with the same spec, or with the spec changed by a JSON Patch. The old one is untouched."""
        headers = {"Idempotency-Key": new_key()}
        body = None if patch is None else [dict(operation) for operation in patch]
        job: Job = self._transport.json("POST", f"{path_of(job_id)}/retry", body=body, headers=headers)
        return job

    def events(self, job_id: str, *, after: int | None = None) -> Iterator[Event]:
        """What happens to the job, up to its `end`. A lost line is resumed where it broke, with nothing twice."""
        failures = 0
        while True:
            try:
                with self._transport.events(f"{path_of(job_id)}/events", after=after) as source:
                    for event in source:
                        if not event.id.isdecimal():
                            continue
                        failures, after = 0, int(event.id)
                        content = event.json()
                        yield Event(after, event.event, content if isinstance(content, dict) else {})
                        if event.event == "end":
                            return
                reason: Exception = StreamLost(f"The event stream of {job_id} ended before the job did.")
            except httpx2.TransportError as error:
                reason = Unreachable(f"No answer from {self._transport.url}: {error}")
            failures += 1
            if failures > STREAM_RETRIES:
                raise reason
            time.sleep(pause_before(failures))

    def wait(self, job_id: str) -> Job:
        """The job when it has ended, however it ended."""
        for _ in self.events(job_id):
            pass
        job = self.retrieve(job_id)
        assert job["phase"] == TERMINAL, job
        return job

    def attempts(self, job_id: str) -> Rows:
        """One row per execution, oldest first."""
        return self._data(f"{path_of(job_id)}/attempts")

    def verdicts(self, job_id: str) -> Verdicts:
        """What is wrong with the job, root causes first."""
        answer: Page[Verdict] = self._transport.json("GET", f"{path_of(job_id)}/verdicts")
        return answer["data"]

    def apply(self, job_id: str, verdict_id: str, *, remedy: int = 0) -> Job:
        """A new job with this remedy of a verdict; the old one is untouched."""
        path = f"{path_of(job_id)}/verdicts/{verdict_id}/apply"
        headers = {"Idempotency-Key": new_key()}
        job: Job = self._transport.json("POST", path, body={"remedy": remedy}, headers=headers)
        return job

    def probe(self, job_id: str, spec: Mapping[str, Any]) -> dict[str, Any]:
        """Ask for a measurement of the job's weights, as ``{"kind": "sharpness"}``; the queued probe."""
        headers = {"Idempotency-Key": new_key()}
        probe: dict[str, Any] = self._transport.json("POST", f"{path_of(job_id)}/probes", body=spec, headers=headers)
        return probe

    def probes(self, job_id: str) -> Rows:
        """What was asked for and what was measured, newest first."""
        return self._data(f"{path_of(job_id)}/probes")

    def verify_resume(
        self, job_id: str, *, from_step: int | None = None, tolerance: float | None = None
    ) -> dict[str, Any]:
        """Ask for a replay of the job from a kept checkpoint; the queued verification."""
        asked = {"from_step": from_step, "tolerance": tolerance}
        body = {name: value for name, value in asked.items() if value is not None}
        headers = {"Idempotency-Key": new_key()}
        path = f"{path_of(job_id)}/verify-resume"
        made: dict[str, Any] = self._transport.json("POST", path, body=body, headers=headers)
        return made

    def wait_for_verification(self, job_id: str, verification_id: str) -> dict[str, Any]:
        """The verification when it is over: ``verdict`` bitwise, tolerance or different, or its ``error``."""
        while True:
            path = f"{path_of(job_id)}/verifications/{verification_id}"
            found: dict[str, Any] = self._transport.json("GET", path)
            if found["finished_at"] is not None:
                return found
            time.sleep(LOOK_S)

    def diagnostics(self, job_id: str) -> dict[str, Any]:
        """Per layer: norms, dead units, alignment with backprop; memory, energy, the cost of measuring."""
        summary: dict[str, Any] = self._transport.json("GET", f"{path_of(job_id)}/diagnostics")
        return summary

    def receipt(self, job_id: str) -> dict[str, Any]:
        """What is needed to run it again bit for bit, and what it weighed."""
        receipt: dict[str, Any] = self._transport.json("GET", f"{path_of(job_id)}/receipt")
        return receipt

    def logs(self, job_id: str) -> Rows:
        return self._data(f"{path_of(job_id)}/logs")

    def series_catalog(self, job_id: str) -> Rows:
        """Which series there are: name, layer, unit, count, last, min, max."""
        return self._data(f"{path_of(job_id)}/series")

    def series(self, job_id: str, *names: str, **query: Any) -> Points:
        """The points of these series. Query: layers, from_step, to_step, max_points, method, x."""
        asked = {**query, "names": ",".join(names) if names else None}
        answer: Page[SeriesPoints] = self._transport.json("GET", f"{path_of(job_id)}/series/query", query=asked)
        return answer["data"]

    def artifacts(self, job_id: str) -> Artifacts:
        answer: Page[Artifact] = self._transport.json("GET", f"{path_of(job_id)}/artifacts")
        return answer["data"]

    def download(self, job_id: str, name: str, *, to: Path) -> Path:
        """Write an artifact to a file, which appears only when it is whole."""
        return self._save(f"{path_of(job_id)}/artifacts/{name}", to)

    def export(self, job_id: str, *, to: Path, **query: str) -> Path:
        """Write every point of the wanted series to a CSV file. Query: names, layers, parameters, split."""
        return self._save(f"{path_of(job_id)}/series/export?{urlencode(query)}", to, {"Accept": "text/csv"})

    def _save(self, path: str, to: Path, headers: dict[str, str] | None = None) -> Path:
        partial = to.with_name(to.name + ".part")
        with self._transport.stream(path, headers=headers) as response, partial.open("wb") as file:
            for piece in response.iter_bytes():
                file.write(piece)
        return partial.replace(to)

    def _ask(self, job_id: str, action: str) -> Job:
        job: Job = self._transport.json("POST", f"{path_of(job_id)}/{action}")
        return job

    def _data(self, path: str) -> Rows:
        answer: Page[dict[str, Any]] = self._transport.json("GET", path)
        return answer["data"]


def path_of(job_id: str) -> str:
    return f"/v1/jobs/{job_id}"


def new_key() -> str:
    return secrets.token_urlsafe(24)
