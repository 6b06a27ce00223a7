"""From rehearsals to an estimate: arithmetic alone, nothing is run."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from specs.estimate import Estimate, MemoryForecast, Obstacle, SecondsBasis
from specs.job import JobSpec, steps_bound, steps_per_epoch
from specs.signature import DataSignature
from worker.memory_forecast import Point, data_bytes, extended, memory_forecast, rows_of_step, tensor_bytes

TRAIN_ROWS_EVALUATED: Final = 10_000
SLOWEST_STEP_S: Final = 3.0
"""A step that is expected to take longer is not rehearsed ..."""
SHARE_OF_ROOM: Final = 0.5
"""... nor is one that is expected to take more of the free memory."""
REHEARSED_S: Final = 1.5
MOST_REHEARSED: Final = 400


def rehearsal_steps(points: Sequence[Point], spec: JobSpec, signature: DataSignature, room: int | None) -> int | None:
    """How many steps of a phase to rehearse; None where one would take too much memory or time."""
    rows, batch = rows_of_step(spec, signature)
    step_s = extended(points, "seconds", rows) * batch / rows
    if step_s > SLOWEST_STEP_S or (room is not None and tensor_bytes(points, rows) > SHARE_OF_ROOM * room):
        return None
    return max(4, min(MOST_REHEARSED, math.ceil(REHEARSED_S / max(step_s, 1e-6))))


def estimate(
    spec: JobSpec,
    signature: DataSignature,
    counted: Mapping[str, Any],
    rehearsed: Sequence[Point | None],
    *,
    device: str,
) -> Estimate:
    """The estimate of a job by its phases' counts and, as far as they were taken, rehearsals."""
    rows, batch = rows_of_step(spec, signature)
    phases: list[Sequence[Point]] = counted["phases"]
    flops = [
        extended(points, "flops", rows) * batch / rows if heard is None else heard["flops_per_step"]
        for points, heard in zip(phases, rehearsed, strict=True)
    ]
    seconds = [
        extended(points, "seconds", rows) * batch / rows if heard is None else heard["seconds_per_step"]
        for points, heard in zip(phases, rehearsed, strict=True)
    ]
    shares, notes = _shares(spec, signature)
    step_flops, step_s = _mean(flops, shares), _mean(seconds, shares)
    steps, basis = _length(spec, signature, step_flops, step_s)
    training_s = None
    if basis == "budget" and spec.training.budget is not None:
        training_s = spec.training.budget.value
    elif steps is not None:
        training_s = _training_s(spec, signature, phases, step_s, steps)
        if rehearsed[0] is not None:
            training_s += max(0.0, rehearsed[0]["first_step_s"] - step_s)  # it is counted, and therefore slow
    if basis is None:
        basis = "rehearsed" if all(heard is not None for heard in rehearsed) else "counted"
    memory = memory_forecast(spec, signature, phases, rehearsed, device=device)
    wall_s = None if training_s is None else training_s + _evaluation_s(spec, signature, rehearsed, steps)
    room = counted["free_bytes"]
    obstacles = tuple(_obstacles(spec, memory, room, wall_s))
    if spec.training.early_stopping is not None:
        notes.append("early stopping may end training sooner")
    return Estimate(
        device=device,
        parameters=max(points[-1]["parameters"] for points in phases),
        memory=memory,
        steps=steps,
        flops_per_step=step_flops,
        flops=None if steps is None else steps * step_flops * _filled(spec, signature, steps),
        seconds_per_step=step_s,
        training_s=training_s,
        wall_s=wall_s,
        seconds_basis=None if training_s is None else basis,
        available_bytes=room,
        fits=False if obstacles else None if room is None else True,
        why_not=obstacles,
        notes=tuple(notes),
    )


def too_large(spec: JobSpec, signature: DataSignature, *, room: int | None, device: str) -> Estimate | None:
    """The estimate of a job whose weights, with as many bytes of gradients, are more than there is room for."""
    extra = spec.learner.extra_inputs(signature.task, signature.outputs)
    count = spec.network.parameters(signature, extra_inputs=extra)
    if count is None or room is None:
        return None
    width = 8 if spec.training.precision == "float64" else 4
    if 2 * width * count <= room:
        return None
    message = f"weights and gradients alone take {2 * width * count:,} bytes; {room:,} are free"
    return Estimate(
        device=device,
        parameters=count,
        memory=MemoryForecast(weights=width * count, data=data_bytes(spec, signature, device), basis="arithmetic"),
        steps=steps_bound(spec.training, signature.rows_train),
        available_bytes=room,
        fits=False,
        why_not=(Obstacle(code="memory", message=message),),
    )


def _shares(spec: JobSpec, signature: DataSignature) -> tuple[list[float], list[str]]:
    """Each phase's share of the steps."""
    course = spec.learner.course()
    if len(course) == 1:
        return [1.0], []
    per_epoch = steps_per_epoch(spec.training, signature.rows_train)
    planned = steps_bound(spec.training, signature.rows_train)
    ends = [phase.until.steps(per_epoch) for phase in course[:-1] if phase.until is not None]
    if planned is None or any(end is None for end in ends):
        note = "nobody knows beforehand when a phase ends: all phases are taken to be equally long"
        return [1 / len(course)] * len(course), [note]
    counts = [float(end or 0) for end in ends]
    return [steps / planned for steps in (*counts, planned - sum(counts))], []


def _mean(values: Sequence[float], shares: Sequence[float]) -> float:
    return sum(value * share for value, share in zip(values, shares, strict=True))


def _length(
    spec: JobSpec, signature: DataSignature, step_flops: float, step_s: float
) -> tuple[int | None, SecondsBasis | None]:
    """Steps, and the basis where the budget itself says the seconds."""
    budget = spec.training.budget
    if budget is not None and budget.kind == "seconds":
        return (max(1, round(budget.value / step_s)) if step_s > 0 else None), "budget"
    if budget is not None and budget.kind == "flops" and step_flops > 0:
        return max(1, math.ceil(budget.value / step_flops)), None
    return steps_bound(spec.training, signature.rows_train), None


def _filled(spec: JobSpec, signature: DataSignature, steps: int) -> float:
    """Rows of all steps by those of as many whole batches: the last batch of an epoch is smaller."""
    batch = rows_of_step(spec, signature)[1]
    epochs, rest = divmod(steps, steps_per_epoch(spec.training, signature.rows_train))
    return (epochs * signature.rows_train + min(rest * batch, signature.rows_train)) / (steps * batch)


def _training_s(
    spec: JobSpec, signature: DataSignature, phases: Sequence[Sequence[Point]], step_s: float, steps: int
) -> float:
    """Of all steps. What a step takes whatever its rows, the optimizer above all, a smaller batch takes too."""
    fixed = [
        max(0.0, extended(points, "seconds", 0) / max(extended(points, "seconds", points[-1]["rows"]), 1e-9))
        for points in phases
    ]
    share = min(1.0, sum(fixed) / len(fixed))
    return steps * step_s * (share + (1 - share) * _filled(spec, signature, steps))


def _evaluation_s(
    spec: JobSpec, signature: DataSignature, rehearsed: Sequence[Point | None], steps: int | None
) -> float:
    """Of all evaluations, as far as their pace was measured."""
    last = rehearsed[-1]
    if last is None or steps is None:
        return 0.0
    training = spec.training
    epochs = steps // steps_per_epoch(training, signature.rows_train)
    rows = epochs // training.evaluate_every_epochs * signature.rows_validation
    rows += min(signature.rows_train, TRAIN_ROWS_EVALUATED) + (signature.rows_test if training.evaluate_test else 0)
    return float(rows * last["seconds_per_row"])


def _obstacles(spec: JobSpec, memory: MemoryForecast, room: int | None, wall_s: float | None) -> list[Obstacle]:
    found = []
    if room is not None and memory.peak_bytes is not None and memory.peak_bytes > room:
        message = f"training takes {memory.peak_bytes:,} bytes at once; {room:,} are free"
        found.append(Obstacle(code="memory", message=message))
    if wall_s is not None and wall_s > spec.limits.max_runtime_s:
        message = f"training takes {wall_s:,.0f} s; limits.max_runtime_s is {spec.limits.max_runtime_s:,.0f}"
        found.append(Obstacle(code="time_limit", message=message))
    return found
