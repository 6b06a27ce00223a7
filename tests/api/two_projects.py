"""A service that asks for keys, with two projects: the things of one, and the key of the other."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from sqlalchemy import update

from api.app import NOUNS
from store import comparisons, datasets, keys, probes, verdicts, verifications, webhooks
from store.comparison_tables import Comparison
from store.database import Database
from store.identifiers import new_id
from store.settings import Settings
from store.tables import Job
from tests import lived_comparison
from tests.api import lived_job

OWNER, FOREIGNER = "owners", "foreigners"


@dataclass(frozen=True)
class TwoProjects:
    """Keys of both; ``things`` are ids of the owner's, by the name of the path parameter that takes them."""

    owner: dict[str, str]
    foreigner: dict[str, str]
    things: dict[str, str]


def key_of(database: Database, project: str, *scopes: str, **wanted: Any) -> dict[str, str]:
    """The header of a new key."""
    with database.writing.begin() as session:
        _, text = keys.create(session, project=project, name="", scopes=scopes, **wanted)
    return {"Authorization": f"Bearer {text}"}


def two_projects(database: Database, settings: Settings) -> TwoProjects:
    """One of everything that can belong to somebody, in the owner's project."""
    lived_job.register_worker(database)
    job_id = lived_job.succeeded(database, settings, findings=lived_job.FAULTS)
    comparison_id = lived_comparison.made(database)
    with database.writing.begin() as session:
        session.execute(update(Job).values(project=OWNER))
        session.execute(update(Comparison).values(project=OWNER))
        probe_id = probes.create(session, job_id, spec={"kind": "histogram", "rows": 256}).id
        dataset_id = datasets.add(
            session,
            new_id("ds"),
            project=OWNER,
            name="of the owner.csv",
            kind="csv",
            sha256="ab" * 32,
            size_bytes=8,
            contents={"rows": 2},
        ).id
        verification_id = verifications.create(session, session.get_one(Job, job_id), from_step=0, tolerance=0.0).id
        verdict_id = next(row.id for row in verdicts.of_job(session, job_id) if row.remedies)
        assert comparisons.get(session, comparison_id).project == OWNER
        webhook_id = webhooks.create(session, project=OWNER, url="https://example.com/told", events=["job.ended"]).id
    things = {"job_id": job_id, "comparison_id": comparison_id, "probe_id": probe_id, "verdict_id": verdict_id}
    things |= {"kind_or_id": dataset_id, "dataset_id": dataset_id}
    things |= {"webhook_id": webhook_id, "verification_id": verification_id}
    return TwoProjects(
        owner=key_of(database, OWNER, "admin"), foreigner=key_of(database, FOREIGNER, "write"), things=things
    )


def operations(app: FastAPI) -> Iterator[tuple[str, str]]:
    """Every method and path that the application answers, hidden ones too."""
    known = {id(noun.router): noun.router for noun in NOUNS}
    for route in app.routes:
        if isinstance(route, APIRoute):
            found = [route]
        else:  # a router that was included whole
            found = [of for of in known[id(route.original_router)].routes if isinstance(of, APIRoute)]  # type: ignore[attr-defined]
            assert len(found) == len(known[id(route.original_router)].routes)  # type: ignore[attr-defined]
        for each in found:
            yield from ((method, each.path) for method in sorted(each.methods))
