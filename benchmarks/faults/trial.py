"""One run of the suite, trained in this process as a worker's trainer would, and what was measured in it."""

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.faults.scenario import Body
from specs.job import JobSpec, steps_bound
from specs.reports import Report, Series
from specs.rule import Rule
from specs.signature import DataSignature
from worker.attempt import Attempt, WorkOrder, trained_layers
from worker.finite import Diverged
from worker.link import Link, Silence
from worker.origin import Origin
from worker.prepare import prepare

Key = tuple[str, str | None, str]
"""Quantity, layer (None: the whole network), split."""


@dataclass(frozen=True)
class Trial:
    """A run that ended. ``metrics`` are those of the test rows, None where training diverged."""

    spec: JobSpec
    points: Mapping[Key, tuple[list[int], list[float]]]
    metrics: dict[str, float | None] | None
    step: int
    origin: Origin | None
    rule: Rule
    signature: DataSignature
    layers: tuple[str, ...]
    parameters: dict[str, int]

    @property
    def planned_steps(self) -> int:
        """Steps of the whole job."""
        planned = steps_bound(self.spec.training, self.signature.rows_train)
        assert planned is not None
        return planned

    @property
    def grid(self) -> list[int]:
        """The logged steps."""
        return self.points["loss", None, "train"][0]


def run(job: Body, folder: Path) -> Trial:
    """Trains the job to its end, or to the step at which it diverged."""
    attempt = attempt_at(job, folder, link := Silence())
    metrics, origin = None, None
    try:
        metrics = attempt.run().metrics["test"]
    except Diverged as diverged:
        origin = diverged.origin
    training = attempt.loop.course.training
    layers = trained_layers(training)
    return Trial(
        spec=attempt.order.spec,
        points=_points(link.reports),
        metrics=metrics,
        step=attempt.loop.step,
        origin=origin,
        rule=training.rule,
        signature=attempt.order.signature,
        layers=tuple(group.name for group in layers),
        parameters={group.name: sum(p.numel() for p in group.parameters) for group in layers},
    )


def attempt_at(job: Body, folder: Path, link: Link | None = None) -> Attempt:
    """The job's attempt, before its first step."""
    return Attempt(_order(JobSpec.model_validate(job), folder), link or Silence(), folder=folder)


def _order(spec: JobSpec, folder: Path) -> WorkOrder:
    resolved = spec.resolved()
    answer = prepare(
        {
            "dataset": resolved["dataset"],
            "precision": spec.training.precision,
            "data_dir": str(folder / "data"),
            "prepared_dir": str(folder / "prepared"),
        }
    )
    if "error" in answer:
        raise ValueError(answer["error"]["message"])
    fields: dict[str, Any] = {"spec": resolved, "dataset": answer, "device": "cpu"}
    return WorkOrder.parse(fields)


def _points(reports: Iterable[Report]) -> dict[Key, tuple[list[int], list[float]]]:
    found: dict[Key, tuple[list[int], list[float]]] = {}
    for report in reports:
        if not isinstance(report, Series):
            continue
        at = 0
        for block in report.blocks:
            taken = list(struct.unpack_from(f"<{block.count}i", report.payload, at))
            at += 4 * block.count
            for quantity in block.quantities:
                read = np.frombuffer(report.payload, dtype="<f4", count=block.count, offset=at).tolist()
                at += 4 * block.count
                steps, values = found.setdefault((quantity, block.layer, block.split or "train"), ([], []))
                steps.extend(taken)
                values.extend(read)
    return found
