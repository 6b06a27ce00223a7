"""Recurrent and spiking networks: the cells of PyTorch, slopes in both modes, steps and presentations."""

from random import SystemRandom

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from learners.networks.block import RecurrentBlock
from learners.networks.rnn import GatedBlock
from learners.networks.spiking import SURROGATES, LifBlock, Spike, SpikeReadout, Spiking
from specs.networks.rnn import RnnSpec
from specs.networks.spiking import SpikingSpec
from tests.learners.small_jobs import NETWORKS, network_spec, shape_for, small_job

SEEDS = [SystemRandom().randrange(2**31) for _ in range(2)]
INPUTS, UNITS, STEPS, ROWS = 5, 7, 9, 4


@pytest.fixture(autouse=True)
def in_double_precision() -> object:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def sequences(seed: int) -> Tensor:
    return torch.randn(ROWS, STEPS, INPUTS, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("seed", SEEDS, ids=["one seed", "another"])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_gated_cells_equal_pytorchs_with_copied_weights(cell: str, seed: int) -> None:
    torch.manual_seed(seed)
    theirs = {"gru": nn.GRU, "lstm": nn.LSTM}[cell](INPUTS, UNITS, batch_first=True)
    ours = GatedBlock(INPUTS, UNITS, RnnSpec(cell=cell))
    with torch.no_grad():
        ours.sensory.weight.copy_(theirs.weight_ih_l0)
        ours.recurrent.weight.copy_(theirs.weight_hh_l0)
        ours.sensory.bias.copy_(theirs.bias_ih_l0 + (theirs.bias_hh_l0 if cell == "lstm" else 0))
        if cell == "gru":
            ours.recurrent.bias.copy_(theirs.bias_hh_l0)
    x = sequences(seed)
    expected, last = theirs(x)
    found, state = ours(x)
    assert float((found - expected).detach().abs().max()) <= 1e-12
    ends = last if cell == "lstm" else (last,)
    for mine, of in zip(state, ends, strict=True):
        assert float((mine - of[0]).detach().abs().max()) <= 1e-12
    found.square().sum().backward()
    expected.square().sum().backward()
    for mine, of in ((ours.sensory, theirs.weight_ih_l0), (ours.recurrent, theirs.weight_hh_l0)):
        torch.testing.assert_close(mine.weight.grad, of.grad, rtol=1e-11, atol=1e-13)
    # The control: with its gates in another order the cell is another.
    with torch.no_grad():
        ours.sensory.weight.copy_(ours.sensory.weight.roll(UNITS, 0))
    assert float((ours(x)[0] - expected).detach().abs().max()) > 1e-3


RECURRENT = [name for name, spec in NETWORKS.items() if spec["kind"] in ("rnn", "spiking")]


@pytest.mark.parametrize("network", RECURRENT)
def test_a_block_over_a_sequence_is_its_step_over_time(network: str) -> None:
    blocks = small_job(NETWORKS[network], {"kind": "backprop"}).training.network.eval().blocks
    x = torch.randn(ROWS, STEPS, shape_for(network_spec(NETWORKS[network]))[-1])
    for block in blocks:
        assert isinstance(block, RecurrentBlock)
        whole, after = block(x)
        state, outputs = block.initial(ROWS), []
        for t in range(STEPS):
            y, state = block.step(x[:, t], state)  # type: ignore[assignment]
            outputs.append(y)
        torch.testing.assert_close(torch.stack(outputs, 1), whole, rtol=1e-13, atol=1e-14)
        for a, b in zip(state, after, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-13, atol=1e-14)
        # The order of the steps matters.
        assert not torch.allclose(block(x.flip(1))[0][:, -1], whole[:, -1])
        x = whole


# PyTorch's own formulas for forward mode are scripted, which it warns of itself.
@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")
@pytest.mark.parametrize("surrogate", sorted(SURROGATES))
def test_a_spike_has_its_surrogates_slope_in_both_modes(surrogate: str) -> None:
    slope, k = SURROGATES[surrogate], 3.0
    u, tangent = torch.randn(50), torch.randn(50)
    u.requires_grad_()
    z = Spike.apply(u, slope, k)
    assert set(z.unique().tolist()) == {0.0, 1.0} and torch.equal(z == 1, u > 0)
    (gradient,) = torch.autograd.grad(z, u, tangent)
    torch.testing.assert_close(gradient, tangent * slope(u, k))
    with forward_ad.dual_level():
        dual = Spike.apply(forward_ad.make_dual(u.detach(), tangent), slope, k)
        torch.testing.assert_close(forward_ad.unpack_dual(dual).tangent, gradient)


@pytest.mark.parametrize("surrogate", ["fast_sigmoid", "atan", "sigmoid"])
def test_a_surrogate_is_the_derivative_of_what_it_is_named_after(surrogate: str) -> None:
    k, u = 3.0, torch.linspace(-2, 2, 41).requires_grad_()
    smooth = {
        "fast_sigmoid": u / (1 + k * u.abs()),
        "atan": torch.atan(torch.pi * k * u / 2) / torch.pi,
        "sigmoid": torch.sigmoid(k * u),
    }[surrogate]
    (expected,) = torch.autograd.grad(smooth.sum(), u)
    torch.testing.assert_close(SURROGATES[surrogate](u.detach(), k), expected)  # type: ignore[index]


def test_a_constant_current_spikes_when_its_reset_lets_it() -> None:
    """By hand for beta .5, threshold 1.05, current .8: v is .8, then 1.2, which spikes, then .35, .8 or 1.4."""
    spikes = {}
    for reset in ("subtract", "zero", "none"):
        block = LifBlock(1, 1, SpikingSpec(hidden=(1,), beta=0.5, threshold=1.05, reset=reset, num_steps=6))
        with torch.no_grad():
            block.sensory.weight.fill_(0.8)
            block.sensory.bias.zero_()
        spikes[reset] = block(torch.ones(1, 1))[0].flatten().int().tolist()
    assert spikes == {"subtract": [0, 1, 0, 0, 1, 0], "zero": [0, 1, 0, 1, 0, 1], "none": [0, 1, 1, 1, 1, 1]}


def test_a_row_without_time_is_presented_again_and_again() -> None:
    spec = SpikingSpec(hidden=(UNITS, 6), num_steps=STEPS, threshold=0.3, recurrent=True)
    still = Spiking(spec, input_shape=(INPUTS,), extra_inputs=0, outputs=3)
    moving = Spiking(spec, input_shape=(STEPS, INPUTS), extra_inputs=0, outputs=3)
    moving.load_state_dict(still.state_dict())
    x = torch.randn(ROWS, INPUTS)
    torch.testing.assert_close(still(x), moving(x.unsqueeze(1).expand(-1, STEPS, -1)))
    image = Spiking(spec, input_shape=(1, 2, 3), extra_inputs=4, outputs=3)
    assert image.input_shape == (10,) and image(torch.randn(ROWS, 10)).shape == (ROWS, 3)
    assert Spiking(spec, input_shape=(1, 2, 3), extra_inputs=0, outputs=3)(torch.randn(ROWS, 1, 2, 3)).shape == (
        ROWS,
        3,
    )


def test_the_membrane_readout_is_a_leaky_unit_without_a_threshold() -> None:
    readout = SpikeReadout(UNITS, 3, SpikingSpec(beta=0.7, readout="membrane"))
    z = (torch.rand(ROWS, STEPS, UNITS) > 0.5).double()
    v = torch.zeros(ROWS, 3)
    for t in range(STEPS):
        v = 0.7 * v + 0.3 * z[:, t] @ readout.synapse.weight.T  # type: ignore[operator]
    torch.testing.assert_close(readout(z)[0], v + readout.synapse.bias)  # type: ignore[operator]
    assert not torch.allclose(readout(z.flip(1))[0], readout(z)[0])
