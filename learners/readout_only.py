"""Read-out only: the control. Random features under a linear model (Rahimi and Recht 2007).

The rule: g = dL/dtheta for the read-out; every other parameter keeps its initial value. Batch statistics, where the
network keeps any, do move: they are not trained.
"""

# B = rows, K = classes or targets

from typing import final

import torch
from torch import Tensor, nn

from learners.learner import Batch, Learner, ParameterGroup, StepReport, UpdateContext
from learners.networks.block_network import BlockNetwork
from learners.streams import Streams
from learners.task import Task
from specs.learners.readout_only import ReadoutOnlySpec


@final
class ReadoutOnly(Learner):
    """A trained read-out on a frozen network."""

    def __init__(self, spec: ReadoutOnlySpec) -> None:
        self.spec = spec

    def setup(self, network: BlockNetwork, task: Task, streams: Streams) -> nn.Module | None:  # noqa: ARG002
        if network.readout is None:
            raise ValueError("a segment without a read-out has nothing for readout_only to train")
        self.network = network
        self.task = task
        self._readout = network.readout
        self._parameters = tuple(network.readout.parameters())
        return None

    def groups(self) -> list[ParameterGroup]:
        return [ParameterGroup("readout", self._parameters, None)]

    def update(self, batch: Batch, context: UpdateContext) -> StepReport:
        with torch.no_grad():
            x = batch.x
            for stage in self.network.stages[:-1]:
                x, _ = stage(x, None, batch.dt)
        scores_BK, _ = self._readout(x, None, batch.dt)
        loss = self.task.loss(scores_BK, batch.y)
        context.backward(loss, self._parameters)
        return StepReport(loss.detach(), 1.0, 1.0 / len(self.network.stages))

    def predict(self, x: Tensor, dt: Tensor | None = None) -> Tensor:
        scores_BK: Tensor = self.network(x, dt)
        return scores_BK

    def reference(self, batch: Batch) -> Tensor:
        return self.task.loss(self.network(batch.x, batch.dt), batch.y)
