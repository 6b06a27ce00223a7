"""What a project takes of the service at the moment."""

from typing import Final

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from store.database import now_s
from store.tables import Job

WINDOW_S: Final = 60.0


def made_lately(session: Session, project: str, *, up_to: int) -> int:
    """How many jobs were made within the window, counted no further than ``up_to``."""
    return _counted(session, select(Job.id).where(Job.project == project, Job.created_at > now_s() - WINDOW_S), up_to)


def waiting(session: Session, project: str, *, up_to: int) -> int:
    """How many jobs are queued, counted no further than ``up_to``."""
    return _counted(session, select(Job.id).where(Job.project == project, Job.status == "queued"), up_to)


def running(session: Session, project: str) -> int:
    """How many jobs have a worker."""
    counted = select(func.count()).select_from(Job).where(Job.project == project, Job.phase == "active")
    return session.scalar(counted) or 0


def free_again_in_s(session: Session, project: str, *, most: int) -> float:
    """When the window has room again: the ``most`` newest jobs fill it until the oldest of them leaves."""
    newest = select(Job.created_at).where(Job.project == project).order_by(Job.created_at.desc(), Job.id.desc())
    oldest = newest.offset(most - 1).limit(1).scalar_subquery()
    left = session.scalar(select(oldest + WINDOW_S - now_s()))
    return max(0.0, left or 0.0)


def _counted(session: Session, jobs: Select[str], up_to: int) -> int:
    return session.scalar(select(func.count()).select_from(jobs.limit(up_to).subquery())) or 0
