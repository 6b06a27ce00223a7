"""What the list of jobs says."""

import json
import time
from collections.abc import Mapping
from functools import partial
from typing import Any
from urllib.parse import urlencode

from sqlalchemy.orm import Session

from api.answers import Page
from api.callers import Caller
from api.dashboard.job_lines import best_metric, last_metric, standing, took
from api.dependencies import Door
from api.rows import dataset_name, job_answer
from specs.recipes import RECIPES
from store import comparisons, listing, summaries, workers
from store.listing import OWN
from store.series_blocks import Selection
from store.tables import ACTIVE

LIMIT = 50
TABS = {
    "All": "",
    "Waiting": "queued",
    "Active": ",".join(ACTIVE),
    "Paused": "paused",
    "Succeeded": "succeeded",
    "Failed": "failed",
    "Cancelled": "cancelled",
    "Expired": "expired",
}
NARROWING = ("learner", "network", "dataset", "comparison")
EVERY = "all"
"""In the place of a comparison: jobs of comparisons too. Without a word the page leaves them out, as they are many."""
FIRST_JOB = {"name": "first", **RECIPES["forward_forward"].spec}


def list_view(
    session: Session, door: Door, caller: Caller, wanted: Mapping[str, str], *, cursor: str | None, base_url: str
) -> dict[str, Any]:
    """The content of ``job_list.html``; ``wanted`` holds ``status`` and the narrowing filters that are set."""
    statuses = tuple(part for part in wanted.get("status", "").split(",") if part)
    narrowing = {name: wanted[name] for name in NARROWING if name in wanted}
    chosen = {name: value for name, value in {"comparison": OWN, **narrowing}.items() if value != EVERY}
    asked: dict[str, Any] = {"limit": LIMIT, "after": cursor, "statuses": statuses, **chosen}
    found, following = listing.page(session, project=caller.project, **asked)
    places = workers.reasons(session, found, lease_s=door.settings.lease_s)
    answers = [job_answer(job, places.get(job.id)) for job in found]
    compared = bool(comparisons.page(session, project=caller.project, limit=1)[0])
    evaluated = {job.id: _evaluated(session, job.id) for job in found if job.phase == "active"}
    return {
        "page": Page(data=answers, has_more=following is not None, next_cursor=following),
        "filtered": bool(wanted) or compared,
        "comparisons": _standing_of_comparisons(wanted) if compared else None,
        "cursor": cursor,
        "query": _query({"status": wanted.get("status", ""), **chosen, "limit": str(LIMIT), "after": cursor or ""}),
        "tabs": [
            {"title": title, "href": _href({**narrowing, "status": status}), "current": status == ",".join(statuses)}
            for title, status in TABS.items()
        ],
        "narrowed": [
            {"title": name, "value": value, "href": _href({k: v for k, v in wanted.items() if k != name})}
            for name, value in narrowing.items()
            if value not in (EVERY, OWN)
        ],
        "first_href": _href(wanted),
        "older_href": _href({**wanted, "after": following}) if following else None,
        "summary": _summary(session, door),
        "command": _command(base_url),
        "first_spec": json.dumps(FIRST_JOB),
        "standing": standing,
        "last_metric": lambda job: last_metric(job, evaluated.get(job.id)),
        "best_metric": best_metric,
        "took": partial(took, now=time.time()),
        "dataset": lambda job: dataset_name(job.resolved_spec),
    }


def _standing_of_comparisons(wanted: Mapping[str, str]) -> dict[str, str] | None:
    """Whether jobs of comparisons are listed, and the link to the other way; None where one of them was chosen."""
    chosen = wanted.get("comparison", OWN)
    if chosen == EVERY:
        told, title, other = "Jobs of comparisons are listed too.", "Leave them out", ""
    elif chosen == OWN:
        told, title, other = "Jobs of comparisons are not listed here.", "List them too", EVERY
    else:
        return None
    return {"told": told, "title": title, "href": _href({**wanted, "comparison": other})}


def _evaluated(session: Session, job_id: str) -> dict[str, float | None]:
    """The latest evaluation of a job that still runs, by metric."""
    found = summaries.read(session, job_id, Selection(splits=["validation"]))
    return {summary.name: summary.last for summary in found}


def _href(query: Mapping[str, str]) -> str:
    return f"/?{given}" if (given := _query(query)) else "/"


def _query(query: Mapping[str, str]) -> str:
    return urlencode({name: value for name, value in query.items() if value})


def _summary(session: Session, door: Door) -> dict[str, int]:
    living = workers.living(session, lease_s=door.settings.lease_s)
    counts = workers.queue_counts(session)
    return {
        "workers": len(living),
        "busy": sum(worker.busy for worker in living),
        "slots": sum(worker.slots for worker in living),
        "waiting": sum(of.get("queued", 0) for of in counts.values()),
        "active": sum(count for of in counts.values() for status, count in of.items() if status in ACTIVE),
    }


def _command(base_url: str) -> str:
    sections = [f'"{name}": {json.dumps(value)}' for name, value in FIRST_JOB.items() if name != "name"]
    body = ",\n       ".join(sections)
    return f"curl -X POST {base_url}v1/jobs \\\n  -H 'Content-Type: application/json' \\\n  -d '{{{body}}}'"
