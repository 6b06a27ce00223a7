"""Uploaded data sets: rows beside files. File first, row second. No function commits."""

from typing import Any

from sqlalchemy import delete, func, or_, select
from sqlalchemy.orm import Session

from store.comparison_tables import Comparison
from store.database import now_s
from store.dataset_tables import Dataset
from store.errors import NotFound, StoreError
from store.tables import Job


class InUse(StoreError):
    """The data set is used by a job or a comparison that has not ended."""


def add(
    session: Session,
    dataset_id: str,
    *,
    project: str,
    name: str,
    kind: str,
    sha256: str,
    size_bytes: int,
    contents: dict[str, Any],
) -> Dataset:
    """The row of a file that stands at its place."""
    row = Dataset(
        id=dataset_id,
        project=project,
        name=name,
        format=kind,
        sha256=sha256,
        size_bytes=size_bytes,
        contents=contents,
        created_at=session.execute(select(now_s())).scalar_one(),
    )
    session.add(row)
    session.flush()
    return row


def same(session: Session, *, project: str, sha256: str, kind: str) -> Dataset | None:
    """The data set of this project with these bytes. What others hold is not looked at."""
    query = select(Dataset).where(Dataset.project == project, Dataset.sha256 == sha256, Dataset.format == kind)
    return session.scalars(query).one_or_none()


def get(session: Session, dataset_id: str, *, project: str) -> Dataset:
    """The data set, or NotFound."""
    query = select(Dataset).where(Dataset.id == dataset_id, Dataset.project == project)
    row = session.scalars(query).one_or_none()
    if row is None:
        raise NotFound(f"There is no data set {dataset_id!r}.")
    return row


def page(session: Session, *, project: str, limit: int, after: str | None = None) -> list[Dataset]:
    """Data sets of a project, newest first; those before ``after``."""
    query = select(Dataset).where(Dataset.project == project)
    if after is not None:
        query = query.where(Dataset.id < after)
    return list(session.scalars(query.order_by(Dataset.id.desc()).limit(limit)))


def stored_bytes(session: Session, *, project: str) -> int:
    """Bytes of all files of a project."""
    return int(session.scalar(select(func.sum(Dataset.size_bytes)).where(Dataset.project == project)) or 0)


def remove(session: Session, row: Dataset) -> None:
    """Deletes the row; the file is the caller's. InUse while something that has not ended needs it."""
    jobs = select(Job.id).where(Job.dataset == row.id, Job.phase != "terminal")
    comparisons = select(Comparison.id).where(Comparison.dataset == row.id, Comparison.phase != "terminal")
    if session.execute(select(or_(jobs.exists(), comparisons.exists()))).scalar_one():
        raise InUse
    session.execute(delete(Dataset).where(Dataset.id == row.id))
