"""Rehearsals: a few steps of a job on made-up rows, from which its memory and its time are foretold. Nothing is kept.

They run in a trainer of their own, by the code that trains: no learner knows that it is being estimated. ``count``
takes steps on so few rows that they fit anywhere, and doubles them; ``rehearse`` takes some of the job's own size.
"""

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, final

import numpy as np
import torch
from torch import Tensor

from specs.job import JobSpec
from specs.reports import Progress, Report
from specs.signature import DataSignature
from specs.training import BudgetSpec
from worker.attempt import Attempt, WorkOrder
from worker.batches import load_rows
from worker.evaluation import CHUNK_ROWS
from worker.free_memory import free_bytes
from worker.link import Link
from worker.memory_forecast import rows_of_step
from worker.meters.memory import MemoryMeter

FIRST_ROWS: Final = 8
LONGEST_COUNT_S: Final = 0.4
"""Rows are not doubled further once so long a step was taken ..."""
ENOUGH_BYTES: Final = 64 << 20
"""... or once it took so many bytes: from there on they grow evenly with the rows."""
EPOCH_BATCHES: Final = 4
"""Rows of a rehearsal in batches; a job that has no more is rehearsed with its last, smaller batch."""
NEVER: Final = 10_000_000


@final
class Pace(Link):
    """The other end of a rehearsal: notes the clock of training, and the processor's, whenever it hears of a step."""

    def __init__(self) -> None:
        self.clock: Callable[[], float] = time.perf_counter
        self._marks: list[tuple[int, float, float]] = []

    def send(self, report: Report) -> None:
        if isinstance(report, Progress):
            self._marks.append((report.step, self.clock(), time.process_time()))

    def poll(self) -> None:
        """Nothing comes."""

    def first_step_s(self) -> float:
        """Of the first step, in which everything is counted."""
        return self._marks[0][1]

    def seconds_per_step(self) -> float | None:
        """Of the steps after the first one."""
        return self._per_step(1)

    def processor_s_per_step(self) -> float | None:
        """The same of the processor's time, diagnostics included, which does not depend on who else computes."""
        return self._per_step(2)

    def _per_step(self, clock: Literal[1, 2]) -> float | None:
        first, last = self._marks[0], self._marks[-1]
        return (last[clock] - first[clock]) / (last[0] - first[0]) if last[0] > first[0] else None


def count(fields: Mapping[str, Any]) -> dict[str, Any]:
    """By phase: bytes and FLOPs of a step at some numbers of rows, up to the job's own where that is quick."""
    order = WorkOrder.parse(fields)
    meter = MemoryMeter(torch.device("cpu"))
    phases = [_counts(variant, order, meter) for variant in _phases(order.spec)]
    return {"phases": phases, "free_bytes": _free_bytes(order.device)}


def rehearse(fields: Mapping[str, Any]) -> dict[str, Any]:
    """One phase at the job's own batch, on as many steps as the order says: bytes and seconds as measured."""
    order = WorkOrder.parse(fields)
    variant = list(_phases(order.spec))[fields["phase"]]
    batch = rows_of_step(variant, order.signature)[1]
    rows = {
        "train": min(order.signature.rows_train, max(EPOCH_BATCHES * batch, CHUNK_ROWS)),
        "validation": min(order.signature.rows_validation, CHUNK_ROWS),
        "test": min(order.signature.rows_test, CHUNK_ROWS),
    }
    spec = _shortened(variant, steps=fields["steps"], rows=batch, micro=variant.training.micro_batch_size)
    attempt, pace = _attempt(spec, order, rows)
    result = attempt.run()
    bill = attempt.loop.course.bill
    return {
        "peak_bytes": result.cost["peak_bytes"],
        "data": sum(bytes_of_rows(Path.cwd(), split) for split in rows),
        "activation_bytes": bill.activation_bytes,
        "live_bytes": bill.live_bytes,
        "flops_per_step": bill.flops.per_step,
        "seconds_per_step": pace.seconds_per_step(),
        "processor_s_per_step": pace.processor_s_per_step(),
        "first_step_s": pace.first_step_s(),
        "seconds_per_row": result.cost["inference"]["seconds_per_row"],
        "besides_s": result.cost["wall_s"] - result.cost["training_s"],
        "steps": fields["steps"],
    }


def _counts(spec: JobSpec, order: WorkOrder, meter: MemoryMeter) -> list[dict[str, Any]]:
    most, _ = rows_of_step(spec, order.signature)
    rows, seen = min(FIRST_ROWS, most), list[dict[str, Any]]()
    while True:
        seen.append(_counted(spec, order, meter, rows))
        enough = len(seen) > 1 and seen[-1]["live_bytes"] > ENOUGH_BYTES
        if rows == most or enough or seen[-1]["seconds"] > LONGEST_COUNT_S:
            return seen
        rows = min(2 * rows, most)


def _counted(spec: JobSpec, order: WorkOrder, meter: MemoryMeter, rows: int) -> dict[str, Any]:
    """Two steps of so many rows; what they were taken with is gone afterwards."""
    gc.collect()  # an attempt is a ring of references: the last one's weights would still be there
    short = _shortened(spec, steps=2, rows=rows, micro=None)
    quiet = short.diagnostics.model_copy(update={"every_steps": None, "alignment_every_steps": None})
    attempt, pace = _attempt(
        short.model_copy(update={"diagnostics": quiet}), order, {"train": 2 * rows, "validation": 0, "test": 0}
    )
    attempt.loop.run()
    grown = meter if order.device == "cpu" else attempt.loop.course.bill.memory
    return {
        "rows": rows,
        **_point(attempt),
        "seconds": pace.seconds_per_step() or 0.0,
        "peak_bytes": grown.peak()["peak_bytes"],
    }


def _point(attempt: Attempt) -> dict[str, Any]:
    course = attempt.loop.course
    training, bill = course.training, course.bill
    trained = [parameter for group in training.groups for parameter in group.parameters]
    own = [] if training.own is None else [*training.own.parameters(), *training.own.buffers()]
    return {
        "parameters": sum(parameter.numel() for parameter in trained),
        "weights": _nbytes([*training.network.parameters(), *training.network.buffers()]),
        "own": _nbytes(own),
        "gradients": 0 if training.rule.in_place else _nbytes(trained),
        "optimizer": _nbytes(list(training.optimizers.state_tensors().values())),
        "activation_bytes": bill.activation_bytes or 0,
        "live_bytes": bill.live_bytes or 0,
        "flops": bill.flops.per_step or 0.0,
    }


def _free_bytes(device: str) -> int | None:
    return free_bytes() if device == "cpu" else int(torch.cuda.mem_get_info()[0])


def _nbytes(tensors: Sequence[Tensor]) -> int:
    return sum({tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}.values())


def _phases(spec: JobSpec) -> Iterator[JobSpec]:
    """The job, once for each phase, as if it were made of that one alone."""
    for phase in spec.learner.course():
        optimizer = phase.optimizer or spec.optimizer
        yield spec.model_copy(update={"learner": phase.rule, "optimizer": optimizer})


def _shortened(spec: JobSpec, *, steps: int, rows: int, micro: int | None) -> JobSpec:
    changes = {
        "epochs": None,
        "budget": BudgetSpec(kind="steps", value=steps),
        "batch_size": rows,
        "micro_batch_size": micro,
        "early_stopping": None,
        "evaluate_every_epochs": NEVER,
        "on_nan": "continue",  # the rows are noise
    }
    return spec.model_copy(update={"training": spec.training.model_copy(update=changes)})


def _attempt(spec: JobSpec, order: WorkOrder, rows: Mapping[str, int]) -> tuple[Attempt, Pace]:
    signature = order.signature.model_copy(update={f"rows_{split}": number for split, number in rows.items()})
    _write_rows(Path.cwd(), signature, spec.training.precision)
    pace = Pace()
    attempt = Attempt(
        WorkOrder(spec, Path.cwd(), order.dataset_sha256, signature, order.device, None), pace, folder=Path.cwd()
    )
    pace.clock = lambda: attempt.loop.course.bill.training.seconds
    return attempt, pace


def _write_rows(folder: Path, signature: DataSignature, precision: str) -> None:
    """Noise of the data set's shapes, where prepared data would stand."""
    kind = np.dtype("float64" if precision == "float64" else "float32")
    draw = np.random.default_rng(0)
    for split in ("train", "validation", "test"):
        rows = getattr(signature, f"rows_{split}")
        np.save(folder / f"{split}_x.npy", draw.random((rows, *signature.input_shape), dtype=kind.type))
        targets = np.arange(rows) % signature.outputs
        if signature.task == "regression":
            targets = draw.random((rows, signature.outputs), dtype=kind.type)
        np.save(folder / f"{split}_y.npy", targets)
        if signature.has_dt:
            times = 0.5 + draw.random((rows, signature.input_shape[0]), dtype=kind.type)
            np.save(folder / f"{split}_dt.npy", times)


def bytes_of_rows(folder: Path, split: Any) -> int:
    """Bytes of a split as it is held."""
    rows = load_rows(folder, split, device=torch.device("cpu"))
    return sum(tensor.nbytes for tensor in (rows.x, rows.y, rows.dt) if tensor is not None)


ORDERS: Final[Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]]] = {"count": count, "rehearse": rehearse}
