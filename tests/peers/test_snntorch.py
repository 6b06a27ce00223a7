"""Spiking units against snntorch with copied weights: spikes, and the gradients that surrogates give."""

from importlib.util import find_spec
from random import SystemRandom

import pytest
import torch
from torch import Tensor, nn

from learners.networks.spiking import LifBlock
from specs.networks.spiking import SpikingSpec

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(find_spec("snntorch") is None, reason="snntorch is not here: pip install --no-deps snntorch"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
SEED = SystemRandom().randrange(2**31)
INPUTS, UNITS, STEPS, ROWS, BETA, THRESHOLD = 6, 9, 12, 5, 0.8, 0.4
SLOPES = {"fast_sigmoid": 4.0, "atan": 2.0, "sigmoid": 3.0}


@pytest.fixture(autouse=True)
def in_double_precision() -> object:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def theirs(synapse: nn.Linear, returning: nn.Linear | None, reset: str, surrogate: str, x: Tensor) -> Tensor:
    import snntorch
    from snntorch import surrogate as surrogates

    argument = "alpha" if surrogate == "atan" else "slope"
    options = {
        "beta": BETA,
        "threshold": THRESHOLD,
        "spike_grad": getattr(surrogates, surrogate)(**{argument: SLOPES[surrogate]}),
        "reset_mechanism": reset,
    }
    spikes, outputs = torch.zeros(ROWS, UNITS), []
    mem = torch.zeros(ROWS, UNITS)
    unit = snntorch.Leaky(**options)
    for t in range(STEPS):
        drive = synapse(x[:, t])
        if returning is not None:
            drive = drive + returning(spikes)
        spikes, mem = unit(drive, mem)
        spikes = spikes.double()
        outputs.append(spikes)
    return torch.stack(outputs, 1)


@pytest.mark.parametrize("surrogate", sorted(SLOPES))
@pytest.mark.parametrize("reset", ["subtract", "zero", "none"])
@pytest.mark.parametrize("recurrent", [False, True])
def test_spikes_and_gradients_equal_snntorchs(recurrent: bool, reset: str, surrogate: str) -> None:
    torch.manual_seed(SEED)
    spec = SpikingSpec(
        hidden=(UNITS,),
        beta=BETA,
        threshold=THRESHOLD,
        reset=reset,
        surrogate=surrogate,
        surrogate_slope=SLOPES[surrogate],
        recurrent=recurrent,
    )
    block = LifBlock(INPUTS, UNITS, spec)
    synapse = nn.Linear(INPUTS, UNITS)
    returning = nn.Linear(UNITS, UNITS, bias=False) if recurrent else None
    with torch.no_grad():
        synapse.weight.copy_(block.sensory.weight)
        synapse.bias.copy_(block.sensory.bias)  # type: ignore[arg-type]
        if returning is not None:
            returning.weight.copy_(block.recurrent.weight)  # type: ignore[union-attr]
    x, told = torch.randn(ROWS, STEPS, INPUTS), torch.randn(ROWS, STEPS, UNITS)
    found, expected = block(x)[0], theirs(synapse, returning, reset, surrogate, x)
    assert torch.equal(found, expected) and 0 < float(found.detach().mean()) < 1
    (found * told).sum().backward()
    (expected * told).sum().backward()
    pairs = [(block.sensory.weight, synapse.weight), (block.sensory.bias, synapse.bias)]
    if returning is not None:
        pairs.append((block.recurrent.weight, returning.weight))  # type: ignore[union-attr]
    for mine, of in pairs:
        torch.testing.assert_close(mine.grad, of.grad, rtol=1e-5, atol=1e-6)
    # The control: another reset, other spikes.
    other = theirs(synapse, returning, "none" if reset != "none" else "zero", surrogate, x)
    assert not torch.equal(found, other)
