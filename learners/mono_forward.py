"""Mono-Forward (Gong, Li and Abdulla 2025, arXiv 2501.09238): a linear head per block, each block on its head's loss.

The rule: L_i = L(M_i a_i, y), g_i = dL_i / d(theta_i, M_i), in one forward pass; the network's read-out is the last
block's head. With ``detach: false`` the heads' losses are summed and pass between blocks (the paper's joint control).

What differs from the paper: heads have biases and read all of a block's output, which is not flattened for sequences
but taken at the last step; the nonlinearity is the network's own.
"""

# B = rows, K = classes or targets

from typing import final

import torch
from torch import Tensor, nn

from learners.heads import Heads
from learners.learner import Batch, Learner, ParameterGroup, StepReport, UpdateContext
from learners.local import LocalBlocks
from learners.networks.block_network import BlockNetwork
from learners.streams import Streams
from learners.task import Task
from specs.learners.mono_forward import MonoForwardSpec


@final
class MonoForward(Learner):
    """Each block learns from its own head."""

    def __init__(self, spec: MonoForwardSpec) -> None:
        self.spec = spec

    def setup(self, network: BlockNetwork, task: Task, streams: Streams) -> nn.Module | None:
        self.network = network
        self.task = task
        depth = len(network.blocks)
        self.heads = Heads(network, range(depth if network.readout is None else depth - 1), task, streams)
        own = self.heads.groups()
        if network.readout is not None:
            own.append(ParameterGroup("readout", tuple(network.readout.parameters()), depth - 1))
        self._own = own
        self._local = LocalBlocks(
            network,
            [[group] for group in own],
            detach=self.spec.detach,
            schedule=self.spec.schedule,
            steps_per_block=self.spec.steps_per_block,
        )
        return self.heads if len(self.heads.of_blocks) else None

    def groups(self) -> list[ParameterGroup]:
        return [*self._local.groups, *self._own]

    def update(self, batch: Batch, context: UpdateContext) -> StepReport:
        def objective(index: int, y: Tensor) -> Tensor:
            return self.task.loss(self._score(index, y, batch.dt), batch.y)

        losses = self._local.update(batch, context, objective)
        share = len(self._local.learning(context.step)) / self._local.depth
        return StepReport(losses[-1], 1.0, share, {"head_loss": torch.stack(losses)})

    def _score(self, index: int, y: Tensor, dt: Tensor | None) -> Tensor:
        if self.network.readout is not None and index == self._local.depth - 1:
            scores_BK: Tensor = self.network.readout(y, None, dt)[0]
            return scores_BK
        return self.heads.score(index, y)

    def predict(self, x: Tensor, dt: Tensor | None = None) -> Tensor:
        if self.network.readout is None:
            return self.heads.score(self._local.depth - 1, self.network(x, dt))
        scores_BK: Tensor = self.network(x, dt)
        return scores_BK

    def reference(self, batch: Batch) -> Tensor:
        return self.task.loss(self.predict(batch.x, batch.dt), batch.y)
