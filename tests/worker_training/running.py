"""Jobs trained in this process, without pipes: prepared data in, reports out."""

import itertools
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter

from specs.compatibility import kind_of
from specs.diagnostics import DIAGNOSTIC_KINDS
from specs.job import JobSpec
from specs.learners import LEARNER_SPECS
from specs.networks import NETWORK_SPECS, NetworkSpec
from specs.reports import Checkpoint, Report, Result, Series
from worker.attempt import Attempt, WorkOrder
from worker.link import Link
from worker.prepare import prepare

_numbers = itertools.count()

EVERYTHING_MEASURED = {"every_steps": 1, "alignment_every_steps": 1, "budget_percent": None}
EVERYTHING_THERE_IS = {
    **EVERYTHING_MEASURED,
    **{kind.switch: True for kind in DIAGNOSTIC_KINDS if kind.switch is not None},
}
"""With what is off by default."""
NOTHING_MEASURED = {"every_steps": None, "alignment_every_steps": None}

NETWORKS: dict[str, dict[str, Any]] = {
    **{name: {"kind": kind_of(spec), **fields} for spec in NETWORK_SPECS for name, fields in spec.small.items()},
    "mlp": {"kind": "mlp", "hidden": [12, 8], "dropout": 0.2, "norm": "layer"},
    "ltc auto_ncp": {"kind": "ltc", "hidden": [7], "wiring": "auto_ncp", "motor_neurons": 3, "ode_unfolds": 1},
}
LEARNERS: dict[str, dict[str, Any]] = {kind_of(rule): {"kind": kind_of(rule)} for rule in LEARNER_SPECS}
DIGITS = {"kind": "builtin", "name": "digits", "split": {"validation": 0.02, "test": 0.8, "seed": 1}}
EVENTS = {"kind": "synthetic", "name": "event_xor", "bits": 3, "rows": 120}


def job(learner: str, network: str, /, **sections: Any) -> dict[str, Any]:
    """A small job of this pair: 7 steps of uneven batches over two epochs, with clipping and momentum."""
    rule = next(rule for rule in LEARNER_SPECS if kind_of(rule) == learner)
    optimizer: dict[str, Any] = {"kind": "adam", "lr": 0.01, "clip_grad_norm": 1.0}
    if rule.optimizers is not None:
        optimizer = {"kind": min(rule.optimizers), "lr": 0.01}
    architecture = TypeAdapter(NetworkSpec).validate_python(NETWORKS[network])
    training = {"budget": {"kind": "steps", "value": 7}, "batch_size": 80, "seed": 3, **sections.pop("training", {})}
    made = {
        "dataset": EVENTS if architecture.misfit((1, 8, 8)) else DIGITS,
        "network": NETWORKS[network],
        "learner": LEARNERS[learner],
        "optimizer": optimizer,
        "training": training,
        "diagnostics": EVERYTHING_MEASURED,
    }
    return {**made, **sections}


class Listener(Link):
    """The other end: keeps all reports, and may ask for something after a report."""

    def __init__(self, answer: Callable[["Listener", Report], None] | None = None) -> None:
        self.reports: list[Report] = []
        self._answer = answer

    def send(self, report: Report) -> None:
        self.reports.append(report)
        if self._answer is not None:
            self._answer(self, report)

    def poll(self) -> None:
        """Nothing comes by itself."""

    def of(self, kind: type[Any]) -> list[Any]:
        return [report for report in self.reports if isinstance(report, kind)]


@dataclass
class Trained:
    """A job that ran to its end."""

    attempt: Attempt
    result: Result
    link: Listener

    @property
    def weights(self) -> dict[str, torch.Tensor]:
        return self.attempt.loop.course.training.network.state_dict()

    @property
    def series(self) -> dict[tuple[str, str | None, str | None], dict[int, float]]:
        return points(self.link.reports)


def prepared(spec: JobSpec, folder: Path, data_dir: Path | None = None) -> dict[str, Any]:
    answer = prepare(
        {
            "dataset": spec.resolved()["dataset"],
            "precision": spec.training.precision,
            "data_dir": None if data_dir is None else str(data_dir),
            "prepared_dir": str(folder.parent / "prepared"),
        }
    )
    assert "error" not in answer, answer
    return answer


def attempt(
    fields: Mapping[str, Any],
    folder: Path,
    *,
    link: Link | None = None,
    resume: Mapping[str, Any] | None = None,
    data_dir: Path | None = None,
    device: str = "cpu",
) -> Attempt:
    """An attempt that has not begun, in a folder of its own."""
    spec = JobSpec.model_validate(fields)
    own = folder / f"attempt-{next(_numbers)}"
    own.mkdir()
    order = {"spec": spec.resolved(), "dataset": prepared(spec, folder, data_dir), "device": device, "resume": resume}
    return Attempt(WorkOrder.parse(order), link or Listener(), folder=own)


def train(fields: Mapping[str, Any], folder: Path, **options: Any) -> Trained:
    """The job, trained to its end."""
    link = options.pop("link", None) or Listener()
    made = attempt(fields, folder, link=link, **options)
    return Trained(made, made.run(), link)


def points(reports: list[Report]) -> dict[tuple[str, str | None, str | None], dict[int, float]]:
    """All series as {(quantity, layer, split): {step: value}}. A step that comes twice is an error."""
    found: dict[tuple[str, str | None, str | None], dict[int, float]] = {}
    for key, step, value in _points(reports):
        series = found.setdefault(key, {})
        assert step not in series, (key, step)
        series[step] = value
    return found


def _points(reports: list[Report]) -> Iterator[tuple[tuple[str, str | None, str | None], int, float]]:
    for report in reports:
        if not isinstance(report, Series):
            continue
        at = 0
        for block in report.blocks:
            steps = struct.unpack_from(f"<{block.count}i", report.payload, at)
            at += 4 * block.count
            for quantity in block.quantities:
                values = np.frombuffer(report.payload, dtype="<f4", count=block.count, offset=at)
                at += 4 * block.count
                for step, value in zip(steps, values.tolist(), strict=True):
                    yield (quantity, block.layer, block.split), step, value
        assert at == len(report.payload)


def last_checkpoint(link: Listener) -> dict[str, Any]:
    """The newest checkpoint as a work order names it."""
    import hashlib

    report = link.of(Checkpoint)[-1]
    digest = hashlib.sha256(Path(report.path).read_bytes()).hexdigest()
    return {"path": report.path, "sha256": digest, "step": report.step}
