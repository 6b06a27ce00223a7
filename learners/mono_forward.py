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
from torch.nn import Parameter

from learners.heads import Heads
from learners.learner import Batch, Learner, ParameterGroup, StepReport, UpdateContext
from learners.local import learning_blocks
from learners.networks.block_network import BlockNetwork
from learners.networks.blocks import Block
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
        self._blocks: list[Block] = network.stages[: len(network.blocks)]
        depth = len(self._blocks)
        self.heads = Heads(network, range(depth if network.readout is None else depth - 1), task, streams)
        own = self.heads.groups()
        blocks = [
            ParameterGroup(network.names[i], tuple(block.parameters()), i) for i, block in enumerate(self._blocks)
        ]
        if network.readout is not None:
            own.append(ParameterGroup("readout", tuple(network.readout.parameters()), depth - 1))
        self._groups = [*blocks, *own]
        self._pairs: list[tuple[ParameterGroup, ParameterGroup]] = list(zip(blocks, own, strict=True))
        self._parameters: list[tuple[Parameter, ...]] = [(*a.parameters, *b.parameters) for a, b in self._pairs]
        return self.heads if len(self.heads.of_blocks) else None

    def groups(self) -> list[ParameterGroup]:
        return self._groups

    def update(self, batch: Batch, context: UpdateContext) -> StepReport:
        if not self.spec.detach:
            return self._update_jointly(batch, context)
        depth = len(self._blocks)
        learning = learning_blocks(self.spec.schedule, context.step, depth, self.spec.steps_per_block)
        losses = []
        x = batch.x
        for index, block in enumerate(self._blocks):
            learns = index in learning
            with torch.set_grad_enabled(learns):
                y, _ = block(x, None, batch.dt)
                loss = self.task.loss(self._score(index, y, batch.dt), batch.y)
            if learns:
                context.backward(loss, self._parameters[index])
                context.commit(*(group.name for group in self._pairs[index]))
            losses.append(loss.detach())
            x = y.detach()
        return self._report(losses, len(learning) / depth)

    def _update_jointly(self, batch: Batch, context: UpdateContext) -> StepReport:
        losses = []
        x = batch.x
        for index, block in enumerate(self._blocks):
            x, _ = block(x, None, batch.dt)
            losses.append(self.task.loss(self._score(index, x, batch.dt), batch.y))
        context.backward(torch.stack(losses).sum(), [p for own in self._parameters for p in own])
        return self._report([loss.detach() for loss in losses], 1.0)

    def _score(self, index: int, y: Tensor, dt: Tensor | None) -> Tensor:
        if self.network.readout is not None and index == len(self._blocks) - 1:
            scores_BK: Tensor = self.network.readout(y, None, dt)[0]
            return scores_BK
        return self.heads.score(index, y)

    def _report(self, losses: list[Tensor], share: float) -> StepReport:
        return StepReport(losses[-1], 1.0, share, {"head_loss": torch.stack(losses)})

    def predict(self, x: Tensor, dt: Tensor | None = None) -> Tensor:
        if self.network.readout is None:
            return self.heads.score(len(self._blocks) - 1, self.network(x, dt))
        scores_BK: Tensor = self.network(x, dt)
        return scores_BK

    def reference(self, batch: Batch) -> Tensor:
        return self.task.loss(self.predict(batch.x, batch.dt), batch.y)
