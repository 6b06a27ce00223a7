"""Evolution strategies (Salimans et al. 2017, arXiv 1703.03864), dense or low-rank (Sarkar et al. 2025, EGGROLL,
arXiv 2511.16652).

The rule: g = 1/(n sigma) sum_i u_i E_i, u_i = L(theta + sigma E_i), E_i ~ N(0, I) (Algorithm 1, for a loss instead of a
reward), an unbiased estimate of the gradient of the smoothed loss E[L(theta + sigma E)]. Antithetic pairs evaluate +E
and -E. With ``rank`` a weight matrix has E = A B^T / sqrt(r), A and B normal, and x E^T = (x B) A^T / sqrt(r), so no E
is ever formed.

What differs from the papers: all members see the same rows and the same dropout masks; ties share a rank; g goes to any
optimizer, and no weight decay is added. Dense noise of a large tensor reads one short pool in windows, drawn anew for
every perturbation, where the first paper's workers share one table (``noise.py`` says what holds then). EGGROLL scales
its update by sqrt(n) and leaves sigma to the learning rate; here g is 1/(n sigma) times the sum with ``rank`` too.
"""

# B = rows, K = classes or targets, n = population, m = perturbations (n or n/2)

from typing import Literal, final

import torch
from torch import Tensor, nn

from learners.learner import Batch, Learner, ParameterGroup, StepReport, UpdateContext, network_groups
from learners.low_rank_population import LowRankPopulation
from learners.networks.block_network import BlockNetwork
from learners.population import DensePopulation, Population
from learners.streams import Streams
from learners.task import Task
from specs.learners.evolution_strategies import EvolutionStrategiesSpec


@final
class EvolutionStrategies(Learner):
    """A population of noisy copies votes on where to go."""

    def __init__(self, spec: EvolutionStrategiesSpec) -> None:
        self.spec = spec

    def setup(self, network: BlockNetwork, task: Task, streams: Streams) -> nn.Module | None:  # noqa: ARG002
        self.network = network
        self.task = task
        self._population: Population
        signs = (1.0, -1.0) if self.spec.antithetic else (1.0,)
        if self.spec.rank is None:
            self._population = DensePopulation(network, task, signs, self.spec.perturbation_scale)
        else:
            self._population = LowRankPopulation(network, task, signs, self.spec.perturbation_scale, self.spec.rank)
        return None

    def groups(self) -> list[ParameterGroup]:
        return network_groups(self.network)

    def update(self, batch: Batch, context: UpdateContext) -> StepReport:
        members, population = self.spec.perturbations, self.spec.population_size
        factor = 1 / (population * self.spec.perturbation_scale)
        with torch.no_grad():
            # Raw losses weigh a perturbation by itself, so that it need not be drawn twice.
            at_once = factor if self.spec.shaping == "raw" else None
            loss_sm = self._population.losses(batch, context, members, at_once=at_once)
            utility_sm = shaped(loss_sm.flatten(), self.spec.shaping).reshape(loss_sm.shape)
            weight_m = utility_sm[0] - utility_sm[1] if self.spec.antithetic else utility_sm[0]
            self._population.write(context, weight_m * factor)
            loss, deviation = loss_sm.mean(), loss_sm.std()
            ties = loss_sm.flatten().sort().values.diff() == 0
        quantities = {
            "population_loss_std": deviation,
            "population_loss_ties": ties.to(loss.dtype).mean(),
            "loss_resolution": deviation / (torch.finfo(loss.dtype).eps * loss.abs()),
        }
        return StepReport(loss, float(population), 0.0, quantities)

    def predict(self, x: Tensor, dt: Tensor | None = None) -> Tensor:
        scores_BK: Tensor = self.network(x, dt)
        return scores_BK

    def reference(self, batch: Batch) -> Tensor:
        return self.task.loss(self.network(batch.x, batch.dt), batch.y)


def shaped(loss_n: Tensor, shaping: Literal["raw", "z_score", "rank"]) -> Tensor:
    """What stands for the losses [n]: themselves, standard scores, or centred ranks."""
    if shaping == "raw":
        return loss_n
    if shaping == "z_score":
        deviation = loss_n.std(correction=0)
        return (loss_n - loss_n.mean()) / deviation.clamp_min(torch.finfo(loss_n.dtype).tiny)
    # Members below minus members above: equal losses share a rank, and a flat loss gives no direction.
    sorted_n = loss_n.sort().values
    below_n = torch.searchsorted(sorted_n, loss_n, side="left")
    above_n = len(loss_n) - torch.searchsorted(sorted_n, loss_n, side="right")
    return (below_n - above_n).to(loss_n.dtype) / (2 * (len(loss_n) - 1))
