"""How jobs, results and problems look in a terminal."""

import json
from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from afterprop.answers import Job, Problem, Verdict
from afterprop.errors import ProblemError

STATUS_STYLE = {"succeeded": "green", "failed": "red", "cancelled": "yellow", "expired": "yellow", "running": "cyan"}
SEVERITY_STYLE = {"error": "red", "warning": "yellow"}
ID_WIDTH = 36
SCORES = ("accuracy", "mse", "loss")


def print_problem(problem: Problem, *, console: Console) -> None:
    """What the service refused, where in the request, and what it would have accepted."""
    title, detail = problem.get("title", "Refused"), problem.get("detail", "")
    console.print(f"{title} ({problem.get('status')})", style="bold red", highlight=False, markup=False)
    items = problem.get("errors") or []
    if detail and not (len(items) == 1 and detail.endswith(items[0].get("detail") or "\n")):  # else it stands below
        console.print(detail, highlight=False, markup=False)
    for item in items:
        console.print(f"  {item.get('pointer') or '/'}: {item.get('detail', '')}", highlight=False, markup=False)
        allowed = item.get("allowed")
        if allowed:
            shown = ", ".join(map(str, allowed)) if isinstance(allowed, list) else str(allowed)
            console.print(f"    allowed: {shown}", highlight=False, markup=False)
    if problem.get("request_id"):
        console.print(f"  request {problem['request_id']}", style="dim", highlight=False, markup=False)


def print_error(error: Exception, *, console: Console) -> None:
    if isinstance(error, ProblemError):
        print_problem(error.problem, console=console)
    else:
        console.print(str(error), style="red", highlight=False, markup=False)


def print_jobs(jobs: Iterable[Job], *, console: Console) -> None:
    whole_id = Column("id", no_wrap=True, min_width=ID_WIDTH)
    table = Table(whole_id, "status", "learner", "network", "data", "score", "name", box=None, header_style="bold")
    for job in jobs:
        status = job["status"]
        table.add_row(
            job["id"],
            Text(status, style=STATUS_STYLE.get(status, "")),
            *(kind_of(job, section) for section in ("learner", "network")),
            Text(data_of(job)),
            score_of(job),
            Text(job.get("name") or ""),
        )
    console.print(table)


def print_job(job: Job, *, url: str, console: Console) -> None:
    """One job: what it is, where it stands, what came of it."""
    rows: dict[str, str] = {
        "job": job["id"],
        "name": job.get("name") or "",
        "status": status_of(job),
        "learner": kind_of(job, "learner"),
        "network": kind_of(job, "network"),
        "data": data_of(job),
        "progress": progress_of(job),
        **result_rows(job),
        "page": f"{url}/jobs/{job['id']}",
    }
    table = Table(box=None, show_header=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for name, value in rows.items():
        if value:
            table.add_row(name, Text(value))
    console.print(table)


def print_verdicts(verdicts: Iterable[Verdict], *, console: Console) -> None:
    """What is wrong with a job, root causes first, and what would mend it."""
    for verdict in verdicts:
        first, last = verdict["first_step"], verdict["last_step"]
        steps = f"step {first}" if first == last else f"steps {first} to {last}"
        cause = f", explained by {verdict['caused_by']}" if verdict.get("caused_by") else ""
        style = SEVERITY_STYLE.get(verdict["severity"], "")
        head = f"{verdict['code']} in {verdict.get('layer') or 'the whole network'}, {steps}{cause}"
        console.print(head, style=style, highlight=False, markup=False)
        console.print(f"  {verdict['summary']} {evidence_of(verdict)}", highlight=False, markup=False)
        for index, remedy in enumerate(verdict["remedies"]):
            changes = ", ".join(change_of(operation) for operation in remedy["patch"])
            console.print(f"  remedy {index}: {remedy['title']} {changes}", highlight=False, markup=False)
        for applied in verdict["applied"]:
            helped = {True: "helped", False: "did not help", None: applied.get("reason")}[applied["helped"]]
            console.print(f"  tried in {applied['job_id']}: {helped}", highlight=False, markup=False)


def change_of(operation: dict[str, Any]) -> str:
    """One operation of a JSON Patch: ``/optimizer/lr = 0.01``."""
    if operation["op"] == "remove":
        return f"{operation['path']} removed"
    return f"{operation['path']} = {json.dumps(operation.get('value'), ensure_ascii=False)}"


def evidence_of(verdict: Verdict) -> str:
    """The measurement, its limit, and further numbers."""
    evidence = verdict["evidence"]
    parts = []
    if evidence.get("value") is not None:
        limit = evidence.get("threshold")
        side = "" if limit is None else f" ({evidence['comparison']} {number(limit)})"
        parts.append(f"{evidence['quantity']} {number(evidence['value'])}{side}")
    parts += [f"{name} {number(value)}" for name, value in evidence["numbers"].items() if value is not None]
    parts += [f"{name} {text}" for name, text in evidence["facts"].items()]
    return ", ".join(parts)


def result_rows(job: Job) -> dict[str, str]:
    """Error, metrics and bill, as far as there are any."""
    error, result = job.get("error"), job.get("result") or {}
    rows = {"error": f"{error.get('kind', '')}: {error.get('message', '')}"} if error else {}
    for split, metrics in (result.get("metrics") or {}).items():
        rows[split] = " · ".join(f"{name} {number(value)}" for name, value in metrics.items())
    cost = result.get("cost")
    if cost:
        rows["cost"] = f"{number(cost.get('wall_s'))} s · {scaled(cost.get('flops'))} FLOP · peak {peak_of(job)}"
        rows["energy"] = energy_of(job)
    return rows


def kind_of(job: Job, section: str) -> str:
    spec = job.get("resolved_spec") or job.get("spec") or {}
    return str((spec.get(section) or {}).get("kind", ""))


def data_of(job: Job) -> str:
    dataset = (job.get("resolved_spec") or job.get("spec") or {}).get("dataset") or {}
    return str(dataset.get("name") or dataset.get("path") or dataset.get("kind", ""))


def status_of(job: Job) -> str:
    reason = job.get("status_reason")
    return f"{job['status']}: {reason['message']}" if reason and reason.get("message") else job["status"]


def progress_of(job: Job) -> str:
    progress = job.get("progress") or {}
    parts = [
        f"{unit} {progress.get(unit)}{f'/{total}' if (total := progress.get(f'{unit}s')) else ''}"
        for unit in ("epoch", "step")
        if progress.get(unit) is not None
    ]
    return " · ".join(parts)


def score_of(job: Job) -> str:
    """The number that a reader compares: on the test rows if there are any."""
    metrics = (job.get("result") or {}).get("metrics") or {}
    for split in ("test", "validation", "train"):
        for name in SCORES:
            value = (metrics.get(split) or {}).get(name)
            if value is not None:
                return f"{name} {number(value)}"
    return ""


def energy_of(job: Job) -> str:
    """Joules, or the reason why there are none."""
    energy = ((job.get("result") or {}).get("cost") or {}).get("energy") or {}
    joules = energy.get("joules")
    if joules is not None:
        return f"{number(joules)} J ({energy.get('source')})"
    return f"none: {energy.get('reason') or 'not measured'}"


def peak_of(job: Job) -> str:
    peak = ((job.get("result") or {}).get("cost") or {}).get("peak_bytes")
    return "?" if peak is None else f"{peak / 1e6:.1f} MB"


def number(value: Any) -> str:
    """Four significant digits, whatever the size."""
    return "?" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def scaled(value: float | None) -> str:
    """A count with its power of a thousand: 12.3 G."""
    if value is None:
        return "?"
    for limit, prefix in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:.3g} {prefix}"
    return f"{value:.0f} "
