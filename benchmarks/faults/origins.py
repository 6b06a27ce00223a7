"""NaN put into one tensor of one layer at one step, on the way forward or on the way back alone."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

import torch
from torch import Tensor

from benchmarks.faults.bases import BASES
from benchmarks.faults.scenario import Body
from benchmarks.faults.trial import attempt_at
from learners.learner import Batch
from learners.networks.block import Block, PlainBlock
from worker.attempt import Attempt
from worker.finite import Diverged

STEP: Final = 4
"""Steps that are done before: one-based, the fifth goes wrong."""


@dataclass(frozen=True)
class Injection:
    """Where the number stands that is not finite, and what the worker must name."""

    base: str
    layer: str
    tensor: Literal["input", "weight", "output", "gradient"]
    value: float = math.nan
    job: Body = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "job", BASES[self.base])


def _everywhere(base: str, tensors: tuple[Any, ...], *layers: str) -> list[Injection]:
    return [Injection(base, layer, tensor) for layer in layers for tensor in tensors]


ALL: Final = ("weight", "output", "gradient")
INJECTIONS: Final[tuple[Injection, ...]] = (
    *_everywhere("backprop relu adam", ALL, "blocks.0", "blocks.1", "readout"),
    *_everywhere("backprop cnn", ALL, "blocks.0", "blocks.1"),
    *_everywhere("backprop gru", ALL, "blocks.0"),
    *_everywhere("backprop residual", ("weight", "gradient"), "blocks.5"),
    *_everywhere("backprop transformer", ("output", "gradient"), "blocks.1"),
    *_everywhere("mono_forward", ("weight", "output"), "blocks.1"),
    *_everywhere("feedback_alignment", ("weight", "output"), "blocks.0"),
    *_everywhere("backprop wine", ("input", "gradient"), "blocks.0"),
    Injection("backprop deep layer norm", "blocks.7", "output", math.inf),
    Injection("backprop deep layer norm", "blocks.3", "gradient", math.inf),
)


def found_at(injection: Injection, folder: Path) -> tuple[str, str, int] | None:
    """Layer, tensor and step (counted from 1) that the worker names; None where it saw nothing."""
    attempt = attempt_at(injection.job, folder)
    _inject(injection, attempt)
    try:
        attempt.run()
    except Diverged as diverged:
        return diverged.origin.layer, diverged.origin.tensor, diverged.step
    return None


def _inject(injection: Injection, attempt: Attempt) -> None:
    """From here on the fifth step goes wrong whenever it is run, also when the worker runs it again to look closely."""
    course = attempt.loop.course
    network = course.training.network
    stage = dict(zip(network.names, network.stages, strict=True))[injection.layer]
    at, running = course.batches.at, [-1]

    def spoilt_at(step: int) -> Batch:
        running[0] = step
        batch = at(step)
        if step == STEP and injection.tensor == "weight":
            with torch.no_grad():
                next(stage.parameters()).view(-1)[0] = injection.value
        return replace(batch, x=_spoilt(batch.x, injection.value)) if _is_now("input") else batch

    def _is_now(*tensors: str) -> bool:
        return running[0] == STEP and injection.tensor in tensors

    def pass_on(output: Any) -> Any:
        if not _is_now("output", "gradient"):
            return output
        y, *rest = output if isinstance(output, tuple) else (output,)
        y = _spoilt(y, injection.value) if injection.tensor == "output" else _spoilt_on_the_way_back(y, injection.value)
        return (y, *rest) if isinstance(output, tuple) else y

    course.batches.at = spoilt_at  # type: ignore[method-assign]
    _answer_through(stage, pass_on)


def _answer_through(stage: Block, pass_on: Callable[[Any], Any]) -> None:
    """Rules that settle or compete call a plain block's second half by itself, others the whole."""
    method = "activate" if isinstance(stage, PlainBlock) else "forward"
    original = getattr(type(stage), method)

    def answer(self: Block, *inputs: Any, **named: Any) -> Any:
        return pass_on(original(self, *inputs, **named))

    stage.__class__ = type("Spoilt", (type(stage),), {method: answer})


def _spoilt(tensor: Tensor, value: float) -> Tensor:
    bad = torch.zeros_like(tensor)
    bad.view(-1)[-1] = value
    return tensor + bad


def _spoilt_on_the_way_back(y: Tensor, value: float) -> Tensor:
    if y.requires_grad:
        y = y.view_as(y)
        y.register_hook(lambda gradient: gradient + value)
    return y
