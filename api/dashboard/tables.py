"""The tables of a job's page, from the answers that the API gives. ``static/job_tables.js`` builds the same."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

from api.answers import AttemptAnswer, Cost, JobAnswer
from api.dashboard.formats import NOTHING, duration, figure, prefixed, share, size, words
from api.dashboard.job_lines import metric_text
from api.routes.diagnostics import Diagnostics, Layer, Quantity
from api.routes.events import EventAnswer
from store.probe_tables import Probe
from store.tables import Artifact, Checkpoint


class Linked(TypedDict, total=False):
    """A cell that is more than text: a link, or a time."""

    text: str
    href: str
    time: str


Cell = str | Linked


@dataclass(frozen=True)
class Column:
    """A column: its head, whether it holds figures, and what they mean."""

    title: str
    number: bool = False
    note: str = ""


@dataclass(frozen=True)
class Table:
    """Cells by rows; the first cell of each row names it."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]


LAYER_QUANTITIES = (
    ("grad_norm", Column("Gradient norm", True, "L2 norm of what the optimizer was given, before clipping")),
    ("weight_norm", Column("Weight norm", True, "L2 norm before the update")),
    ("update_ratio", Column("Update ratio", True, "update norm over weight norm; about 0.001 is usual")),
    ("dead_share", Column("Dead units", True, "share that is zero on a whole probe batch")),
)
SPLITS = ("train", "validation", "test")


def result_table(job: JobAnswer, diagnostics: Diagnostics) -> Table:
    """Loss and metrics of each split: the result's, or the latest ones while the job runs."""
    metrics: dict[str, dict[str, float | None]]
    if job.result is not None:
        metrics = job.result.metrics
    else:
        measured = {"train": {"loss": diagnostics.network["loss"]} if "loss" in diagnostics.network else {}}
        measured |= diagnostics.splits
        metrics = {split: {name: _latest(found) for name, found in of.items()} for split, of in measured.items() if of}
    names = list(dict.fromkeys(name for of in metrics.values() for name in of))
    columns = [Column("Split"), *(Column(words(name).capitalize(), True) for name in names)]
    rows = [
        [split, *(metric_text(name, metrics[split].get(name)) for name in names)]
        for split in SPLITS
        if split in metrics
    ]
    return Table(columns, rows)


def _latest(quantity: Quantity) -> float | None:
    """NaN where the newest point is not finite."""
    return math.nan if quantity.count and quantity.latest is None else quantity.latest


def bill_table(cost: Cost | None, diagnostics: Diagnostics) -> Table:
    """What the job took, and the reason for what could not be measured."""
    if cost is None:
        return Table([], [])
    energy = cost.energy
    joules = NOTHING
    if energy is not None and energy.joules is not None:
        joules = f"{prefixed(energy.joules, 'J')} ({energy.source})"
    elif energy is not None and energy.reason:
        joules = f"not measured: {words(energy.reason)}"
    rows = [
        ["Time", duration(cost.wall_s)],
        ["Training", foretold(duration, cost, "training_s")],
        ["Processor time", duration(cost.cpu_s)],
        ["Arithmetic", prefixed(cost.flops, "FLOP")],
        ["Parameters", figure(cost.parameters)],
        ["Peak memory", foretold(size, cost, "peak_bytes")],
        ["Activations kept", size(_extra(cost, "memory", "activation_bytes"))],
        ["Energy", joules],
    ]
    overhead = diagnostics.measured.get("overhead_share")
    if isinstance(overhead, float):
        rows.append(["Share of measuring", share(overhead)])
    known = [row for row in rows if row[1] != NOTHING]
    return Table([Column("What"), Column("How much", True)], known)


def foretold(written: Callable[[float | None], str], cost: Cost, name: str) -> str:
    """A figure, and what the first steps of the job let expect."""
    actual, expected = _figure(getattr(cost, name, None)), _figure((cost.predicted or {}).get(name))
    return written(actual) if expected is None else f"{written(actual)} (first steps: {written(expected)})"


def _figure(value: object) -> float | None:
    return value if isinstance(value, int | float) else None


def _extra(cost: Cost, *path: str) -> float | None:
    """A figure that the bill may carry beside those that it always has."""
    found: Any = cost.model_extra
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    return found if isinstance(found, int | float) else None


def layer_table(diagnostics: Diagnostics) -> Table:
    """Where each layer stands; the last row is the whole network."""
    columns = [
        Column("Layer"),
        *(column for _, column in LAYER_QUANTITIES),
        Column("Alignment", True, "cosine with the true gradient of the same batch"),
        Column("Expected", True, "the cosine that a correct estimate of this kind reaches"),
        Column("Length ratio", True, "norm of the gradient over the norm of the true one"),
    ]
    rows = [[layer.layer, *_layer_cells(layer)] for layer in diagnostics.layers]
    if rows and "grad_norm" in diagnostics.network:
        whole = Layer(layer="whole network", alignment=None, quantities=diagnostics.network)
        latest = {name: diagnostics.network.get(f"alignment_{name}") for name in ("cosine", "expected", "norm_ratio")}
        aligned = [figure(found.latest) if found else NOTHING for found in latest.values()]
        rows.append([whole.layer, *_layer_cells(whole)[: len(LAYER_QUANTITIES)], *aligned])
    return Table(columns, rows)


def _layer_cells(layer: Layer) -> list[str]:
    cells = []
    for name, _ in LAYER_QUANTITIES:
        quantity = layer.quantities.get(name)
        latest = None if quantity is None else _latest(quantity)
        cells.append(share(latest) if name == "dead_share" else figure(latest))
    alignment = layer.alignment
    if alignment is None:
        return [*cells, NOTHING, NOTHING, NOTHING]
    return [*cells, figure(alignment.latest), figure(alignment.expected), figure(alignment.norm_ratio)]


def file_table(job_id: str, artifacts: Sequence[Artifact], checkpoints: Sequence[Checkpoint]) -> Table:
    """What the job left, and from what it could go on."""
    columns = [Column("File"), Column("Size", True), Column("SHA-256")]
    rows: list[list[Cell]] = [
        [{"text": row.name, "href": f"/v1/jobs/{job_id}/artifacts/{row.name}"}, size(row.size_bytes), row.sha256[:12]]
        for row in artifacts
    ]
    rows += [[f"checkpoint, step {figure(row.step)}", size(row.size_bytes), row.sha256[:12]] for row in checkpoints]
    return Table(columns, rows)


def probe_table(job_id: str, probes: Sequence[Probe]) -> Table:
    """Measurements that were asked for, newest first; each leads to its result."""
    columns = [Column("Probe"), Column("Status"), Column("At step", True), Column("Found")]
    rows: list[list[Cell]] = [
        [
            {"text": words(row.kind), "href": f"/v1/jobs/{job_id}/probes/{row.id}"},
            row.status,
            NOTHING if row.step is None else figure(row.step),
            _found(row),
        ]
        for row in probes
    ]
    return Table(columns, rows)


def _found(row: Probe) -> str:
    """The number that stands for a whole result, where there is one."""
    if row.error is not None:
        return str(row.error["message"])
    result = row.result or {}
    for name in ("largest", "trace"):
        if name in result:
            value = result[name]
            return f"{name} {figure(value)}" if value is not None else words(str(result.get("reason", NOTHING)))
    layers = result.get("layers")
    if row.kind == "effective_rank" and isinstance(layers, dict):
        return ", ".join(
            f"{name} {layer['value']:.1f} of {layer['most']}" for name, layer in layers.items() if layer.get("value")
        )
    if row.kind == "depth_utility" and isinstance(layers, dict):
        lost = ((name, layer["utility"].get("loss")) for name, layer in layers.items())
        return ", ".join(f"{name} {value:+.3g} loss" for name, value in lost if value is not None)
    return NOTHING


def attempt_table(attempts: Sequence[AttemptAnswer]) -> Table:
    """Executions, oldest first."""
    columns = [
        Column("No."),
        Column("Device"),
        Column("Host"),
        Column("Started"),
        Column("From step", True),
        Column("End"),
    ]
    rows: list[list[Cell]] = [
        [
            str(row.number),
            row.device or NOTHING,
            row.host,
            {"time": row.started_at},
            figure(row.resumed_from_step),
            words(row.exit_cause) if row.exit_cause else "under way",
        ]
        for row in attempts
    ]
    return Table(columns, rows)


def event_table(events: Sequence[EventAnswer]) -> Table:
    """The latest events, newest first."""
    columns = [Column("Time"), Column("Event"), Column("What")]
    rows: list[list[Cell]] = [
        [{"time": event.created_at}, event.type, _described(event.data)] for event in reversed(events)
    ]
    return Table(columns, rows)


def _described(detail: dict[str, Any]) -> str:
    """The fields of an event in one line."""
    parts = []
    for name, value in detail.items():
        if isinstance(value, dict):
            parts.append(f"{name} ({_described(value)})")
        elif value is not None:
            text = value[:12] if name == "sha256" and isinstance(value, str) else figure(value)
            parts.append(f"{words(name)} {text}")
    return ", ".join(parts)
