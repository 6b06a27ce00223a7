"""Evolution strategies beside evotorch: the same noise and the same losses give the same estimate."""

from importlib.util import find_spec
from random import SystemRandom

import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from learners.seeded import SeededGroup
from tests.learners.small_jobs import small_job

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(find_spec("evotorch") is None, reason="evotorch is not here: pip install evotorch"),
    pytest.mark.filterwarnings("ignore"),
]
SEED = SystemRandom().randrange(2**31)
SIGMA, PAIRS = 0.1, 8


@pytest.mark.parametrize(("shaping", "ranking"), [("raw", "raw"), ("rank", "centered")])
def test_estimate_is_the_packages_over_the_variance(shaping: str, ranking: str) -> None:
    """PGPE's gradient of the mean is sigma^2 times ours: it measures noise in the units of the weights."""
    # Imported here: what the package and its own dependencies warn of meanwhile is theirs.
    from evotorch.distributions import SymmetricSeparableGaussian

    learner = {"kind": "evolution_strategies", "population_size": 2 * PAIRS, "perturbation_scale": SIGMA}
    small = small_job({"kind": "mlp", "hidden": [4]}, {**learner, "shaping": shaping}, seed=SEED)
    network, batch, groups = small.training.network, small.batch, small.training.groups
    names = {p: name for name, p in network.named_parameters()}
    parameters = [p for group in groups for p in group.parameters]
    center = flat([p.detach() for p in parameters])
    solutions, losses = [], []
    for member in range(PAIRS):
        z = [one for group in groups for one in SeededGroup(group, small.training.context.streams, member).draw()]
        for sign in (1, -1):
            moved = [p.detach() + sign * SIGMA * one for p, one in zip(parameters, z, strict=True)]
            named = {names[p]: one for p, one in zip(parameters, moved, strict=True)}
            losses.append(small.training.task.loss(functional_call(network, named, (batch.x, batch.dt)), batch.y))
            solutions.append(flat(moved))
    gaussian = SymmetricSeparableGaussian(
        {"mu": center, "sigma": torch.full_like(center, SIGMA), "divide_mu_grad_by": "num_directions"},
        dtype=torch.float64,
    )
    theirs = gaussian.compute_gradients(
        torch.stack(solutions), torch.stack(losses).detach(), objective_sense="max", ranking_method=ranking
    )["mu"]
    ours = flat([gradient for group in small.gradients().values() for gradient in group])
    torch.testing.assert_close(ours, theirs / SIGMA**2, rtol=1e-8, atol=1e-11)
    assert not torch.allclose(ours, theirs, rtol=1e-2)


def flat(tensors: list[Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors])
