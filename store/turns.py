"""Whose turn it is: of the projects whose next job has the highest priority, the one of which the fewest jobs run, then
the one that was served longest ago. No function commits.

A project is found by one step in the claim index, however many jobs it has queued.
"""

from sqlalchemy import ColumnElement, Select, and_, func, select, update
from sqlalchemy.orm import Session, aliased

from store.database import now_s
from store.key_tables import Project
from store.tables import Job


def next_project(session: Session, resource_class: str, *, most: int | None) -> str | None:
    """The project whose turn it is, or None: nothing waits, or whatever waits is of projects that run ``most`` jobs."""
    waiting = select(func.min(Job.project).label("project")).where(_queued(Job, resource_class)).cte(recursive=True)
    later = (
        select(func.min(Job.project))
        .where(_queued(Job, resource_class), Job.project > waiting.c.project)
        .correlate(waiting)
        .scalar_subquery()
    )
    waiting = waiting.union_all(select(later).where(waiting.c.project.is_not(None)))
    head = aliased(Job)
    first = first_of(waiting.c.project, resource_class).correlate(waiting).scalar_subquery()
    running = (
        select(Job.project, func.count().label("jobs")).where(Job.phase == "active").group_by(Job.project).subquery()
    )
    jobs = func.coalesce(running.c.jobs, 0)
    turns = (
        select(waiting.c.project)
        .join(head, head.id == first)
        .outerjoin(running, running.c.project == waiting.c.project)
        .outerjoin(Project, Project.name == waiting.c.project)
        .order_by(head.priority.desc(), jobs, func.coalesce(Project.served_at, 0.0), head.created_at, head.id)
        .limit(1)
    )
    if most is not None:
        turns = turns.where(jobs < most)
    return session.scalars(turns).first()


def take(session: Session, project: str, resource_class: str, *, most: int | None) -> str | None:
    """The project's first job, locked, with the turn noted. None: somebody else was first.

    The project's row orders those who claim for it, so that none of them takes one job more than ``most``.
    """
    session.execute(update(Project).where(Project.name == project).values(served_at=now_s()))
    pick = first_of(project, resource_class)
    if most is not None:
        pick = pick.where(running_jobs(project) < most)
    return session.execute(pick.with_for_update(skip_locked=True)).scalar()


def first_of(project: ColumnElement[str] | str, resource_class: str) -> Select[str]:
    """A project's jobs of the class in the order of their claims: the first one."""
    mine = and_(_queued(Job, resource_class), Job.project == project)
    return select(Job.id).where(mine).order_by(Job.priority.desc(), Job.created_at, Job.id).limit(1)


def running_jobs(project: str) -> ColumnElement[int]:
    """How many jobs of the project have a worker."""
    other = aliased(Job)
    counted = select(func.count()).select_from(other).where(other.phase == "active", other.project == project)
    return counted.scalar_subquery()


def _queued(job: type[Job], resource_class: str) -> ColumnElement[bool]:
    return and_(job.status == "queued", job.desired_state == "run", job.resource_class == resource_class)
