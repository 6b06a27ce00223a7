"""A new job made from an old one: its resolved spec, changed by a JSON Patch. The old one stays as it is."""

from collections.abc import Callable, Sequence
from typing import Any

from fastapi import Response
from sqlalchemy.orm import Session

from api.bodies import validated
from api.callers import Caller
from api.dependencies import Door
from api.errors import Refused
from api.problems import ProblemItem
from api.submission import submit
from specs.job import JobSpec
from specs.json_patch import Patch, PatchFailed, apply
from specs.limits import Limits
from store import jobs, listing
from store.tables import Job


def forked(
    door: Door,
    caller: Caller,
    job_id: str,
    patch: Patch,
    *,
    operations: Sequence[dict[str, Any]],
    key: str | None,
    request_sha256: str,
    also: Callable[[Session, Job], None] | None = None,
    known: Callable[[Session], str | None] | None = None,
) -> Response:
    """202 with the new job. ``operations`` is the patch as it was sent; ``also`` runs in the transaction, and so does
    ``known``, which may name the fork that stands already.

    It waits at the old one's priority, unless that one was a comparison's: these stand back for jobs of their own.
    """
    with door.database.reading() as session:
        old = jobs.get(session, job_id, project=caller.project)
        priority = old.priority if listing.comparison_of(session, job_id) is None else 0
        fields = {**old.resolved_spec, "name": old.name, "labels": old.labels}
    spec = _patched(fields, patch, door.settings.limits)
    return submit(
        door,
        caller,
        spec,
        posted=spec.resolved(),
        key=key,
        request_sha256=request_sha256,
        forked_from=job_id,
        patch=operations,
        priority=priority,
        also=also,
        known=known,
    )


def _patched(fields: dict[str, Any], patch: Patch, limits: Limits) -> JobSpec:
    try:
        changed = apply(fields, patch)
    except PatchFailed as error:
        item = ProblemItem(pointer=f"/{error.index}", code="patch_failed", detail=str(error)[:400])
        raise Refused("patch_failed", item.detail, errors=[item]) from None
    return validated(JobSpec, changed, limits)
