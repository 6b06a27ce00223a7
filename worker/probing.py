"""The process that measures: an order in, one answer in a file out, on the CPU and on one thread."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from specs.kinds import implementation
from specs.probes import ProbeRequest
from worker import bounded
from worker.attempt import Attempt, WorkOrder, trained_layers
from worker.checkpoint import restore_model
from worker.diagnostics.diagnostic import Layer, Scope
from worker.link import Silence
from worker.probes.probe import Probe, Trained
from worker.storable import storable


def run(order: Mapping[str, Any], *, folder: Path) -> None:
    """Measure what the order says within its limits, and write the answer whole or not at all."""
    bounded.answer(order, _measured, folder=folder)


def _measured(order: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    spec = ProbeRequest.model_validate_json(json.dumps(order["spec"])).root
    probe: Probe = implementation(spec, "worker.probes")(spec)
    trained, *others = (loaded(job, folder) for job in order["jobs"])
    torch.set_num_threads(1)
    return {"step": trained.step, "result": storable(probe.measure(trained, others[0] if others else None))}


def loaded(job: Mapping[str, Any], folder: Path) -> Trained:
    """A job with its final weights, or as its newest checkpoint left it. Raises ``CorruptCheckpoint``."""
    attempt = Attempt(WorkOrder.parse(job), Silence(), folder=folder)
    loop = attempt.loop
    if (path := job["weights"]) is not None:
        if len(loop.course.phases) > 1:
            loop.enter(len(loop.course.phases) - 1)
        restore_model(loop.course.training.network, loop.course.training.own, load_file(path))
    course = loop.course
    layers = tuple(
        Layer(Scope(group.name, place), group.parameters) for place, group in enumerate(trained_layers(course.training))
    )
    step = loop.step if job["weights"] is None else job["step"]
    return Trained(course.training, layers, step, course.batches.rows, course.validation)
