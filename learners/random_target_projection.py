"""Direct random target projection (Frenkel, Lefebvre and Bol 2021, arXiv 1909.01311).

The rule: a block's output follows d_l = -B_l^T y with the one-hot target y and a fixed random B_l, so that
g_l = (f'(z_l) * d_l) h_l-1^T. The read-out learns by its own error. No error is waited for: the target stands for the
error's sign, which is negative for the true class alone.

What differs from the paper: B is normal instead of Kaiming-uniform; inside a block of several operations the derivative
is exact; of a sequence the last step counts.
"""

# B = rows, K = classes, D = features of a block's output

from math import sqrt
from typing import final

import torch.nn.functional as F
from torch import Tensor, nn

from learners.feedback import Feedback
from learners.heads import features, features_of
from learners.learner import Batch, Learner, ParameterGroup, StepReport, UpdateContext, network_groups
from learners.networks.block_network import BlockNetwork
from learners.streams import Streams
from learners.task import Task
from specs.learners.random_target_projection import RandomTargetProjectionSpec


@final
class RandomTargetProjection(Learner):
    """Every block is told the label, through a matrix of its own."""

    def __init__(self, spec: RandomTargetProjectionSpec) -> None:
        self.spec = spec

    def setup(self, network: BlockNetwork, task: Task, streams: Streams) -> nn.Module | None:
        self.network = network
        self.task = task
        self._groups = network_groups(network)
        stages = zip(network.shapes(), network.stages[:-1], strict=False)
        shapes = [(task.outputs, features_of(shape, stage.layout)) for shape, stage in stages]
        deviation = self.spec.projection_scale / sqrt(task.outputs)
        self.projections = Feedback(shapes, [deviation] * len(shapes), network, streams, trained=False)
        return self.projections

    def groups(self) -> list[ParameterGroup]:
        return self._groups

    def update(self, batch: Batch, context: UpdateContext) -> StepReport:
        *below, last = zip(self.network.stages, self._groups, strict=True)
        x = batch.x
        for (stage, group), projection_KD in zip(below, self.projections.matrices, strict=True):
            y, _ = stage(x, None, batch.dt)
            followed_BD = features(y, stage.layout)
            target_BK = F.one_hot(batch.y, self.task.outputs).to(projection_KD.dtype) / len(batch.y)
            seed_BD = -target_BK @ projection_KD
            context.backward(followed_BD, group.parameters, seed=seed_BD.to(followed_BD.dtype))
            context.commit(group.name)
            x = y.detach()
        stage, group = last
        loss = self.task.loss(stage(x, None, batch.dt)[0], batch.y)
        context.backward(loss, group.parameters)
        # Without errors between blocks a backward pass is half of one: weights only.
        return StepReport(loss.detach(), 1.0, 0.5)

    def predict(self, x: Tensor, dt: Tensor | None = None) -> Tensor:
        scores_BK: Tensor = self.network(x, dt)
        return scores_BK

    def reference(self, batch: Batch) -> Tensor:
        return self.task.loss(self.predict(batch.x, batch.dt), batch.y)
