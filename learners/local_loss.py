"""Local losses (Nøkland and Eidnes 2019, arXiv 1901.06656): similarity matching, block by block.

The rule: S(x) holds the cosine similarities of all pairs of rows of x, each row less its own mean. A block's
output a_i passes a linear map h_i = V_i a_i, and g_i = dL_i / d(theta_i, V_i, M_i) with L_sim = mean (S(h_i) - S(Y))^2
over all pairs for one-hot labels Y, or L_predsim = (1 - beta) L(M_i a_i, y) + beta L_sim (section 2). The read-out
learns from the task's loss on the last block's output, detached like the rest.

What differs from the paper: the Frobenius norm is a mean over pairs, so that beta does not depend on the batch size;
heads have biases and read all of an output, where the paper pools images first; of a sequence the last step counts.
The loss of pairs is never split: micro-batches give the gradient of the whole batch, at one more forward pass.
"""

# B = rows, C = channels, D = features, K = classes, P = places of an image

from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from learners.heads import Heads, features, features_of
from learners.learner import Batch, Learner, ParameterGroup, StepReport, UpdateContext
from learners.local import LocalBlocks
from learners.networks.block_network import BlockNetwork
from learners.streams import Streams
from learners.task import Task, at_least_float32
from specs.architecture import Layout
from specs.learners.local_loss import LocalLossSpec

ALIKE = 1e-8
"""Norm of a row less its mean below which its entries are all alike."""


@final
class LocalLoss(Learner):
    """Each block learns to group rows as their labels do."""

    def __init__(self, spec: LocalLossSpec) -> None:
        self.spec = spec

    def setup(self, network: BlockNetwork, task: Task, streams: Streams) -> nn.Module | None:
        self.network = network
        self.task = task
        depth = len(network.blocks)
        own = nn.ModuleDict()
        own["similarities"] = self.maps = SimilarityMaps(network, streams)
        groups = self.maps.groups()
        self.heads: Heads | None = None
        if self.spec.loss == "predsim":
            own["heads"] = self.heads = Heads(network, range(depth), task, streams)
            groups = [(*mine, head) for mine, head in zip(groups, self.heads.groups(), strict=True)]
        if network.readout is None:
            # A lower segment has no read-out to report by.
            own["readout"] = self.stand_in = Heads(network, [depth - 1], task, streams.child("readout"))
            readout = ParameterGroup("own.readout", tuple(self.stand_in.parameters()), depth - 1)
        else:
            readout = ParameterGroup("readout", tuple(network.readout.parameters()), depth - 1)
        groups[-1] = (*groups[-1], readout)
        self._own = [group for mine in groups for group in mine]
        self._local = LocalBlocks(
            network,
            groups,
            detach=self.spec.detach,
            schedule=self.spec.schedule,
            steps_per_block=self.spec.steps_per_block,
        )
        return own

    def groups(self) -> list[ParameterGroup]:
        return [*self._local.groups, *self._own]

    def update(self, batch: Batch, context: UpdateContext) -> StepReport:
        labels_BK = F.one_hot(batch.y, self.task.outputs).to(torch.float32)
        wanted_BB = similarities(labels_BK)
        found: list[Tensor] = []

        def objective(index: int, y: Tensor) -> Tensor:
            loss = self._block_loss(index, y, batch.y, wanted_BB)
            if index < self._local.depth - 1:
                return loss
            scores_BK = self._read_out(y.detach() if self.spec.detach else y, batch.dt)
            found.append(self.task.loss(scores_BK, batch.y))
            return loss + found[0]

        several = sum(1 for _ in context.parts(batch)) > 1
        walk = self._local.update_in_parts if several else self._local.update
        losses = walk(batch, context, objective)
        (loss,) = found
        losses[-1] = losses[-1] - loss.detach()
        share = len(self._local.learning(context.step)) / self._local.depth
        quantities = {"local_loss": torch.stack(losses)}
        return StepReport(loss.detach(), 1.0 + several, share, quantities)

    def _block_loss(self, index: int, y: Tensor, labels_B: Tensor, wanted_BB: Tensor) -> Tensor:
        h_BD = at_least_float32(self.maps.read(index, y))
        similarity = (similarities(h_BD) - wanted_BB.to(h_BD.dtype)).square().mean()
        if self.heads is None:
            return similarity
        beta = self.spec.similarity_weight
        return (1 - beta) * self.task.loss(self.heads.score(index, y), labels_B) + beta * similarity

    def _read_out(self, y: Tensor, dt: Tensor | None) -> Tensor:
        if self.network.readout is None:
            return self.stand_in.score(0, y)
        scores_BK: Tensor = self.network.readout(y, None, dt)[0]
        return scores_BK

    def predict(self, x: Tensor, dt: Tensor | None = None) -> Tensor:
        scores: Tensor = self.network(x, dt)
        return scores if self.network.readout is not None else self.stand_in.score(0, scores)

    def reference(self, batch: Batch) -> Tensor:
        return self.task.loss(self.predict(batch.x, batch.dt), batch.y)


@final
class SimilarityMaps(nn.Module):
    """One linear map per block, whose outputs' similarities are matched: dense, or a 3 x 3 convolution of images.

    Of a mapped image, each channel's standard deviation over places counts.
    """

    def __init__(self, network: BlockNetwork, streams: Streams) -> None:
        super().__init__()
        shapes = network.shapes()[: len(network.blocks)]
        self.layouts: list[Layout] = [block.layout for block in network.stages[: len(shapes)]]
        with streams.initialising("similarities"):
            self.linear = nn.ModuleList(_map(s, layout) for s, layout in zip(shapes, self.layouts, strict=True))
        first = next(network.parameters())
        self.to(device=first.device, dtype=first.dtype)

    def read(self, index: int, y: Tensor) -> Tensor:
        """[B,D]: what is compared of block ``index``'s output."""
        if isinstance(self.linear[index], nn.Conv2d):
            mapped_BCP = at_least_float32(self.linear[index](y)).flatten(2)
            return mapped_BCP.std(2, correction=0)
        mapped_BD: Tensor = self.linear[index](features(y, self.layouts[index]))
        return mapped_BD

    def groups(self) -> list[tuple[ParameterGroup, ...]]:
        """One group per map, each to be finished with its block."""
        return [
            (ParameterGroup(f"own.similarities.{i}", tuple(linear.parameters()), i),)
            for i, linear in enumerate(self.linear)
        ]


def _map(shape: tuple[int, ...], layout: Layout) -> nn.Module:
    if layout == "image" and shape[1] * shape[2] > 1:
        return nn.Conv2d(shape[0], shape[0], 3, padding=1, bias=False)
    width = features_of(shape, layout)
    return nn.Linear(width, width, bias=False)


def similarities(x_BD: Tensor) -> Tensor:
    """Cosine similarities [B,B] of rows less their own means; a row of equal entries is like no other, and stays so."""
    centred_BD = x_BD - x_BD.mean(1, keepdim=True)
    norm_B1 = centred_BD.norm(dim=1, keepdim=True)
    varies_B1 = norm_B1 > ALIKE
    # Divided by a floor instead, a silent row would pull with the inverse of the floor.
    directions_BD = torch.where(varies_B1, centred_BD / torch.where(varies_B1, norm_B1, 1.0), 0.0)
    return directions_BD @ directions_BD.T
