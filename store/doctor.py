"""``python -m store.doctor``: what is wrong with a service's database, broker, disk and files, as one JSON object.

It reads and changes nothing. Each check is ``well``, a ``warning`` or ``damaged``.
"""

import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final, Literal

import redis
from sqlalchemy import func, select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from store import workers
from store.artifacts import file_sha256
from store.database import connect, now_s
from store.dataset_tables import Dataset
from store.settings import Settings, settings
from store.snapshot import check as integrity
from store.tables import Artifact, Checkpoint, Job
from store.uploaded_files import path_of

State = Literal["well", "warning", "damaged"]
LOWEST_TORCH: Final = (2, 10)
"""Older ones load weights unsafely (CVE-2026-24747)."""
LOW_DISK_BYTES: Final = 1 << 30
SHOWN: Final = 10
_ORDER: Final = ("well", "warning", "damaged")


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    state: State
    detail: str


def examine(chosen: Settings) -> list[Check]:
    """All checks, in the order in which a person would make them."""
    found = [_disk(chosen), _broker(chosen), _torch()]
    database = connect(chosen.resolved_database_url, busy_timeout_s=5.0)
    try:
        with database.reading() as session:
            found.append(_migrated(session))
            found.extend(_of_rows(session, chosen))
    except SQLAlchemyError as error:
        cause = str(error.__cause__ or error).splitlines()[0]
        found.append(Check("database", "damaged", f"it does not answer as it should: {cause[:200]}"))
    finally:
        database.dispose()
    return found


def _of_rows(session: Session, chosen: Settings) -> Iterator[Check]:
    wrong = integrity(session)
    yield Check("database", "damaged" if wrong else "well", "; ".join(wrong[:SHOWN]) or "it finds its own file whole")
    yield _workers(session, chosen)
    yield _leases(session, chosen)
    yield from _files(session, chosen)


def _disk(chosen: Settings) -> Check:
    folder = next(path for path in (chosen.state_dir.resolve(), *chosen.state_dir.resolve().parents) if path.exists())
    free = shutil.disk_usage(folder).free
    return Check("disk", "warning" if free < LOW_DISK_BYTES else "well", f"{free} bytes are free for the state folder")


def _broker(chosen: Settings) -> Check:
    try:
        with redis.Redis.from_url(chosen.broker_url, socket_timeout=2, socket_connect_timeout=2) as broker:
            broker.ping()
    except (redis.RedisError, OSError) as error:
        detail = f"it does not answer ({type(error).__name__}): workers look for jobs once a second instead"
        return Check("broker", "warning", detail)
    return Check("broker", "well", "it answers")


def _torch() -> Check:
    try:
        found = version("torch")
    except PackageNotFoundError:
        return Check("torch", "warning", "not installed here; workers need it")
    numbers = tuple(int(part) for part in found.split("+")[0].split(".")[:2])
    return Check("torch", "well" if numbers >= LOWEST_TORCH else "damaged", f"{found}; 2.10 or newer is needed")


def _migrated(session: Session) -> Check:
    revision = session.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    return Check("migrations", "damaged" if revision is None else "well", f"the database is at {revision}")


def _workers(session: Session, chosen: Settings) -> Check:
    living = workers.living(session, lease_s=chosen.lease_s)
    waiting = session.scalar(select(func.count()).select_from(Job).where(Job.status == "queued")) or 0
    state: State = "warning" if waiting and not living else "well"
    return Check("workers", state, f"{len(living)} live, {waiting} jobs wait")


def _leases(session: Session, chosen: Settings) -> Check:
    late = session.scalars(
        select(Job.id).where(Job.phase == "active", Job.lease_expires_at < now_s() - 2 * chosen.lease_s).limit(SHOWN)
    ).all()
    detail = f"no worker lives to give them back: {', '.join(late)}" if late else "no job outlives its lease"
    return Check("leases", "warning" if late else "well", detail)


def _files(session: Session, chosen: Settings) -> Iterator[Check]:
    known: set[Path] = set()
    missing, differing = [], []
    for table in (Checkpoint, Artifact):
        for name, sha256 in session.execute(select(table.path, table.sha256)):
            path = Path(name)
            known.add(path)
            if not path.is_file():
                missing.append(name)
            elif file_sha256(path) != sha256:
                differing.append(name)
    for dataset_id, kind, sha256 in session.execute(select(Dataset.id, Dataset.format, Dataset.sha256)):
        path = path_of(chosen.uploads_dir, dataset_id, kind)
        known.add(path)
        if not path.is_file():
            missing.append(str(path))
        elif file_sha256(path) != sha256:
            differing.append(str(path))
    yield Check("rows without files", "damaged" if missing else "well", _list(missing))
    yield Check("files that changed", "damaged" if differing else "well", _list(differing))
    unknown = [str(path) for path in _all_files(chosen) if path not in known]
    yield Check("files without rows", "warning" if unknown else "well", _list(unknown))


def _all_files(chosen: Settings) -> Iterator[Path]:
    for folder in (chosen.artifacts_dir, chosen.uploads_dir):
        for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
            if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts):
                yield path


def _list(names: list[str]) -> str:
    return f"{len(names)}: {', '.join(names[:SHOWN])}" if names else "none"


def main() -> int:
    """0: well, or warnings alone; 1: something is damaged."""
    checks = examine(settings())
    worst = max((check.state for check in checks), key=_ORDER.index)
    print(json.dumps({"state": worst, "checks": [asdict(check) for check in checks]}))  # noqa: T201  # the answer
    return 1 if worst == "damaged" else 0


if __name__ == "__main__":
    sys.exit(main())
