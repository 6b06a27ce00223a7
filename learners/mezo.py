"""MeZO (Malladi et al. 2023, arXiv 2305.17333): zeroth-order descent in the memory of inference.

The rule (Algorithm 1): rho = (L(theta + eps z) - L(theta - eps z)) / (2 eps), theta <- theta - lr rho z, where z is
drawn again from its seed each time it is needed.

What differs from the paper: the mean over ``num_directions`` is one step along the sum of its directions (SPSA's mean,
not consecutive steps); dropout, where the network has any, uses the same masks on both sides; z of a large tensor reads
one short pool in windows: uncorrelated, but not jointly normal (``noise.py``). Its low-rank form, where no noise is
added to a weight matrix, is ``evolution_strategies`` with one antithetic pair, raw losses and a rank.
"""

# B = rows, K = classes or targets

from typing import final

import torch
from torch import Tensor, nn

from learners.learner import Batch, Learner, ParameterGroup, StepReport, UpdateContext, network_groups
from learners.networks.block_network import BlockNetwork
from learners.streams import Streams
from learners.task import Task
from specs.learners.mezo import MezoSpec


@final
class Mezo(Learner):
    """Slopes along random directions, by two forward passes each."""

    def __init__(self, spec: MezoSpec) -> None:
        self.spec = spec

    def setup(self, network: BlockNetwork, task: Task, streams: Streams) -> nn.Module | None:  # noqa: ARG002
        self.network = network
        self.task = task
        self._names = [group.name for group in network_groups(network)]
        return None

    def groups(self) -> list[ParameterGroup]:
        return network_groups(self.network)

    def update(self, batch: Batch, context: UpdateContext) -> StepReport:
        directions = self.spec.num_directions
        first_seed = context.step * directions
        slopes, losses = [], []
        with torch.no_grad():
            for seed in range(first_seed, first_seed + directions):
                slope, loss = self._probe(batch, context, seed)
                slopes.append(slope)
                losses.append(loss)
        slope_n = torch.stack(slopes)
        context.apply_seeded(self._names, first_seed, slope_n / directions)
        # The mean of the two sides is the loss before the update, up to eps squared.
        loss = torch.stack(losses).mean()
        slope = slope_n.abs().mean()
        difference = 2 * self.spec.perturbation_scale * slope
        quantities = {
            "projected_slope": slope,
            "loss_difference": difference,
            "loss_resolution": difference / (torch.finfo(loss.dtype).eps * loss.abs()),
        }
        return StepReport(loss, 2.0 * directions, 0.0, quantities)

    def _probe(self, batch: Batch, context: UpdateContext, seed: int) -> tuple[Tensor, Tensor]:
        """The slope along z(seed), and the mean loss of its two sides. The weights come back up to rounding."""
        epsilon = self.spec.perturbation_scale
        context.add_seeded(self._names, seed, epsilon)
        above = self._loss(batch, context)
        context.add_seeded(self._names, seed, -2 * epsilon)
        below = self._loss(batch, context)
        context.add_seeded(self._names, seed, epsilon)
        return (above - below) / (2 * epsilon), (above + below) / 2

    def _loss(self, batch: Batch, context: UpdateContext) -> Tensor:
        losses = [part.weight * self.task.loss(self.network(part.x, part.dt), part.y) for part in context.parts(batch)]
        return torch.stack(losses).sum() if len(losses) > 1 else losses[0]

    def predict(self, x: Tensor, dt: Tensor | None = None) -> Tensor:
        scores_BK: Tensor = self.network(x, dt)
        return scores_BK

    def reference(self, batch: Batch) -> Tensor:
        return self.task.loss(self.network(batch.x, batch.dt), batch.y)
