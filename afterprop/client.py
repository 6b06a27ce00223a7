"""A thin client of the service.

with Client() as client:
    job = client.jobs.create({"recipe": "forward_forward"})
    for event in client.jobs.events(job["id"]):
        print(event)
"""

import os
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self, final

from afterprop.comparisons import Comparisons
from afterprop.datasets import Datasets
from afterprop.jobs import Jobs
from afterprop.transport import Transport

DEFAULT_URL = "http://127.0.0.1:8000"
TIMEOUT_S = 30.0
MAX_RETRIES = 4


@final
class Client:
    """A connection to one service: ``url`` or AFTERPROP_URL, ``api_key`` or AFTERPROP_API_KEY."""

    def __init__(
        self,
        url: str | None = None,
        *,
        api_key: str | None = None,
        timeout_s: float = TIMEOUT_S,
        max_retries: int = MAX_RETRIES,
    ) -> None:
        self.url = (url or os.environ.get("AFTERPROP_URL") or DEFAULT_URL).rstrip("/")
        key = api_key or os.environ.get("AFTERPROP_API_KEY") or None
        self._transport = Transport(self.url, api_key=key, timeout_s=timeout_s, max_retries=max_retries)
        self.jobs = Jobs(self._transport)
        self.comparisons = Comparisons(self._transport)
        self.datasets = Datasets(self._transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._transport.close()

    def catalog(self, union: str) -> list[dict[str, Any]]:
        """Every kind of a union: ``learners``, ``networks``, ``recipes``, ``diagnostics`` or ``datasets``."""
        entries: list[dict[str, Any]] = self._transport.json("GET", f"/v1/{union}")["data"]
        return entries

    def estimate(self, spec: dict[str, Any]) -> dict[str, Any]:
        """Parameters, memory, FLOPs and seconds of a job spec, without a side effect."""
        estimate: dict[str, Any] = self._transport.json("POST", "/v1/estimates", body=spec)
        return estimate

    def queue(self) -> dict[str, Any]:
        queue: dict[str, Any] = self._transport.json("GET", "/v1/queue")
        return queue

    def workers(self) -> list[dict[str, Any]]:
        workers: list[dict[str, Any]] = self._transport.json("GET", "/v1/workers")["data"]
        return workers

    def version(self) -> dict[str, Any]:
        version: dict[str, Any] = self._transport.json("GET", "/version")
        return version

    def create_key(
        self,
        *,
        project: str = "default",
        name: str = "",
        scopes: Sequence[str] = ("write",),
        expires_in_s: int | None = None,
    ) -> dict[str, Any]:
        """A new key; its text is in ``key``, here and never again. Asks for the scope admin, as all about keys does."""
        body = {"project": project, "name": name, "scopes": list(scopes), "expires_in_s": expires_in_s}
        made: dict[str, Any] = self._transport.json("POST", "/v1/api-keys", body=body)
        return made

    def keys(self) -> list[dict[str, Any]]:
        """All keys, newest first, without their texts."""
        found: list[dict[str, Any]] = []
        after: str | None = None
        while True:
            page = self._transport.json("GET", "/v1/api-keys", query={"limit": 200, "after": after})
            found += page["data"]
            after = page["next_cursor"]
            if after is None:
                return found

    def revoke_key(self, key_id: str) -> None:
        self._transport.send("DELETE", f"/v1/api-keys/{key_id}")
