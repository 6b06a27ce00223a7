"""Backpropagation (Rumelhart, Hinton and Williams 1986, doi 10.1038/323533a0).

The rule: g = dL/dtheta for every parameter, by reverse-mode differentiation of the task's loss (plus, with
``auxiliary_heads``, ``weight`` times the sum of the losses of one linear head per block: deep supervision).
"""

# B = rows, K = classes or targets

from typing import final

from torch import Tensor, nn
from torch.nn import Parameter

from learners.heads import Heads
from learners.learner import Batch, Learner, ParameterGroup, StepReport, UpdateContext, network_groups
from learners.networks.block_network import BlockNetwork
from learners.streams import Streams
from learners.task import Task
from specs.learners.backprop import BackpropSpec


@final
class Backprop(Learner):
    """The exact gradient."""

    def __init__(self, spec: BackpropSpec) -> None:
        self.spec = spec

    def setup(self, network: BlockNetwork, task: Task, streams: Streams) -> nn.Module | None:
        self.network = network
        self.task = task
        self.heads: Heads | None = None
        if self.spec.auxiliary_heads is not None:
            self.heads = Heads(network, range(len(network.blocks)), task, streams)
        self._parameters: tuple[Parameter, ...] = tuple(p for group in self.groups() for p in group.parameters)
        return self.heads

    def groups(self) -> list[ParameterGroup]:
        return network_groups(self.network) + ([] if self.heads is None else self.heads.groups())

    def update(self, batch: Batch, context: UpdateContext) -> StepReport:
        if batch.needs_input_error:
            return self._update_with_input_error(batch, context)
        objective, loss = self._objective(batch.x, batch)
        context.backward(objective, self._parameters)
        return StepReport(loss.detach(), 1.0, 1.0)

    def _update_with_input_error(self, batch: Batch, context: UpdateContext) -> StepReport:
        x = batch.x.detach().requires_grad_()
        objective, loss = self._objective(x, batch)
        (input_error,) = context.backward(objective, self._parameters, x)
        return StepReport(loss.detach(), 1.0, 1.0, input_error=input_error)

    def _objective(self, x: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """What is differentiated, and the task's loss of the network's own scores."""
        if self.heads is None or self.spec.auxiliary_heads is None:
            loss = self.task.loss(self.network(x, batch.dt), batch.y)
            return loss, loss
        *hidden, scores_BK = self.network.activities(x, batch.dt, detach=False)
        loss = self.task.loss(scores_BK, batch.y)
        auxiliary = sum(self.task.loss(head, batch.y) for head in self.heads(hidden))
        return loss + self.spec.auxiliary_heads.weight * auxiliary, loss

    def predict(self, x: Tensor, dt: Tensor | None = None) -> Tensor:
        scores_BK: Tensor = self.network(x, dt)
        return scores_BK

    def reference(self, batch: Batch) -> Tensor:
        objective, _ = self._objective(batch.x, batch)
        return objective
