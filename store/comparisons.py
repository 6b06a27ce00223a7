"""The life of a comparison: tuning, running, an end. Its jobs are ordinary jobs; this file ties them to it.

No function commits. Every change of status is one conditional UPDATE, and a run's key is what it is for, so two
workers that advance the same comparison at once change nothing twice.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import insert, select, tuple_, update
from sqlalchemy.orm import Session, defer

from specs.comparison_plan import Run, runs
from specs.comparison_trials import Asked, is_known, with_settings, with_trials
from store import jobs, webhooks
from store.comparison_tables import Comparison, ComparisonRun
from store.database import now_s
from store.errors import IllegalTransition, NotFound
from store.identifiers import new_id
from store.listing import decode
from store.tables import DEFAULT_PROJECT, TERMINAL, Job

PRIORITY = -10
"""Of a comparison's jobs: single jobs that come later are not kept waiting by hundreds."""

WINDOW = 32
"""Jobs of one comparison that are queued or run at a time: the next ones are made as these end."""


@dataclass(frozen=True)
class Row:
    """A run of a comparison with what its job says; ``status`` is deleted where the job is gone."""

    stage: str
    arm: str
    trial: int
    seed: int
    position: int
    job_id: str | None
    status: str
    result: dict[str, Any] | None
    error: dict[str, Any] | None
    settings: dict[str, Any]
    started_at: float | None
    finished_at: float | None

    @property
    def ended(self) -> bool:
        return self.status in TERMINAL or self.status == "deleted"


def create(
    session: Session,
    *,
    spec: dict[str, Any],
    resolved_spec: dict[str, Any],
    plan: dict[str, Any],
    resource_class: str,
    dataset: str,
    project: str = DEFAULT_PROJECT,
) -> Comparison:
    """A comparison whose first jobs are queued."""
    row = Comparison(
        id=new_id("cmp"),
        project=project,
        name=resolved_spec.get("name"),
        labels=resolved_spec.get("labels") or {},
        spec=spec,
        resolved_spec=resolved_spec,
        plan=plan,
        network=resolved_spec["network"]["kind"],
        dataset=dataset,
        resource_class=resource_class,
        status="running" if resolved_spec["tuning"] is None else "tuning",
        created_at=session.execute(select(now_s())).scalar_one(),
    )
    session.add(row)
    session.flush()
    _enter(session, row, "final" if resolved_spec["tuning"] is None else "tuning")
    return row


def get(session: Session, comparison_id: str, *, project: str | None = None) -> Comparison:
    """The comparison, or NotFound; another project's is as good as none."""
    query = select(Comparison).where(Comparison.id == comparison_id)
    if project is not None:
        query = query.where(Comparison.project == project)
    row = session.scalars(query.execution_options(populate_existing=True)).one_or_none()
    if row is None:
        raise NotFound(f"There is no comparison {comparison_id!r}.")
    return row


def page(
    session: Session, *, limit: int, project: str = DEFAULT_PROJECT, after: str | None = None
) -> tuple[list[Comparison], str | None]:
    """Comparisons of a project, newest first, and the cursor of the next page or None."""
    query = select(Comparison).options(defer(Comparison.plan), defer(Comparison.result), defer(Comparison.spec))
    query = query.where(Comparison.project == project)
    if after is not None:
        created_at, id_of_a_job = decode(after)
        place = created_at, id_of_a_job.replace("job_", "cmp_")
        query = query.where(tuple_(Comparison.created_at, Comparison.id) < tuple_(*place))
    found = list(session.scalars(query.order_by(Comparison.created_at.desc(), Comparison.id.desc()).limit(limit + 1)))
    if len(found) <= limit:
        return found, None
    last = found[limit - 1]
    return found[:limit], struct.pack(">d", last.created_at).hex() + last.id.removeprefix("cmp_")


def active(session: Session) -> list[str]:
    """Ids of the comparisons that are not over, oldest first."""
    wanted = select(Comparison.id).where(Comparison.phase == "active").order_by(Comparison.created_at, Comparison.id)
    return list(session.scalars(wanted))


def rows(session: Session, comparison_id: str, *, stage: str | None = None) -> list[Row]:
    """The runs in the order in which they are queued."""
    query = (
        select(ComparisonRun, Job.status, Job.result, Job.error, Job.resolved_spec, Job.started_at, Job.finished_at)
        .outerjoin(Job, Job.id == ComparisonRun.job_id)
        .where(ComparisonRun.comparison_id == comparison_id)
    )
    if stage is not None:
        query = query.where(ComparisonRun.stage == stage)
    found = session.execute(query.order_by(ComparisonRun.stage.desc(), ComparisonRun.position)).all()
    return [
        Row(
            stage=run.stage,
            arm=run.arm,
            trial=run.trial,
            seed=run.seed,
            position=run.position,
            job_id=run.job_id,
            status=status or ("deleted" if run.queued else "planned"),
            result=result,
            error=error,
            settings=resolved or {},
            started_at=started_at,
            finished_at=finished_at,
        )
        for run, status, result, error, resolved, started_at, finished_at in found
    ]


def cancel(session: Session, comparison_id: str) -> tuple[Comparison, bool]:
    """Asks for the end of a comparison and of all its jobs. Returns it, and whether anything changed."""
    moved = _move(session, comparison_id, from_=("tuning", "running"), status="cancelling")
    row = get(session, comparison_id)
    if not moved:
        if row.status in ("cancelling", "cancelled"):
            return row, False
        raise IllegalTransition(row.status, allowed=("tuning", "running"), noun="comparison")
    for run in rows(session, comparison_id):
        if run.job_id is not None and not run.ended:
            jobs.cancel(session, run.job_id)
    finish_cancelling(session, comparison_id)
    return get(session, comparison_id), True


def finish_cancelling(session: Session, comparison_id: str) -> bool:
    """cancelling → cancelled, once no job of it goes on."""
    waits = any(run.job_id is not None and not run.ended for run in rows(session, comparison_id))
    return not waits and _move(session, comparison_id, from_=("cancelling",), status="cancelled", finished_at=now_s())


def start_finals(session: Session, comparison_id: str, chosen: Mapping[str, Any]) -> bool:
    """tuning → running, with the settings that each arm goes on with. False: somebody else did it, or it is over."""
    if not _move(session, comparison_id, from_=("tuning",), status="running", chosen=dict(chosen)):
        return False
    _enter(session, get(session, comparison_id), "final")
    return True


def top_up(session: Session, comparison_id: str, *, trials: Asked | None = None) -> str | None:
    """Makes the next jobs whose settings are known, up to the window; the resource class of what it made.

    ``trials`` are what tuning tries next; what somebody else added in between stands.
    """
    row = session.execute(
        select(Comparison)
        .where(Comparison.id == comparison_id, Comparison.status.in_(("tuning", "running")))
        .with_for_update()
        .execution_options(populate_existing=True)
    ).scalar_one_or_none()
    if row is None:
        return None
    if trials and row.status == "tuning":
        row.plan = with_trials(row.plan, trials)
        row.version += 1
    found = rows(session, comparison_id, stage="tuning" if row.status == "tuning" else "final")
    planned = [Run(run.stage, run.arm, run.trial, run.seed) for run in found if run.status == "planned"]
    under_way = sum(not run.ended for run in found) - len(planned)
    wanted = _known(row, planned)[: max(0, _window(row) - under_way)]
    _queue(session, row, wanted)
    return row.resource_class if wanted else None


def succeed(session: Session, comparison_id: str, result: dict[str, Any]) -> bool:
    """running → succeeded. False: somebody else ended it."""
    found = {"status": "succeeded", "result": result, "sentence": result["sentence"]}
    return _move(session, comparison_id, from_=("running",), **found, finished_at=now_s())


def fail(session: Session, comparison_id: str, *, kind: str, message: str) -> bool:
    """Any active → failed."""
    found = {"status": "failed", "error": {"kind": kind, "message": message}}
    return _move(session, comparison_id, from_=("tuning", "running"), **found, finished_at=now_s())


def _move(session: Session, comparison_id: str, *, from_: Sequence[str], **columns: Any) -> bool:
    moved = (
        update(Comparison)
        .where(Comparison.id == comparison_id, Comparison.status.in_(from_))
        .values(**columns, version=Comparison.version + 1)
        .returning(Comparison.project, Comparison.name, Comparison.status)
    )
    row = session.execute(moved).one_or_none()
    if row is not None and "finished_at" in columns:
        detail = {"id": comparison_id, "name": row.name, "status": row.status}
        webhooks.tell(session, row.project, "comparison.finished", detail)
    return row is not None


def _enter(session: Session, row: Comparison, stage: str) -> None:
    """Plans all runs of a stage and queues the first ones."""
    planned = list(runs(row.plan, row.resolved_spec, stage))
    session.execute(
        insert(ComparisonRun),
        [
            {**vars(run), "comparison_id": row.id, "position": position, "queued": False}
            for position, run in enumerate(planned)
        ],
    )
    _queue(session, row, _known(row, planned)[: _window(row)])


def _known(row: Comparison, planned: Sequence[Run]) -> list[Run]:
    return [run for run in planned if is_known(row.plan, stage=run.stage, arm=run.arm, trial=run.trial)]


def _window(row: Comparison) -> int:
    return 1 if row.plan["one_at_a_time"] else WINDOW


def _queue(session: Session, row: Comparison, wanted: Sequence[Run]) -> None:
    arms = {arm["name"]: arm for arm in row.plan["arms"]}
    for run in wanted:
        arm = arms[run.arm]
        settings = arm["trials"][run.trial] if run.stage == "tuning" else (row.chosen or {}).get(run.arm, {})
        spec = with_settings(arm["job"], settings)
        spec["training"]["seed"] = run.seed
        spec["training"]["evaluate_test"] = run.stage == "final"
        spec["name"] = f"{run.arm}, seed {run.seed}" + (f", trial {run.trial}" if run.stage == "tuning" else "")
        spec["labels"] = {**row.labels, "comparison": row.id, "stage": run.stage}
        job = jobs.create(
            session,
            spec=spec,
            resolved_spec=spec,
            resource_class=row.resource_class,
            dataset=row.dataset,
            priority=PRIORITY,
            project=row.project,
        )
        session.execute(
            update(ComparisonRun)
            .where(
                ComparisonRun.comparison_id == row.id,
                ComparisonRun.stage == run.stage,
                ComparisonRun.arm == run.arm,
                ComparisonRun.trial == run.trial,
                ComparisonRun.seed == run.seed,
            )
            .values(job_id=job.id, queued=True)
        )
    session.flush()
