"""Memory that was not enough: how the job fails, and what would need less."""

import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

import torch

from specs.job import JobSpec
from specs.reports import Failure
from specs.verdicts import Evidence, Finding, Remedy, replacing
from worker.attempt import Attempt
from worker.diagnostics.verdicts.judge import fits

ADVICE: Final = "Smaller batch_size, micro_batch_size or activation_checkpointing need less."
WORTH_ITS_TIME: Final = 0.25
"""Share of the stored activations that checkpointing must save to be named first: it costs a second forward pass."""
_ON_CPU: Final = re.compile(r"you tried to allocate (\d+) bytes")
_ON_GPU: Final = re.compile(r"Tried to allocate ([\d.]+) (KiB|MiB|GiB)")
_UNITS: Final = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


def is_meant(error: BaseException) -> bool:
    """Whether this error says that memory was not enough. The CPU allocator has no exception class of its own."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)
    )


def failure(error: Exception, step: int | None) -> Failure:
    """The end of the job, with the sizes that the device tells."""
    return Failure(
        kind="cuda_oom" if isinstance(error, torch.OutOfMemoryError) else "oom",
        fault="resource",
        message=f"The device's memory is not enough: {error}. {ADVICE}"[:2000],
        step=step,
        detail=dict(_sizes(error)),
    )


def verdict(error: Exception, spec: JobSpec, attempt: Attempt | None) -> Finding:
    """What was asked for, what there was, and remedies with what they are expected to free.

    ``attempt`` is None where not even the network could be made.
    """
    step = 0 if attempt is None else attempt.loop.step + 1
    sizes: dict[str, float | None] = dict(_sizes(error))
    if attempt is not None:
        sizes["peak_bytes"] = float(attempt.loop.course.bill.memory.peak()["peak_bytes"])
        sizes["activation_bytes"] = attempt.loop.course.bill.activation_bytes
    return Finding(
        code="memory_bound",
        severity="error",
        first_step=step,
        last_step=step,
        evidence=Evidence(
            quantity="requested_bytes",
            value=sizes.pop("requested_bytes", None),
            threshold=sizes.pop("free_bytes", None),
            numbers=sizes,
            facts={"device": "cuda" if isinstance(error, torch.OutOfMemoryError) else "cpu"},
        ),
        remedies=tuple(remedy for remedy in _remedies(spec, attempt) if fits(remedy, spec)),
    )


def _remedies(spec: JobSpec, attempt: Attempt | None) -> list[Remedy]:
    rows = _rows_at_once(spec, attempt)
    stored, held = _activation_bytes(attempt, rows)
    smaller = list(_fewer_rows(spec, rows, stored))
    if not spec.learner.crosses_blocks or spec.training.activation_checkpointing != "none":
        return smaller
    saving = None if stored is None or held is None else stored - held
    recompute = replacing(
        "Recompute activations in the backward pass: the same gradient, one more forward pass.",
        {"/training/activation_checkpointing": "auto"},
        saving_bytes=saving,
    )
    first = saving is None or stored is None or saving >= WORTH_ITS_TIME * stored
    return [recompute, *smaller] if first else [*smaller[:1], recompute, *smaller[1:]]


def _fewer_rows(spec: JobSpec, rows: int | None, stored: int | None) -> Iterator[Remedy]:
    """Half as many rows at once. Below a micro-batch a smaller batch would save nothing."""
    if rows is None or rows < 2:
        return
    parts = "batch" if spec.training.micro_batch_size is None else "micro-batch"
    yield replacing(
        f"Work through each {parts} in halves: the same gradient.",
        {"/training/micro_batch_size": rows // 2},
        saving_bytes=None if stored is None else stored // 2,
    )
    if spec.training.micro_batch_size is None:
        yield replacing("Halve the batch.", {"/training/batch_size": rows // 2})


def _rows_at_once(spec: JobSpec, attempt: Attempt | None) -> int | None:
    """None where the batch is all rows, and there was no memory to see how many these are."""
    training = spec.training
    if training.micro_batch_size is not None:
        return training.micro_batch_size
    if training.batch_size != "full":
        return training.batch_size
    return None if attempt is None else len(attempt.loop.course.batches.rows)


def _activation_bytes(attempt: Attempt | None, rows: int | None) -> tuple[int | None, int | None]:
    """What the blocks store for a pass of so many rows, without checkpointing and with the lightest one."""
    if attempt is None or rows is None:
        return None, None
    with suppress(MemoryError, RuntimeError):  # there may be no memory left to measure in
        return attempt.loop.course.training.network.activation_bytes(rows)
    return None, None


def _sizes(error: Exception) -> dict[str, float]:
    sizes: dict[str, float] = {}
    if match := _ON_CPU.search(str(error)):
        sizes["requested_bytes"] = float(match.group(1))
    elif match := _ON_GPU.search(str(error)):
        sizes["requested_bytes"] = float(match.group(1)) * _UNITS[match.group(2)]
    if isinstance(error, torch.OutOfMemoryError) and torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        sizes |= {
            "free_bytes": free,
            "total_bytes": total,
            "allocated_bytes": torch.cuda.memory_allocated(),
            "peak_bytes": torch.cuda.max_memory_allocated(),
        }
    return sizes
