"""The process that measures: an order in, one answer in a file out. It knows no SQL and no queue.

It runs where a trainer would, forked from the same template and under the same filter, on the CPU and on one thread.
"""

import json
import os
import resource
import signal
import traceback
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load_file

from specs.kinds import implementation
from specs.probes import ProbeRequest
from worker import out_of_memory
from worker.attempt import Attempt, DataMismatch, WorkOrder, trained_layers
from worker.checkpoint import CorruptCheckpoint, restore_model
from worker.diagnostics.diagnostic import Layer, Scope
from worker.link import Silence
from worker.probes.probe import Probe, Trained
from worker.storable import storable

ANSWER: Final = "answer.json"
_NICE: Final = 10
"""Jobs go first: a probe is looked at by a person, a job may be timed."""


def run(order: Mapping[str, Any], *, folder: Path) -> None:
    """Measure what the order says within its limits, and write the answer whole or not at all."""
    signal.alarm(int(order["limit_s"]) + 1)  # SIGALRM kills: whatever became of the worker, this ends
    with suppress(OSError):
        os.nice(_NICE)
    _limit_memory(order["limit_bytes"])
    try:
        answer = _measured(order, folder)
    except Exception as error:  # the outer door: whatever happened, the worker gets an answer
        answer = {"error": _error(error)}
    unfinished = folder / f"{ANSWER}.unfinished"
    unfinished.write_text(json.dumps(answer, allow_nan=False))
    unfinished.replace(folder / ANSWER)


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


def _limit_memory(more_bytes: int) -> None:
    """Lets the address space grow by so much; where the system does not say how large it is, nothing is limited."""
    with suppress(OSError, ValueError):
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        limit = pages * resource.getpagesize() + more_bytes
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


def _error(error: Exception) -> dict[str, str]:
    if out_of_memory.is_meant(error):
        return {"kind": "oom", "message": "The probe's memory is not enough; fewer rows need less."}
    for kind, name in ((CorruptCheckpoint, "checkpoint_corrupt"), (DataMismatch, "data_mismatch")):
        if isinstance(error, kind):
            return {"kind": name, "message": str(error)}
    traceback.print_exc()
    return {"kind": "internal", "message": f"{type(error).__name__}: {error}"}
