"""Watching for numbers that are not finite, and finding the layer where the first one arose."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from learners.build import Training
from learners.learner import Batch, ParameterGroup
from worker.diagnostics.dead_units import neutral_inputs

SMALL = 4096


class Diverged(Exception):
    """Training met a loss or a gradient that is not finite, and the job asks to stop there."""

    def __init__(self, step: int, origin: "Origin") -> None:
        super().__init__(f"at step {step} {origin.what} is not finite; first in {origin.layer}")
        self.step = step
        self.origin = origin


@dataclass(frozen=True)
class Origin:
    """Where the first number that is not finite stands. ``tensor``: input, weight, output, gradient or loss."""

    layer: str
    tensor: str

    @property
    def what(self) -> str:
        return "the loss" if self.tensor == "loss" else f"the {self.tensor}"


class GradientGuard:
    """Looks at each layer's smallest gradient before its step: NaN and infinity from above reach it.

    A bias's gradient is the sum of the layer's errors, so this reads a few hundred numbers instead of all. What
    passes it makes the next step's loss not finite, and is found there.
    """

    def __init__(self) -> None:
        self.layers: list[str] = []

    def admits(self, groups: Sequence[ParameterGroup], gradients: Sequence[Sequence[Tensor]]) -> bool:
        """False when a gradient is not finite; its layer is kept."""
        for group, written in zip(groups, gradients, strict=True):
            smallest = min(written, key=Tensor.numel)
            if not math.isfinite(smallest.sum().item()):
                self.layers.append(group.name)
        return not self.layers


@torch.no_grad()
def find_origin(training: Training, batch: Batch, step: int, gradient_layers: Sequence[str]) -> Origin:
    """The first layer, in the order of the forward pass, whose input, weights or output is not finite.

    The pass is that of the step: same rows, same masks, statistics untouched. If all outputs are finite, the fault
    arose on the way back: the highest layer whose gradient is not finite.
    """
    network = training.network
    x = neutral_inputs(batch.x, network.input_shape, network.input_layout)
    if not _finite(x):
        return Origin(network.names[0], "input")
    with network.passing(step, 0, batch.rows, "batch"):
        outputs = network.activities(x, batch.dt, detach=True)
    for name, stage, output in zip(network.names, network.stages, outputs, strict=True):
        if not all(_finite(parameter) for parameter in stage.parameters()):
            return Origin(name, "weight")
        if not _finite(output):
            return Origin(name, "output")
    order = [*network.names, *(group.name for group in training.groups)]
    found = [name for name in order if name in gradient_layers]
    return Origin(found[-1], "gradient") if found else Origin(network.names[-1], "loss")


def _finite(tensor: Tensor) -> bool:
    return bool(torch.isfinite(tensor).all().item())
