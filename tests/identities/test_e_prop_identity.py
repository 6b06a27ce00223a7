"""E-prop: Eq. (1) of Bellec et al. 2020 is the exact gradient; the rule itself leaves out what passes through time."""

from random import SystemRandom
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import Parameter

from learners.e_prop import Feedback, correlated
from learners.networks.block import TracedBlock
from learners.networks.leaky import LeakyUnits
from learners.networks.rnn import LeakyBlock
from learners.networks.spiking import LifBlock
from specs.networks.rnn import RnnSpec
from specs.networks.spiking import SpikingSpec
from tests.learners.small_jobs import small_job

RANDOM = SystemRandom()
SEEDS = [RANDOM.randrange(2**31) for _ in range(2)]
LIF = {"threshold": 0.4, "surrogate_slope": 2.0, "recurrent": True, "beta": 0.8}
RESETS = ("subtract", "zero", "none")


@pytest.fixture(autouse=True)
def in_double_precision() -> object:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def blocks(seed: int) -> dict[str, tuple[LeakyUnits, Tensor]]:
    """Blocks of random sizes, and rows for them."""
    torch.manual_seed(seed)
    inputs, units, steps, rows = (RANDOM.randrange(3, 8) for _ in range(4))
    made: dict[str, LeakyUnits] = {"leaky": LeakyBlock(inputs, units, RnnSpec(cell="leaky", leak=0.7))}
    for reset in RESETS:
        made[f"lif {reset}"] = LifBlock(inputs, units, SpikingSpec(hidden=(units,), reset=reset, **LIF))
    return {name: (block, 2 * torch.randn(rows, steps + 3, inputs)) for name, block in made.items()}


def told_by_bptt(block: TracedBlock, x: Tensor) -> tuple[list[Parameter], list[Tensor], Tensor, Tensor]:
    """BPTT's gradients of a random objective, and its dE/dz_t: in all (through later steps too), and straight."""
    state, outputs = block.initial(len(x)), []
    for t in range(x.shape[1]):
        _, state = block.step(x[:, t], state)  # type: ignore[assignment]
        outputs.append(state[1])
    z_BTH = torch.stack(outputs, 1)
    objective = (torch.randn_like(z_BTH) * z_BTH).sum().square()
    parameters = list(block.parameters())
    straight = torch.autograd.grad(objective, z_BTH, retain_graph=True)[0]
    gradients = torch.autograd.grad(objective, [*parameters, *outputs])
    return parameters, list(gradients[: len(parameters)]), torch.stack(gradients[len(parameters) :], 1), straight


def by_traces(block: TracedBlock, x: Tensor, signal: Tensor, *, leak: float | None = None) -> dict[Parameter, Tensor]:
    with torch.no_grad():
        _, before, after = block.course(x)
        presynaptic, own_leak, slope = block.trace(x, before, after)
        used = own_leak if leak is None else leak
        return {p: correlated(signal * slope, e, used).reshape(p.shape) for p, e in presynaptic.items()}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", ["leaky", *(f"lif {reset}" for reset in RESETS)])
def test_equation_1_is_backpropagation_through_time(kind: str, seed: int) -> None:
    block, x = blocks(seed)[kind]
    parameters, gradients, total, straight = told_by_bptt(block, x)
    if kind.startswith("lif"):
        assert 0 < float(block(x)[0].detach().mean()) < 1
    exact, online, leaking = (
        by_traces(block, x, total),
        by_traces(block, x, straight),
        by_traces(block, x, total, leak=0.3),
    )
    assert set(exact) == set(parameters)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        assert float((exact[parameter] - gradient).norm() / gradient.norm()) < 1e-13
        # The controls: without later steps, or with another leak, it is another vector.
        assert cosine(online[parameter], gradient) < 1 - 1e-6
        assert cosine(leaking[parameter], gradient) < 1 - 1e-6


def cosine(a: Tensor, b: Tensor) -> float:
    return float((a * b).sum() / (a.norm() * b.norm()))


NETWORKS: dict[str, dict[str, Any]] = {
    "leaky": {"kind": "rnn", "cell": "leaky", "hidden": [7, 5]},
    "lif subtract": {"kind": "spiking", "hidden": [9, 8], "num_steps": 5, **LIF},
    "lif zero": {"kind": "spiking", "hidden": [9, 8], "num_steps": 5, "reset": "zero", "readout": "membrane", **LIF},
}


def written(network: dict[str, Any], feedback: str, seed: int) -> tuple[Any, dict[str, list[Tensor]]]:
    small = small_job(network, {"kind": "e_prop", "feedback": feedback}, seed=seed, rows_seed=seed + 1)
    return small, small.gradients()


def flat(tensors: list[Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors])


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("network", list(NETWORKS))
def test_the_last_block_learns_from_what_the_readout_tells_it_straight(network: str, seed: int) -> None:
    """Trace by trace as the paper writes it: a matrix per row and step, no sums taken beforehand."""
    small, found = written(NETWORKS[network], "symmetric", seed)
    net, batch = small.training.network, small.batch
    with torch.no_grad():
        x = net.blocks[0](batch.x)[0]
        block = net.blocks[1]
        y, before, after = block.course(x)
    y.requires_grad_()
    (signal,) = torch.autograd.grad(small.training.task.loss(net.readout(y)[0], batch.y), y)
    eps, total, v = torch.zeros(len(x), block.units, x.shape[2]), 0.0, after[0]
    for t in range(x.shape[1]):
        kept = 1 - before[1][:, t, :, None] if network == "lif zero" else 1.0
        eps = (0.8 * kept) * eps + x[:, t, None, :]
        total = total + (signal[:, t, :, None] * block.slope(v[:, t])[:, :, None] * eps).sum(0)
    torch.testing.assert_close(found["blocks.1"][0], total, rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize("seed", SEEDS)
def test_without_a_way_through_later_steps_the_rule_is_exact(seed: int) -> None:
    """Spiking blocks whose spikes do not return: nothing is left out in the last block."""
    network = {**NETWORKS["lif subtract"], "recurrent": False}
    small, found = written(network, "symmetric", seed)
    loss = small.training.learner.reference(small.batch)
    parameters = {group.name: list(group.parameters) for group in small.training.groups}
    exact = torch.autograd.grad(loss, [*parameters["blocks.1"], *parameters["readout"]])
    for gradient, true in zip([*found["blocks.1"], *found["readout"]], exact, strict=True):
        torch.testing.assert_close(gradient, true, rtol=1e-11, atol=1e-15)
    returning, online = written(NETWORKS["lif subtract"], "symmetric", seed)
    true = torch.autograd.grad(
        returning.training.learner.reference(returning.batch), returning.training.groups[1].parameters
    )
    assert cosine(flat(online["blocks.1"]), flat(list(true))) < 1 - 1e-6


@pytest.mark.parametrize("network", list(NETWORKS))
def test_feedback_by_the_readouts_weights_is_symmetric_feedback(network: str) -> None:
    small = small_job(NETWORKS[network], {"kind": "e_prop", "feedback": "random"}, seed=SEEDS[0])
    other = small.gradients()
    assert isinstance(small.training.own, Feedback)
    small.training.own.of(1).copy_(small.training.network.readout.synapse.weight.detach())
    same = small.gradients()
    _, symmetric = written_as(small, NETWORKS[network])
    torch.testing.assert_close(same["blocks.1"], symmetric["blocks.1"], rtol=1e-11, atol=1e-15)
    assert not torch.allclose(other["blocks.1"][0], symmetric["blocks.1"][0], rtol=1e-2)
    # The read-out learns the same, however the blocks are told.
    torch.testing.assert_close(other["readout"], symmetric["readout"], rtol=1e-11, atol=1e-15)


def written_as(small: Any, network: dict[str, Any]) -> tuple[Any, dict[str, list[Tensor]]]:
    again = small_job(network, {"kind": "e_prop"}, seed=SEEDS[0])
    return again, again.gradients()


@pytest.mark.parametrize("network", list(NETWORKS))
def test_adaptive_feedback_follows_the_readout(network: str) -> None:
    """The last block's B gets the read-out's own update: their difference never changes under plain descent."""
    learner = {"kind": "e_prop", "feedback": "adaptive"}
    small = small_job(NETWORKS[network], learner, seed=SEEDS[1], optimizer={"kind": "sgd", "lr": 0.5})
    own, readout = small.training.own, small.training.network.readout
    assert isinstance(own, Feedback)
    apart, before = (own.of(1) - readout.synapse.weight).detach(), own.of(1).detach().clone()  # type: ignore[union-attr,operator]
    small.run(5)
    torch.testing.assert_close((own.of(1) - readout.synapse.weight).detach(), apart)  # type: ignore[union-attr,operator]
    assert not torch.allclose(own.of(1), before)
