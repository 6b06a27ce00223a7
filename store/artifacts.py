"""Files that jobs leave. File first, row second: a row never names a file that does not stand."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from store.database import now_s
from store.errors import NotFound
from store.identifiers import new_id
from store.tables import Artifact, Checkpoint, Job

KEPT_CHECKPOINTS = 2


def take_in(source: Path, *, inside: Path, target: Path) -> tuple[str, int]:
    """Moves a file that a trainer wrote into the artifacts; returns its sha256 and size.

    The real path of ``source`` must lie inside the attempt's folder, and it is hashed where it then stands:
    nobody can change it between the check and the use. ValueError for a path that leads elsewhere.
    """
    real = source.resolve(strict=True)
    if not real.is_relative_to(inside.resolve()) or source.is_symlink() or not real.is_file():
        raise ValueError(f"{source.name!r} is not a file of this attempt")
    target.parent.mkdir(parents=True, exist_ok=True)
    real.replace(target)
    _sync_folder(target.parent)
    return file_sha256(target), target.stat().st_size


def file_sha256(path: Path) -> str:
    """The hash of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def add_checkpoint(
    session: Session, job_id: str, attempt: int, *, step: int, path: Path, sha256: str, size_bytes: int
) -> list[Path]:
    """Registers a checkpoint and points the job at it; returns files that are now old and may be removed."""
    row = Checkpoint(
        id=new_id("ckpt"),
        job_id=job_id,
        attempt=attempt,
        step=step,
        path=str(path),
        sha256=sha256,
        size_bytes=size_bytes,
        created_at=session.execute(select(now_s())).scalar_one(),
    )
    session.add(row)
    session.flush()
    session.get_one(Job, job_id).checkpoint_id = row.id
    old = list(session.scalars(_checkpoints(job_id).offset(KEPT_CHECKPOINTS)))
    if old:
        session.execute(delete(Checkpoint).where(Checkpoint.id.in_([row.id for row in old])))
    return [Path(row.path) for row in old]


def checkpoints(session: Session, job_id: str) -> Sequence[Checkpoint]:
    """A job's checkpoints, newest first."""
    return session.scalars(_checkpoints(job_id)).all()


def add(
    session: Session,
    job_id: str,
    attempt: int,
    *,
    name: str,
    path: Path,
    sha256: str,
    size_bytes: int,
    media_type: str = "application/octet-stream",
) -> None:
    """Registers an artifact; one of the same name by an earlier attempt is replaced."""
    session.merge(
        Artifact(
            job_id=job_id,
            name=name,
            attempt=attempt,
            path=str(path),
            sha256=sha256,
            size_bytes=size_bytes,
            media_type=media_type,
            created_at=session.execute(select(now_s())).scalar_one(),
        )
    )


def of_job(session: Session, job_id: str) -> Sequence[Artifact]:
    """A job's artifacts by name."""
    return session.scalars(select(Artifact).where(Artifact.job_id == job_id).order_by(Artifact.name)).all()


def get(session: Session, job_id: str, name: str) -> Artifact:
    """The artifact, or NotFound."""
    found = session.get(Artifact, (job_id, name))
    if found is None:
        raise NotFound(f"Job {job_id!r} has no artifact {name!r}.")
    return found


def _checkpoints(job_id: str):  # type: ignore[no-untyped-def]  # Select[tuple[Checkpoint]]
    return select(Checkpoint).where(Checkpoint.job_id == job_id).order_by(Checkpoint.step.desc(), Checkpoint.id.desc())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
