"""What a prediction costs, and which of the trained parameters it takes: the bill after training."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final

import torch
from torch import Tensor, nn

from learners.build import Training
from worker.batches import Rows
from worker.meters.energy import EnergyMeter
from worker.meters.flops import FlopMeter

MOST_ROWS: Final = 256
PASSES: Final = 3
SHORT: Final = "the predictions were over too soon for the counter"


def inference_bill(
    training: Training, rows: Rows, energy: EnergyMeter, *, autocast: Callable[[], AbstractContextManager[None]]
) -> dict[str, Any]:
    """Seconds, FLOPs and joules of a row by the learner's own prediction, and the parameters that it reaches.

    FLOPs are counted once; seconds are those of the fastest of a few passes over the same rows. Draws nothing and
    changes nothing: the mode of training is put back.
    """
    part = rows.slice(0, MOST_ROWS)
    training.eval()
    count = max(len(part), 1)
    before, begun = energy.joules(), time.monotonic()
    with torch.no_grad(), autocast():
        flops = FlopMeter()
        with flops.counting_evaluation(rows=count):
            training.learner.predict(part.x, part.dt)
        seconds = min(_passes(training, part))
    spent, long_enough = energy.joules(), time.monotonic() - begun >= energy.resolved_s
    joules = None
    if before is not None and spent is not None and long_enough:
        joules = (spent - before) / (count * (PASSES + 1))
    parameters = parameter_shares(training, part)
    training.train()
    return {
        "inference": {
            "rows": len(part),
            "seconds_per_row": seconds / count,
            "flops_per_row": flops.per_evaluation_row,
            "joules_per_row": joules,
            "joules_reason": None if joules is not None else SHORT if energy.available else energy.reading().reason,
        },
        **parameters,
    }


def _passes(training: Training, part: Rows) -> Iterator[float]:
    for _ in range(PASSES):
        begun = time.perf_counter()
        scores = training.learner.predict(part.x, part.dt)
        scores.sum().item()  # waits for the device
        yield time.perf_counter() - begun


def parameter_shares(training: Training, rows: Rows) -> dict[str, int]:
    """Numbers that a prediction reads, trained or not, those that it does not, and those that no step changes.

    Trained and frozen ones are all that the job holds, and so are deployed ones and those that are only in training.
    """
    modules: list[nn.Module] = [training.network, *([] if training.own is None else [training.own])]
    with torch.enable_grad(), _all_differentiable(modules):
        scores = training.learner.predict(*_two(rows))
    tensors = {id(t): t for module in modules for t in (*module.parameters(), *module.buffers())}
    reached = _reached(scores)
    if not reached:  # a prediction that keeps no graph: by the network alone
        reached = {id(parameter) for parameter in training.network.parameters()}
    statistics = {id(buffer) for buffer in training.network.buffers()}
    trained = {id(parameter) for group in training.groups for parameter in group.parameters}
    deployed = sum(tensor.numel() for key, tensor in tensors.items() if key in reached | statistics)
    return {
        "parameters_frozen": sum(tensor.numel() for key, tensor in tensors.items() if key not in trained),
        "parameters_deployed": deployed,
        "parameters_training_only": sum(tensor.numel() for tensor in tensors.values()) - deployed,
    }


@contextmanager
def _all_differentiable(modules: list[nn.Module]) -> Iterator[None]:
    """For the time being no parameter is frozen: a graph shows only those that are not."""
    frozen = [p for module in modules for p in module.parameters() if not p.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(True)
    try:
        yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)


def _two(rows: Rows) -> tuple[Tensor, Tensor | None]:
    part = rows.slice(0, 2)
    return part.x, part.dt


def _reached(scores: Tensor) -> set[int]:
    """Ids of the leaves of a graph. Nothing is differentiated."""
    found: set[int] = set()
    seen: set[Any] = set()
    waiting: list[Any] = [scores.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found.add(id(node.variable))
        waiting.extend(below for below, _ in node.next_functions)
    return found
