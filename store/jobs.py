"""The life of a job as a client changes it: create, cancel, pause, resume. ``attempts`` holds what workers change.

No function commits.
"""

from typing import Any

from sqlalchemy import ColumnElement, case, select, update
from sqlalchemy.orm import Session

from store import events, webhooks
from store.database import now_s
from store.errors import IllegalTransition, NotFound
from store.identifiers import new_id
from store.tables import DEFAULT_PROJECT, TERMINAL, Job


def create(
    session: Session,
    *,
    spec: dict[str, Any],
    resolved_spec: dict[str, Any],
    resource_class: str,
    dataset: str,
    forked_from: str | None = None,
    spec_patch: list[Any] | None = None,
    priority: int = 0,
    project: str = DEFAULT_PROJECT,
) -> Job:
    """A queued job. The row is the outbox: a worker finds it with or without a wake-up."""
    job = Job(
        id=new_id("job"),
        project=project,
        name=resolved_spec.get("name"),
        labels=resolved_spec.get("labels") or {},
        priority=priority,
        spec=spec,
        resolved_spec=resolved_spec,
        resource_class=resource_class,
        learner=resolved_spec["learner"]["kind"],
        network=resolved_spec["network"]["kind"],
        dataset=dataset,
        max_attempts=resolved_spec["limits"]["max_attempts"],
        max_pending_s=resolved_spec["limits"].get("max_pending_s"),
        forked_from=forked_from,
        spec_patch={"patch": spec_patch} if spec_patch is not None else None,
        reason_code="waiting_for_capacity",
        reason_message="Waiting for a free worker.",
    )
    now = session.execute(select(now_s())).scalar_one()
    job.created_at = job.queued_at = job.reason_since = now
    session.add(job)
    session.flush()
    events.append(session, job.id, type="status", detail={"status": "queued"})
    return job


def get(session: Session, job_id: str, *, project: str | None = None) -> Job:
    """The job, or NotFound. With a project, another one's job is as good as none: the door always names it."""
    query = select(Job).where(Job.id == job_id)
    if project is not None:
        query = query.where(Job.project == project)
    job = session.scalars(query.execution_options(populate_existing=True)).one_or_none()
    if job is None:
        raise NotFound(f"There is no job {job_id!r}.")
    return job


def cancel(session: Session, job_id: str) -> tuple[Job, bool]:
    """Asks for the end of a job; a pending one ends at once. Returns the job and whether anything changed."""
    if move(
        session,
        job_id,
        (Job.phase != "terminal") & (Job.desired_state != "cancel"),
        desired_state="cancel",
        status=case((Job.phase == "pending", "cancelled"), else_="cancelling"),
        finished_at=case((Job.phase == "pending", now_s()), else_=None),
        **reason("cancelled_by_user", "Cancelled on request."),
    ):
        return get(session, job_id), True
    job = get(session, job_id)
    if job.desired_state == "cancel" and job.status in ("cancelling", "cancelled"):
        return job, False
    raise IllegalTransition(job.status, allowed=("queued", "paused", "starting", "running", "pausing", "finalizing"))


def pause(session: Session, job_id: str) -> tuple[Job, bool]:
    """Asks a running job to checkpoint and give up its place."""
    if move(
        session,
        job_id,
        Job.status.in_(("starting", "running")) & (Job.desired_state == "run"),
        desired_state="pause",
        status="pausing",
        **reason("paused_by_user", "Paused on request."),
    ):
        return get(session, job_id), True
    job = get(session, job_id)
    if job.status in ("pausing", "paused"):
        return job, False
    raise IllegalTransition(job.status, allowed=("starting", "running"))


def resume(session: Session, job_id: str) -> tuple[Job, bool]:
    """Queues a paused job again; it continues from its last checkpoint."""
    if move(
        session,
        job_id,
        Job.status == "paused",
        desired_state="run",
        status="queued",
        queued_at=now_s(),
        **reason("waiting_for_capacity", "Waiting for a free worker."),
    ):
        return get(session, job_id), True
    job = get(session, job_id)
    if job.desired_state == "run" and job.phase != "terminal":
        return job, False
    raise IllegalTransition(job.status, allowed=("paused",))


def change(session: Session, job_id: str, **columns: Any) -> Job:
    """Changes what is not part of the spec: ``name``, ``labels``, ``priority``. Raises the version."""
    if columns:
        changed = update(Job).where(Job.id == job_id).values(**columns, version=Job.version + 1)
        session.execute(changed.returning(Job.id)).scalar()
    return get(session, job_id)


def move(session: Session, job_id: str, where: ColumnElement[bool], *, attempt: int = 0, **columns: Any) -> bool:
    """One arrow of the state diagram: the conditional UPDATE and its event. False: the condition did not hold."""
    moved = update(Job).where(Job.id == job_id, where).values(**columns).returning(Job.status)
    status = session.execute(moved).scalar()
    if status is not None:
        announce(session, job_id, status, attempt=attempt)
    return status is not None


def reason(code: str | None, message: str | None) -> dict[str, Any]:
    """The columns that say why a job stands where it does; every change of status raises the version."""
    since = now_s() if code is not None else None
    return {"reason_code": code, "reason_message": message, "reason_since": since, "version": Job.version + 1}


def announce(session: Session, job_id: str, status: str, *, attempt: int = 0, reason: str | None = None) -> None:
    """Writes the status event; after the last status of all the ``end`` event and what webhooks are to be told."""
    detail = {"status": status} if reason is None else {"status": status, "reason": reason}
    announced = [("status", detail)]
    if status in TERMINAL:
        announced.append(("end", {"status": status}))
    events.append_all(session, job_id, announced, attempt=attempt)
    if status in TERMINAL:
        job = session.execute(select(Job.project, Job.name).where(Job.id == job_id)).one()
        webhooks.tell(session, job.project, f"job.{status}", {"id": job_id, "name": job.name, "status": status})
