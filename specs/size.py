"""How large a job is, by arithmetic alone: known at the door, before anything is allocated for it.

Lower bounds, but for the points: what a learner holds beside the network, activations and temporaries come on top. A
rehearsal (``/v1/estimates``) says more; this refuses what no machine need try.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic_core import PydanticCustomError

from specs.diagnostics import DIAGNOSTIC_KINDS, DiagnosticsSpec
from specs.limits import Limits
from specs.signature import DataSignature

if TYPE_CHECKING:
    from specs.job import JobSpec  # it reads this file's functions

BYTES = {"float64": 8, "float32": 4, "bfloat16": 4}
"""Of a stored number: with bfloat16 the master weights are float32."""


@dataclass(frozen=True)
class Size:
    """What a job needs at least; None where nobody knows beforehand. ``points`` is the most that it stores."""

    parameters: int | None
    memory_bytes: int | None
    checkpoint_bytes: int | None
    steps: int | None
    points: int | None


@dataclass(frozen=True)
class Excess:
    """One figure of a job above the limit of this name."""

    limit: str
    code: str
    pointer: str
    what: str
    estimate: float
    allowed: float


def size_of(job: "JobSpec", signature: DataSignature, *, steps: int | None) -> Size:
    """The size of ``job`` on data of this signature; ``steps`` as far as they are known."""
    extra = job.learner.extra_inputs(signature.task, signature.outputs)
    parameters = job.network.parameters(signature, extra_inputs=extra)
    points = None if steps is None else points_of(job.diagnostics, steps=steps, layers=job.network.depth + 1)
    if parameters is None:
        return Size(None, None, None, steps, points)
    number = BYTES[job.training.precision]
    stored = parameters * (1 + job.optimizer.numbers_per_weight())
    gradients = 0 if job.learner.in_place else parameters
    best = parameters if job.training.early_stopping is not None and job.training.early_stopping.restore_best else 0
    inputs = _rows_at_once(job, signature) * math.prod(signature.input_shape)
    return Size(
        parameters=parameters,
        memory_bytes=number * (stored + gradients + best + inputs),
        checkpoint_bytes=number * (stored + best),
        steps=steps,
        points=points,
    )


def points_of(diagnostics: DiagnosticsSpec, *, steps: int, layers: int) -> int:
    """Points that are stored at most, all series together: each of the whole network and of each layer."""
    points = 0
    for kind in DIAGNOSTIC_KINDS:
        every = diagnostics.alignment_every_steps if kind.needs_probe_step else diagnostics.every_steps
        name = kind.model_fields["kind"].default
        switched_on = kind.switch is None or getattr(diagnostics, kind.switch)
        if every is not None and switched_on and name not in diagnostics.leave_out:
            points += (steps // every + 2) * len(kind.quantities) * (layers + 1)
    return points


def refuse_excess(job: "JobSpec", signature: DataSignature, limits: Limits, *, steps: int | None) -> None:
    """Refuses a job that is larger than the service takes. Raises ``PydanticCustomError`` with estimate and limit."""
    for one in _excesses(job, size_of(job, signature, steps=steps), limits):
        raise _refusal(one)


def refuse_long_runtime(job: "JobSpec", limits: Limits) -> None:
    """Refuses a runtime above the service's. Raises ``PydanticCustomError``."""
    asked = job.limits.max_runtime_s
    if asked > limits.runtime_s:
        at = "/limits/max_runtime_s"
        raise _refusal(Excess("runtime_s", "runtime_above_limit", at, "seconds of runtime", asked, limits.runtime_s))


def _excesses(job: "JobSpec", size: Size, limits: Limits) -> Iterator[Excess]:
    if size.parameters is not None and size.parameters > limits.parameters:
        yield Excess("parameters", "too_many_parameters", "/network", "parameters", size.parameters, limits.parameters)
    if size.steps is not None and size.steps > limits.steps:
        yield Excess("steps", "too_many_steps", "/training", "steps", size.steps, limits.steps)
    if size.memory_bytes is not None and size.memory_bytes > limits.memory_bytes:
        yield Excess(
            "memory_bytes", "too_much_memory", "/training", "bytes of memory", size.memory_bytes, limits.memory_bytes
        )
    if size.checkpoint_bytes is not None:
        yield from _written(job, size.checkpoint_bytes, limits)
    if size.points is not None and size.points > limits.diagnostics_points:
        most = limits.diagnostics_points
        yield Excess("diagnostics_points", "too_many_points", "/diagnostics", "points", size.points, most)


def _written(job: "JobSpec", checkpoint_bytes: int, limits: Limits) -> Iterator[Excess]:
    if checkpoint_bytes > limits.checkpoint_bytes:
        what, most = "bytes in a checkpoint", limits.checkpoint_bytes
        yield Excess("checkpoint_bytes", "checkpoint_too_large", "/network", what, checkpoint_bytes, most)
    rate = checkpoint_bytes / job.training.checkpoint_every_s
    if rate > limits.checkpoint_bytes_per_s:
        what, most = "bytes of checkpoints a second", limits.checkpoint_bytes_per_s
        pointer = "/training/checkpoint_every_s"
        yield Excess("checkpoint_bytes_per_s", "checkpoints_too_often", pointer, what, rate, most)


def _rows_at_once(job: "JobSpec", signature: DataSignature) -> int:
    rows = signature.rows_train if job.training.batch_size == "full" else job.training.batch_size
    return rows if job.training.micro_batch_size is None else min(rows, job.training.micro_batch_size)


def _refusal(one: Excess) -> PydanticCustomError:
    context: dict[str, Any] = {
        "pointer": one.pointer,
        "allowed": int(one.allowed),
        "what": one.what,
        "estimate": f"{one.estimate:,.0f}",
        "most": f"{one.allowed:,.0f}",
        "limit": one.limit,
    }
    message = "the job would take {estimate} {what}; this service takes {most} (limit {limit})"
    return PydanticCustomError(one.code, message, context)
