"""The bytes of a job, by component and at most, from counts and rehearsals: arithmetic alone."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from specs.estimate import MemoryForecast
from specs.job import JobSpec
from specs.signature import DataSignature

CPU: Final = "cpu"
OUT_OF_NOISE_BYTES: Final = 16 << 20
MOST_BUFFERS: Final = 2.0
Point = Mapping[str, Any]


def extended(points: Sequence[Point], quantity: str, rows: float) -> float:
    """The quantity at ``rows``, along the line through the last two counts; through zero where there is but one."""
    last = points[-1]
    if len(points) < 2:
        proportional: float = last[quantity] * rows / last["rows"]
        return proportional
    before = points[-2]
    slope: float = max(0.0, (last[quantity] - before[quantity]) / (last["rows"] - before["rows"]))
    along: float = last[quantity] + slope * (rows - last["rows"])
    return along


def rows_of_step(spec: JobSpec, signature: DataSignature) -> tuple[int, int]:
    """Rows of one pass, and of one step."""
    batch = signature.rows_train if spec.training.batch_size == "full" else spec.training.batch_size
    micro = spec.training.micro_batch_size
    return batch if micro is None or spec.learner.whole_batch else min(batch, micro), batch


def tensor_bytes(points: Sequence[Point], rows: int) -> float:
    """Weights, the learner's own tensors, and all that a step on so many rows makes."""
    return float(points[-1]["weights"] + points[-1]["own"] + extended(points, "live_bytes", rows))


def memory_forecast(
    spec: JobSpec,
    signature: DataSignature,
    phases: Sequence[Sequence[Point]],
    rehearsed: Sequence[Point | None],
    *,
    device: str,
) -> MemoryForecast:
    """Of the phase that takes most. A rehearsal's bytes are measured; a count's are extended along a line."""
    rows, batch = rows_of_step(spec, signature)
    needs = [tensor_bytes(points, rows) for points in phases]
    largest = needs.index(max(needs))
    points, data = phases[largest], data_bytes(spec, signature, device)
    heard = [one for one in rehearsed if one is not None]
    if len(heard) == len(rehearsed):
        activations = max(one["activation_bytes"] or 0 for one in heard)
        peak = max(one["peak_bytes"] + (0 if device == CPU else data - one["data"]) for one in heard)
        tensors = points[-1]["weights"] + points[-1]["own"] + max(one["live_bytes"] or 0 for one in heard)
    else:
        # The rows of a micro-batch are a view: what is stored of them holds the whole batch.
        view = (batch - rows) * _input_bytes(spec, signature)
        activations = round(extended(points, "activation_bytes", rows)) + view
        # A count takes bare steps: a probe's true gradient and the copy of the weights that is saved come on top.
        tensors = round(max(needs)) + points[-1]["weights"] + points[-1]["gradients"]
        peak = round(max(tensors + data, *(_grown(one, rows) for one in phases)))
    last = points[-1]
    known = last["weights"] + last["own"] + last["gradients"] + last["optimizer"] + activations
    working = max(0, tensors - known)
    return MemoryForecast(
        weights=last["weights"],
        gradients=last["gradients"],
        optimizer=last["optimizer"],
        own_tensors=last["own"],
        activations=activations,
        working=working,
        process=max(0, peak - data - known - working),
        data=data,
        peak_bytes=peak,
        basis="rehearsed" if len(heard) == len(rehearsed) else "counted",
    )


def _grown(points: Sequence[Point], rows: int) -> float:
    """What a process came to at the last count, and grows by until it has so many rows.

    It grows by more than its tensors where kernels take buffers of their own. How much more, two counts say whose
    tensors differ by enough to stand out of the noise.
    """
    last, more = points[-1], extended(points, "live_bytes", rows) - points[-1]["live_bytes"]
    ratio = 1.0
    if len(points) > 1 and last["live_bytes"] - points[-2]["live_bytes"] > OUT_OF_NOISE_BYTES:
        measured = last["peak_bytes"] - points[-2]["peak_bytes"]
        ratio = min(MOST_BUFFERS, max(1.0, measured / (last["live_bytes"] - points[-2]["live_bytes"])))
    return float(last["peak_bytes"] + last["weights"] + last["gradients"] + ratio * more)


def data_bytes(spec: JobSpec, signature: DataSignature, device: str) -> int:
    """Rows in the job's own memory: on a GPU all of them, on a CPU, where the files are mapped, those of a batch."""
    target = signature.outputs * _width(spec) if signature.task == "regression" else 8
    row = _input_bytes(spec, signature) + target
    if device != CPU:
        return row * (signature.rows_train + signature.rows_validation + signature.rows_test)
    return 0 if spec.training.batch_size == "full" else row * spec.training.batch_size


def _input_bytes(spec: JobSpec, signature: DataSignature) -> int:
    times = signature.input_shape[0] if signature.has_dt else 0
    return (math.prod(signature.input_shape) + times) * _width(spec)


def _width(spec: JobSpec) -> int:
    return 8 if spec.training.precision == "float64" else 4
