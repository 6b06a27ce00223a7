"""Difference target propagation (Lee, Zhang, Fischer and Bengio 2015, arXiv 1412.7525).

The rule, for blocks h_i = f_i(h_i-1) with inverses g_i, the loss L and a row's own error:

    t_last = h_last - rate dL/dh_last                        the first target, below the read-out
    t_i-1 = h_i-1 + g_i(t_i) - g_i(h_i)                      the difference correction (section 2.3)
    L_i = |f_i(h_i-1) - t_i|^2 / 2                           what block i descends
    L_i^inv = |g_i(f_i(h_i-1 + noise)) - (h_i-1 + noise)|^2 / 2     what a learned inverse descends

The read-out descends L itself. With exact inverses a small rate makes the blocks follow J^-1 dL/dh_last, a Gauss-Newton
step, where backpropagation follows J^T dL/dh_last: the same for orthogonal weights without a nonlinearity.

What differs from the paper: the gradient of L_i is divided by ``target_rate``, so that it has the size of a
backpropagated one; blocks and inverses learn in the same step; a learned inverse ends like the block below it.
"""

# B = rows, K = classes or targets

from typing import final

import torch
from torch import Tensor, nn

from learners.inverses import ExactInverse, Inverse, LearnedInverse
from learners.learner import Batch, Learner, ParameterGroup, StepReport, UpdateContext, network_groups
from learners.networks.block import PlainBlock
from learners.networks.block_network import BlockNetwork
from learners.streams import Streams
from learners.task import Task
from specs.learners.target_propagation import TargetPropagationSpec


@final
class TargetPropagation(Learner):
    """Blocks that move towards targets."""

    def __init__(self, spec: TargetPropagationSpec) -> None:
        self.spec = spec

    def setup(self, network: BlockNetwork, task: Task, streams: Streams) -> nn.Module | None:
        if not len(network.blocks):
            raise ValueError("target_propagation trains blocks, and this network has none")
        self.network = network
        self.task = task
        # The last stage learns by the loss itself; the one below it gets the first target.
        self._parameters = [tuple(stage.parameters()) for stage in network.stages]
        self.inverses = self._inverses(network.shapes(), streams)
        first = next(network.parameters())
        own = nn.ModuleList(self.inverses).to(device=first.device, dtype=first.dtype)
        return own if self.spec.inverse == "learned" and len(own) else None

    def _inverses(self, shapes: list[tuple[int, ...]], streams: Streams) -> list[Inverse]:
        """g_i of every block that has a block below and a read-out above: 1 to last."""
        blocks = [stage for stage in self.network.stages[:-1] if isinstance(stage, PlainBlock)]
        assert len(blocks) == len(self.network.stages) - 1
        if self.spec.inverse == "exact":
            return [ExactInverse(block) for block in blocks[1:]]
        with streams.initialising("inverses"):
            return [LearnedInverse(shapes[i], blocks[i - 1], shapes[i - 1]) for i in range(1, len(blocks))]

    def groups(self) -> list[ParameterGroup]:
        if self.spec.inverse == "exact":
            return network_groups(self.network)
        return network_groups(self.network) + [
            ParameterGroup(f"own.inverses.{index}", tuple(inverse.parameters()), index)
            for index, inverse in enumerate(self.inverses, 1)
        ]

    def update(self, batch: Batch, context: UpdateContext) -> StepReport:
        *stages, last = self.network.stages
        entering, outputs = [batch.x], []
        for stage in stages:
            outputs.append(stage(entering[-1], None, batch.dt)[0])
            entering.append(outputs[-1].detach())
        top = entering[-1].detach().requires_grad_()
        loss = self.task.loss(last(top, None, batch.dt)[0], batch.y)
        (error,) = context.backward(loss, self._parameters[-1], top)
        losses = []
        reach = self.spec.target_rate * len(batch.x)
        # What a target is away from its output; a row's own error is that of the mean times the number of rows.
        away = -reach * error
        for index in reversed(range(len(stages))):
            context.backward(outputs[index], self._parameters[index], seed=(-away / reach).to(outputs[index].dtype))
            if index > 0:
                h, inverse = entering[index + 1].detach(), self.inverses[index - 1]
                with torch.no_grad():
                    away = inverse(h + away) - inverse(h)
                if self.spec.inverse == "learned":
                    losses.append(self._learn_inverse(index, entering[index], batch, context))
        rebuilt = {"reconstruction_loss": torch.stack(losses).mean()} if losses else {}
        return StepReport(loss.detach(), 2.0 if losses else 1.0, 1.0 if losses else 0.5, rebuilt)

    def _learn_inverse(self, index: int, h_below: Tensor, batch: Batch, context: UpdateContext) -> Tensor:
        """Writes the gradient of L_i^inv for the inverse of block ``index``; returns the loss, a mean over rows."""
        inverse = self.inverses[index - 1]
        with torch.no_grad():
            noise = context.per_row(f"rebuilt.{index}", h_below.shape[1:], "randn")
            noisy = h_below + self.spec.noise_scale * noise
            h, _ = self.network.stages[index](noisy, None, batch.dt)
        loss: Tensor = (inverse(h) - noisy).square().sum() / (2 * len(noisy))
        context.backward(loss, tuple(inverse.parameters()))
        return loss.detach()

    def predict(self, x: Tensor, dt: Tensor | None = None) -> Tensor:
        scores_BK: Tensor = self.network(x, dt)
        return scores_BK

    def reference(self, batch: Batch) -> Tensor:
        return self.task.loss(self.network(batch.x, batch.dt), batch.y)
