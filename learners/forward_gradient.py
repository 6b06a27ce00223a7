"""Forward gradient (Baydin et al. 2022, arXiv 2202.08587; Ren et al. 2023, arXiv 2210.03310).

The rule: g = (dL/dtheta . v) v with v ~ N(0, I) (Definition 1 of Baydin et al.). The slope is exact: dual numbers carry
it through one forward pass, and nothing runs backward. With ``perturb: activities`` (Ren et al., section 3) the output
z of a weight matrix moves along u, for every row b by itself: g_W = sum_b (dL/dz_b . u_b) u_b x_b^T. That is far less
noisy, since a row's slope is shared by its units instead of by all weights. With ``guess: local`` u is not random but
the direction in which a local loss falls, with a random sign (Fournier et al. 2023, arXiv 2306.06968): the estimate is
the true gradient's projection on it.

What differs from the papers: the error of the read-out's scores is known in closed form and not estimated; the mean is
over ``num_directions``; norms and other parameters that are no matrix, and all of blocks over sequences, move as
weights even where activities do. Where batch normalisation mixes rows, all rows share one slope.
"""

# B = rows, K = classes or targets

from collections.abc import Mapping
from contextlib import nullcontext
from typing import final

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import Parameter

from learners.dual_numbers import dual, dual_level, load_formulas, parts
from learners.learner import Batch, Learner, ParameterGroup, StepReport, UpdateContext, network_groups
from learners.local_guesses import LocalGuesses
from learners.networks.block_network import BlockNetwork
from learners.perturbed_activities import PerturbedActivities, synapses_with_rows_first
from learners.seeded import SeededGroup
from learners.streams import Streams
from learners.task import Task
from specs.learners.forward_gradient import ForwardGradientSpec


@final
class ForwardGradient(Learner):
    """Slopes along directions, by forward-mode differentiation."""

    def __init__(self, spec: ForwardGradientSpec) -> None:
        self.spec = spec

    def setup(self, network: BlockNetwork, task: Task, streams: Streams) -> nn.Module | None:
        load_formulas()
        self.network = network
        self.task = task
        self._synapses = synapses_with_rows_first(network) if self.spec.perturb == "activities" else []
        moved = {parameter for synapse in self._synapses for parameter in synapse.parameters()}
        self._as_weights = [
            ParameterGroup(group.name, kept, group.block)
            for group in network_groups(network)
            if (kept := tuple(p for p in group.parameters if p not in moved))
        ]
        self._parameters = [parameter for group in self._as_weights for parameter in group.parameters]
        self.guesses = LocalGuesses(network, task, streams) if self.spec.guess == "local" else None
        return None if self.guesses is None or not self.guesses.groups() else self.guesses

    def groups(self) -> list[ParameterGroup]:
        return network_groups(self.network) + ([] if self.guesses is None else self.guesses.groups())

    def update(self, batch: Batch, context: UpdateContext) -> StepReport:
        directions = self.spec.num_directions
        totals: list[Tensor] = []
        slopes = []
        moved = PerturbedActivities(self.network, self._synapses, self.guesses, batch.y) if self._synapses else None
        with torch.no_grad():
            for direction in range(directions):
                v = self._direction(context, context.step * directions + direction)
                moving = nullcontext() if moved is None else moved.moving(context, direction)
                with dual_level(), moving:
                    scores_BK, slopes_BK = self.along(batch, dict(zip(self._parameters, v, strict=True)))
                error_BK = self.task.error(scores_BK, batch.y)
                slope_B = (error_BK * slopes_BK).flatten(1).sum(1)
                slope = slope_B.sum()
                if moved is not None:
                    moved.take(slope.expand_as(slope_B) if self.network.mixes_rows else slope_B)
                own = [one.mul_((slope / directions).to(one.dtype)) for one in v]
                totals = [total.add_(one) for total, one in zip(totals, own, strict=True)] if totals else own
                slopes.append(slope.abs())
            context.write(self._parameters, totals)
            if moved is not None:
                moved.write(context, directions=directions, error_BK=error_BK)
            loss = self.task.loss(scores_BK, batch.y)
        forwards, backwards = (3.0, 0.0) if moved is None else (2.0, 0.5)
        return StepReport(loss, forwards * directions, backwards, {"slope": torch.stack(slopes).mean()})

    def along(self, batch: Batch, tangents: Mapping[Parameter, Tensor]) -> tuple[Tensor, Tensor]:
        """Scores [B,K] and their slopes [B,K] where the parameters move along ``tangents``; needs a dual level."""
        duals = {
            name: dual(parameter.detach(), tangents[parameter])
            for name, parameter in self.network.named_parameters()
            if parameter in tangents
        }
        moved_BK: Tensor = functional_call(self.network, duals, (batch.x, batch.dt))
        scores_BK, slopes_BK = parts(moved_BK)
        # Nothing moves in a linear model whose read-out's error is known.
        return scores_BK, torch.zeros_like(scores_BK) if slopes_BK is None else slopes_BK

    def _direction(self, context: UpdateContext, seed: int) -> list[Tensor]:
        """v for every parameter that moves as a weight: the same for all parts of a step."""
        return [v for group in self._as_weights for v in SeededGroup(group, context.streams, seed).draw()]

    def predict(self, x: Tensor, dt: Tensor | None = None) -> Tensor:
        scores_BK: Tensor = self.network(x, dt)
        return scores_BK

    def reference(self, batch: Batch) -> Tensor:
        return self.task.loss(self.network(batch.x, batch.dt), batch.y)
