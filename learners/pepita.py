"""PEPITA (Dellaferrera and Kreiman 2022, arXiv 2201.11665): a second forward pass in place of a backward one.

The rule: a first pass gives activities h_l and the error e. A second pass starts from h'_0 = x + F e, F fixed and
random, and gives h'_l. Each layer's gradient is the product g_l = (h_l - h'_l) h'_(l-1)^T; the last layer's is
e' h'_(L-1)^T, with the error e' of the second pass (Algorithm 1). Dropout masks are the same in both passes.

What differs from the paper: layers may have biases, whose gradient is the same difference; means over rows, not sums;
parameters of a norm layer are not a product of two activities and stay as they are.
"""

# B = rows, I = inputs, K = classes or targets

import math
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from learners.learner import Batch, Learner, ParameterGroup, StepReport, UpdateContext
from learners.networks.block import PlainBlock
from learners.networks.block_network import BlockNetwork
from learners.streams import Streams
from learners.task import Task
from specs.learners.pepita import PepitaSpec


@final
class Pepita(Learner):
    """Each layer learns from what the error does to its activity when it comes in with the input."""

    def __init__(self, spec: PepitaSpec) -> None:
        self.spec = spec

    def setup(self, network: BlockNetwork, task: Task, streams: Streams) -> nn.Module | None:
        self.network = network
        self.task = task
        self._layers = [stage for stage in network.stages if isinstance(stage, PlainBlock)]
        if len(self._layers) != len(network.stages) or network.readout is None:
            raise ValueError("pepita trains chains of plain blocks with a read-out")
        self._parameters: list[tuple[Parameter, ...]] = [tuple(layer.synapse.parameters()) for layer in self._layers]
        self.feedback = InputFeedback(network, task.outputs, self.spec.feedback_scale, streams)
        return self.feedback

    def groups(self) -> list[ParameterGroup]:
        blocks = [*range(len(self.network.blocks)), None]
        return [
            ParameterGroup(name, parameters, block)
            for name, parameters, block in zip(self.network.names, self._parameters, blocks, strict=True)
        ]

    def update(self, batch: Batch, context: UpdateContext) -> StepReport:
        rows, last = len(batch.x), len(self._layers) - 1
        with torch.no_grad():
            clean = self.network.activities(batch.x, batch.dt, detach=True)
            loss = self.task.loss(clean[-1], batch.y)
            # The task's error is that of a mean; a row's own error modulates its input.
            h = batch.x + self.feedback(self.task.error(clean[-1], batch.y) * rows, batch.x)
        differences = []
        for index, layer in enumerate(self._layers):
            with torch.enable_grad():
                drive = layer.drive(h)
            with torch.no_grad():
                h = layer.activate(drive)
                difference = clean[index] - h
                seed = self.task.error(h, batch.y) if index == last else difference / rows
            # The drive is linear in its parameters: its gradient is the product of the seed and the layer's input.
            context.backward(drive, self._parameters[index], seed=seed.to(drive.dtype))
            differences.append(difference.square().mean().sqrt())
        return StepReport(loss, 2.0, 0.5, {"modulation": torch.stack(differences)})

    def predict(self, x: Tensor, dt: Tensor | None = None) -> Tensor:
        scores_BK: Tensor = self.network(x, dt)
        return scores_BK

    def reference(self, batch: Batch) -> Tensor:
        return self.task.loss(self.network(batch.x, batch.dt), batch.y)


@final
class InputFeedback(nn.Module):
    """F [I,K]: fixed random weights from errors to inputs."""

    weight_IK: Tensor

    def __init__(self, network: BlockNetwork, outputs: int, scale: float, streams: Streams) -> None:
        super().__init__()
        inputs = math.prod(network.input_shape)
        bound = scale * math.sqrt(6 / inputs)
        with streams.initialising("feedback"):
            weight_IK = torch.empty(inputs, outputs).uniform_(-bound, bound)
        first = next(network.parameters())
        self.register_buffer("weight_IK", weight_IK.to(device=first.device, dtype=first.dtype))

    def forward(self, error_BK: Tensor, x: Tensor) -> Tensor:
        """F e in the shape of x."""
        return (error_BK.to(self.weight_IK.dtype) @ self.weight_IK.T).reshape(x.shape)
