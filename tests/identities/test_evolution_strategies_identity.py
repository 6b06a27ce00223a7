"""Evolution strategies: the estimate's mean is the smoothed loss's gradient; low-rank noise is what it stands for."""

import math
from random import SystemRandom

import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from learners.evolution_strategies import EvolutionStrategies, shaped
from learners.learner import Batch
from learners.low_rank_population import PASS_BYTES, LowRankPopulation
from learners.seeded import SeededGroup
from learners.streams import Streams
from learners.task import Regression
from tests.learners.small_jobs import NETWORKS, SmallJob, small_job

RANDOM = SystemRandom()
SEEDS = [RANDOM.randrange(2**31) for _ in range(2)]
TANH = {"kind": "mlp", "hidden": [RANDOM.randrange(3, 6)], "activation": "tanh"}
# Stacked rows: mlp, cnn; one by one: norms, masks, sequences.
NETS = {"mlp": TANH, **{name: NETWORKS[name] for name in ("cnn", "mlp residual", "mlp batch dropout", "cfc", "ltc")}}


class Cubed(Regression):
    """The first score to the third power."""

    def loss(self, scores_BK: Tensor, y: Tensor) -> Tensor:
        return scores_BK[0, 0] ** 3


def job(network: dict[str, object], seed: int, **fields: object) -> SmallJob:
    learner = {"kind": "evolution_strategies", **fields}
    return small_job(network, learner, seed=seed, rows_seed=seed + 1)


def flat(gradients: dict[str, list[Tensor]]) -> Tensor:
    return torch.cat([one.flatten() for own in gradients.values() for one in own])


def exact(small: SmallJob) -> Tensor:
    loss = small.training.learner.reference(small.batch)
    assert loss is not None
    found = torch.autograd.grad(loss, [p for group in small.training.groups for p in group.parameters])
    return torch.cat([one.flatten() for one in found])


def test_the_mean_is_the_gradient_of_the_smoothed_loss_and_not_of_the_loss() -> None:
    """L = s^3 with s = w + b: smoothed by sigma in both, dL/ds is 3 s^2 + 6 sigma^2."""
    sigma = 0.5
    small = job({"kind": "mlp", "hidden": []}, SEEDS[0], population_size=100, perturbation_scale=sigma, shaping="raw")
    network = small.training.network
    small.training.learner.setup(network, Cubed(3), Streams(0))
    small.batch = Batch.whole(torch.eye(5, dtype=torch.float64)[:1], torch.zeros(1, 3, dtype=torch.float64))
    weight, bias = network.stages[0].parameters()
    s = float(weight[0, 0].detach() + bias[0].detach())
    found = []
    for step in range(160):
        small.step = step
        ((own),) = small.gradients().values()
        found.append([float(own[0][0, 0]), float(own[1][0])])
    mean, error = torch.tensor(found).mean(0), torch.tensor(found).std(0) / math.sqrt(len(found))
    smoothed, plain = 3 * s**2 + 6 * sigma**2, 3 * s**2
    assert float(((mean - smoothed) / error).abs().max()) < 5
    assert float(((mean - plain) / error).abs().min()) > 10


@pytest.mark.parametrize(
    ("network", "antithetic", "shaping"),
    [
        *[("mlp", True, shaping) for shaping in ("raw", "z_score", "rank")],
        *[("mlp", False, shaping) for shaping in ("z_score", "rank")],
        *[(network, True, "raw") for network in ("cnn", "mlp residual", "ltc")],
    ],
)
def test_estimate_is_the_weighed_sum_of_replayed_noise(network: str, antithetic: bool, shaping: str) -> None:
    members, sigma = 6, 0.1
    size = 2 * members if antithetic else members
    fields = {"population_size": size, "perturbation_scale": sigma, "shaping": shaping, "antithetic": antithetic}
    small = job(NETS[network], SEEDS[1], **fields)
    net, batch, task = small.training.network, small.batch, small.training.task
    names = {p: name for name, p in net.named_parameters()}
    noise, losses = [], []
    signs = (1, -1) if antithetic else (1,)
    for member in range(members):
        drawn = [SeededGroup(group, small.training.context.streams, member) for group in small.training.groups]
        noise.append({p: z for one in drawn for p, z in zip(one.group.parameters, one.draw(), strict=True)})
    for sign in signs:
        for z in noise:
            moved = {names[p]: p.detach() + sign * sigma * one for p, one in z.items()}
            losses.append(task.loss(functional_call(net, moved, (batch.x, batch.dt)), batch.y))
    utility = shaped(torch.stack(losses), shaping).reshape(len(signs), members)  # type: ignore[arg-type]
    weights = sum(sign * own for sign, own in zip(signs, utility, strict=True)) / (size * sigma)
    expected = sum(w * torch.cat([one.flatten() for one in z.values()]) for w, z in zip(weights, noise, strict=True))  # type: ignore[call-overload]
    torch.testing.assert_close(flat(small.gradients()), expected, rtol=1e-9, atol=1e-12)
    small.step = 1
    assert not torch.allclose(flat(small.gradients()), expected, rtol=1e-2)


@pytest.mark.parametrize("rank", [None, 1, 3])
def test_error_of_the_raw_estimate_falls_as_one_over_its_members(rank: int | None) -> None:
    errors = []
    for steps, size in ((48, 8), (12, 128)):
        fields = {"population_size": size, "perturbation_scale": 1e-3, "shaping": "raw", "rank": rank}
        small = job(TANH, SEEDS[0], **fields)
        gradient, squares = exact(small), []
        for step in range(steps):
            small.step = step
            squares.append(float((flat(small.gradients()) - gradient).square().sum() / gradient.square().sum()))
        errors.append(sum(squares) / steps)
    assert 8 < errors[0] / errors[1] < 32
    if rank is None:
        assert 0.5 < errors[1] / ((len(gradient) + 1) / 64) < 2


@pytest.mark.parametrize("shaping", ["raw", "rank"])
def test_alignment_is_what_the_spec_expects(shaping: str) -> None:
    """Over a small sigma, where a loss along a direction is a line."""
    small = job(TANH, SEEDS[1], population_size=64, perturbation_scale=1e-4, shaping=shaping)
    gradient, cosines = exact(small), []
    for step in range(24):
        small.step = step
        found = flat(small.gradients())
        cosines.append(float(torch.dot(found, gradient) / found.norm() / gradient.norm()))
    spec = small.training.learner.spec  # type: ignore[attr-defined]
    expected = spec.expected_alignment(size=len(gradient), noise=1.0)
    assert sum(cosines) / len(cosines) == pytest.approx(expected, abs=0.1)
    # One pair in the place of 32 would be far away.
    assert (
        expected - spec.model_copy(update={"population_size": 2}).expected_alignment(size=len(gradient), noise=1) > 0.3
    )


def population(small: SmallJob, members: int) -> tuple[LowRankPopulation, Tensor]:
    """The population of step 0 with its noise still there, and its losses."""
    assert isinstance(small.training.learner, EvolutionStrategies)
    found = small.training.learner._population
    assert isinstance(found, LowRankPopulation)
    context = small.training.context
    context.begin(0)
    with torch.no_grad():
        (losses,) = [found.losses(part, context, members, at_once=None) for part in context.passes(small.batch)]
    return found, losses


def materialised(low_rank: LowRankPopulation, member: int, step: float, rank: float) -> dict[str, Tensor]:
    """Every parameter with the noise of one member added in full."""
    moved = {}
    for synapse, (a, b) in low_rank._factors.items():
        noise = (a[member] @ b[member].flatten(1)).reshape(synapse.weight.shape) / math.sqrt(rank)
        moved[low_rank._names[synapse.weight]] = synapse.weight.detach() + step * noise
    for parameter, noise in low_rank._noise.items():
        moved[low_rank._names[parameter]] = parameter.detach() + step * noise[member]
    return moved


@pytest.mark.parametrize("network", list(NETS))
def test_low_rank_passes_equal_those_of_materialised_weights(network: str) -> None:
    sigma, rank, members = 0.3, 2, 3
    small = job(NETS[network], SEEDS[1], population_size=2 * members, perturbation_scale=sigma, rank=rank)
    small.training.train()
    low_rank, losses = population(small, members)
    net, batch, task = small.training.network, small.batch, small.training.task
    assert low_rank._stacks == (network in ("mlp", "cnn"))
    for sign, own in zip((1, -1), losses, strict=True):
        for member, loss in enumerate(own):
            with torch.no_grad(), net.passing(0, 0, batch.rows, "batch"):
                right, wrong = (
                    task.loss(
                        functional_call(net, materialised(low_rank, member, sign * sigma, r), (batch.x, batch.dt)),
                        batch.y,
                    )
                    for r in (rank, 1)
                )
            torch.testing.assert_close(loss, right, rtol=1e-10, atol=1e-12)
            # A forgotten 1 / sqrt(r) would show, where there is a matrix to have it.
            assert not low_rank._factors or abs(float(loss - wrong)) > 1e-9


@pytest.mark.parametrize("network", ["mlp", "cnn"])
def test_losses_do_not_depend_on_how_many_members_share_a_pass(network: str, monkeypatch: pytest.MonkeyPatch) -> None:
    small = job(NETS[network], SEEDS[0], population_size=10, rank=1)
    _, together = population(small, 5)
    monkeypatch.setitem(PASS_BYTES, "cpu", 1)
    passes: list[int] = []
    small.training.network.register_forward_hook(lambda *_: passes.append(1))
    _, one_by_one = population(small, 5)
    assert len(passes) == 5
    torch.testing.assert_close(one_by_one, together, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rank", [1, 4])
def test_noise_times_its_share_of_a_gradient_is_the_gradient_in_the_mean(rank: int) -> None:
    """E[<E, G> E] = G, through the learner's own sum."""
    errors = []
    for members in (500, 8000):
        small = job({"kind": "mlp", "hidden": []}, SEEDS[0], population_size=2 * members, rank=rank)
        low_rank, _ = population(small, members)
        ((weight, (a, b)),) = ((synapse.weight, factors) for synapse, factors in low_rank._factors.items())
        noise = torch.einsum("mor,mri->moi", a, b) / math.sqrt(rank)
        direction = torch.randn(weight.shape, generator=torch.Generator().manual_seed(SEEDS[1]), dtype=torch.float64)
        with torch.no_grad():
            low_rank.write(small.training.context, (noise * direction).sum((1, 2)) / members)
        assert weight.grad is not None
        errors.append(float((weight.grad - direction).norm() / direction.norm()))
    assert errors[1] < 0.2 and errors[1] < errors[0]


def test_high_rank_noise_is_gaussian_and_low_rank_noise_is_not() -> None:
    """Excess kurtosis of an entry is 6 / r, its variance 1 at every rank."""
    for rank, slack in ((1, 2.0), (4, 0.7), (64, 0.25)):
        small = job({"kind": "mlp", "hidden": []}, SEEDS[1], population_size=20_000, rank=rank)
        low_rank, _ = population(small, 10_000)
        ((a, b),) = low_rank._factors.values()
        entries = torch.einsum("mor,mri->moi", a, b) / math.sqrt(rank)
        assert float(entries.var()) == pytest.approx(1, abs=0.1)
        assert float(entries.pow(4).mean() / entries.var() ** 2 - 3) == pytest.approx(6 / rank, abs=slack)


def test_ranks_are_centred_and_equal_losses_share_one() -> None:
    ranks = shaped(torch.tensor([3.0, 1.0, 2.0, 2.0, 9.0]), "rank")
    torch.testing.assert_close(ranks, torch.tensor([0.25, -0.5, -0.125, -0.125, 0.5]))
    assert shaped(torch.full((4,), 7.0), "rank").abs().max() == 0
    assert shaped(torch.full((4,), 7.0), "z_score").abs().max() == 0
    scores = shaped(torch.tensor([1.0, 2.0, 3.0, 6.0]), "z_score")
    assert float(scores.mean()) == pytest.approx(0, abs=1e-6)
    assert float(scores.std(correction=0)) == pytest.approx(1)
