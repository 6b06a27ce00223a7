"""Comparisons as answers of the service: JSON, and rows as CSV."""

import csv
import io
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, Field

from api.answers import Cost, Filled, Number, Time
from api.rows import rfc3339
from store.comparison_tables import Comparison
from store.comparisons import Row

COLUMNS = ("stage", "arm", "trial", "seed", "job_id", "status", "split", "metric", "value")
BILL = ("wall_s", "training_s", "cpu_s", "flops", "peak_bytes", "parameters")


class ComparisonProgress(BaseModel):
    """Jobs planned so far, and how many have ended. Those of the last stage are planned when tuning has ended."""

    runs: int
    ended: int
    by_status: dict[str, int]


class ComparisonSummary(BaseModel):
    """A comparison without its rows."""

    id: str
    name: str | None
    labels: dict[str, str]
    status: str = Field(description="tuning, running, cancelling, succeeded, failed, cancelled; an open set")
    phase: Literal["active", "terminal"]
    network: str
    dataset: str
    progress: ComparisonProgress
    sentence: str | None = Field(description="the answer, or why it is undecided; null until the end")
    error: dict[str, Any] | None
    created_at: Time
    finished_at: Time | None
    version: int


class SearchedRange(BaseModel):
    """A setting that is tuned, and between what."""

    pointer: str = Field(description="JSON pointer into the job spec")
    low: Number
    high: Number
    log: bool = Field(description="searched on a logarithmic scale")
    posted: Number


class ArmAnswer(BaseModel):
    """One thing that is compared."""

    name: str
    role: str = Field(description="reference, learner or control")
    tuned_as: str | None = Field(description="the arm whose settings it takes; null: its own")
    learner: dict[str, Any]
    optimizer: dict[str, Any]
    space: list[SearchedRange] = Field(description="where its settings are searched; empty: nothing is tuned")
    trials: list[dict[str, Number]] = Field(
        description="settings tried so far, by JSON pointer; the first is as posted"
    )
    chosen: dict[str, Number] | None = Field(description="what tuning chose; null before, or untuned")


class LeftOut(BaseModel):
    """An arm that does not fit the network or the data set."""

    name: str
    role: str
    reason: str


class RunAnswer(BaseModel):
    """One job of a comparison."""

    stage: str = Field(description="tuning or final")
    arm: str
    trial: int
    seed: int
    job_id: str | None = Field(description="null: not made yet, or deleted")
    status: str
    metrics: dict[str, dict[str, Number]] | None
    cost: Cost | None
    error: Filled | None


class ComparisonAnswer(ComparisonSummary):
    """A comparison: what was asked, what it runs, each job, and the answer."""

    spec: dict[str, Any] = Field(description="as it was posted")
    resolved_spec: dict[str, Any] = Field(description="with every default written out")
    arms: list[ArmAnswer]
    left_out: list[LeftOut]
    power: dict[str, Number] = Field(description="how often a gap of this size is found, said before the run")
    rows: list[RunAnswer]
    result: dict[str, Any] | None = Field(
        description="statistics, bills, curves and sentences by arm, as stored when the last job had ended"
    )


def summary(row: Comparison, counts: dict[str, int]) -> dict[str, Any]:
    """The fields of a summary."""
    ended = sum(counts.get(status, 0) for status in ("succeeded", "failed", "cancelled", "expired", "deleted"))
    return {
        "id": row.id,
        "name": row.name,
        "labels": row.labels,
        "status": row.status,
        "phase": row.phase,
        "network": row.network,
        "dataset": row.dataset,
        "progress": {"runs": sum(counts.values()), "ended": ended, "by_status": counts},
        "sentence": row.sentence,
        "error": row.error,
        "created_at": rfc3339(row.created_at),
        "finished_at": rfc3339(row.finished_at),
        "version": row.version,
    }


def comparison_answer(row: Comparison, found: Sequence[Row], counts: dict[str, int]) -> ComparisonAnswer:
    """The whole comparison."""
    return ComparisonAnswer.model_validate(
        {
            **summary(row, counts),
            "spec": row.spec,
            "resolved_spec": row.resolved_spec,
            "arms": [_arm(arm, row.chosen) for arm in row.plan["arms"]],
            "left_out": row.plan["left_out"],
            "power": row.plan["power"],
            "rows": [_run(run) for run in found],
            "result": row.result,
        }
    )


def _arm(arm: dict[str, Any], chosen: dict[str, Any] | None) -> dict[str, Any]:
    job = arm["job"]
    kept = {name: arm[name] for name in ("name", "role", "tuned_as", "trials")}
    kept["space"] = arm.get("space", [])
    settings = None if chosen is None else chosen.get(arm["name"])
    return {**kept, "learner": job["learner"], "optimizer": job["optimizer"], "chosen": settings}


def _run(run: Row) -> dict[str, Any]:
    result = run.result or {}
    kept = {name: getattr(run, name) for name in ("stage", "arm", "trial", "seed", "job_id", "status", "error")}
    return {**kept, "metrics": result.get("metrics"), "cost": result.get("cost")}


def as_csv(found: Sequence[Row]) -> str:
    """One line for each job and figure; a job without a result has one line without a value."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for run in found:
        head = (run.stage, run.arm, run.trial, run.seed, run.job_id or "", run.status)
        figures = list(_figures(run.result)) if run.result else [("", "", "")]
        writer.writerows([*head, *figure] for figure in figures)
    return text.getvalue()


def _figures(result: dict[str, Any]) -> list[tuple[str, str, Any]]:
    found = [(split, name, value) for split, of in result["metrics"].items() for name, value in of.items()]
    cost = result.get("cost") or {}
    found += [("", name, cost[name]) for name in BILL if cost.get(name) is not None]
    joules = (cost.get("energy") or {}).get("joules")
    return found + ([] if joules is None else [("", "joules", joules)])
