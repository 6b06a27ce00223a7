"""LTC and CfC against the authors' package with copied weights, and what that package cannot do."""

from itertools import pairwise
from random import SystemRandom

import ncps.torch
import ncps.wirings
import pytest
import torch
from torch import Tensor

from learners.networks.cfc import CfcBlock, CfcCell
from learners.networks.ltc import Incoming, LtcBlock
from learners.networks.wiring import Wiring
from specs.networks.cfc import CfcSpec

SEEDS = [SystemRandom().randrange(2**31) for _ in range(2)]
INPUTS, UNITS, STEPS, BACKBONE = 5, 12, 6, 10


@pytest.fixture(autouse=True)
def in_double_precision() -> object:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def theirs(wired: bool, seed: int) -> ncps.wirings.Wiring:
    made = ncps.wirings.AutoNCP(UNITS, 3, seed=seed) if wired else ncps.wirings.FullyConnected(UNITS)
    made.build(INPUTS)
    return made


def ours(wiring: ncps.wirings.Wiring) -> Wiring:
    layers = [wiring.get_neurons_of_layer(index) for index in range(wiring.num_layers)]
    return Wiring(
        torch.tensor(wiring.adjacency_matrix).double(),
        torch.tensor(wiring.sensory_adjacency_matrix).double(),
        tuple(range(min(layer), max(layer) + 1) for layer in layers),
        wiring.output_dim,
    )


def copied_ltc(wired: bool, seed: int, *, unfolds: int = 6) -> tuple[LtcBlock, ncps.torch.LTCCell]:
    wiring = theirs(wired, seed)
    cell = ncps.torch.LTCCell(wiring, INPUTS, implicit_param_constraints=True, ode_unfolds=unfolds).double()
    block = LtcBlock(ours(wiring), ode_unfolds=unfolds, epsilon=1e-8).double()
    with torch.no_grad():
        for mine, prefix in ((block.sensory, "sensory_"), (block.between, "")):
            copy_synapses(mine, cell, prefix)
        for name in ("gleak", "vleak", "cm"):
            getattr(block, name).copy_(cell._params[name])
        for name in ("input_weight", "input_bias", "output_weight", "output_bias"):
            drawn = getattr(block, name).uniform_(-1, 1)
            kind, of = name.split("_")
            cell._params[f"{kind}_{of[0]}"].copy_(drawn)
    return block, cell


def copy_synapses(mine: Incoming, cell: ncps.torch.LTCCell, prefix: str) -> None:
    for name, of in (("weight", "w"), ("sigma", "sigma"), ("mu", "mu"), ("erev", "erev")):
        getattr(mine, name).copy_(cell._params[prefix + of].T.gather(1, mine.source_HS))


def gap(a: Tensor, b: Tensor) -> float:
    return float((a - b).detach().abs().max())


def rows(seed: int, number: int = 4) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(number, STEPS, INPUTS, generator=draw), torch.rand(number, STEPS, generator=draw) + 0.1


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("wired", [False, True])
def test_fused_ltc_step_equals_the_authors(wired: bool, seed: int) -> None:
    block, cell = copied_ltc(wired, seed)
    x, dt = rows(seed)
    found, _ = block(x, None, dt)
    state, outputs = torch.zeros(len(x), UNITS), []
    for t in range(STEPS):
        output, state = cell(x[:, t], state, dt[:, t : t + 1])
        outputs.append(output)
    expected = torch.stack(outputs, 1)
    assert gap(found, expected) <= 1e-12
    assert gap(block(x, None, dt.flip(1))[0], expected) > 1e-6
    found.square().sum().backward()
    expected.square().sum().backward()
    for mine, of in ((block.gleak, "gleak"), (block.cm, "cm"), (block.vleak, "vleak")):
        torch.testing.assert_close(mine.grad, cell._params[of].grad, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("seed", SEEDS)
def test_twice_the_unfolds_halve_the_error(seed: int) -> None:
    x, dt = rows(seed)

    def state_after(unfolds: int) -> Tensor:
        torch.manual_seed(seed)
        block = LtcBlock(ours(theirs(False, seed)), ode_unfolds=unfolds, epsilon=1e-8).double()
        with torch.no_grad():
            return block(x, None, dt)[1][0]  # type: ignore[index,no-any-return]

    exact = state_after(768)
    errors = [float((state_after(unfolds) - exact).norm()) for unfolds in (12, 24, 48)]
    assert all(1.7 < a / b < 2.4 for a, b in pairwise(errors))


MODES = [(mode, wired) for mode in ("default", "no_gate", "pure", "mixed") for wired in (False, True)]


def copied_cfc(mode: str, wired: bool, seed: int) -> tuple[CfcBlock, ncps.torch.CfC]:
    kind = "default" if mode == "mixed" else mode
    if wired:
        wiring = theirs(True, seed)
        net = ncps.torch.CfC(INPUTS, wiring, mode=kind, mixed_memory=mode == "mixed").double()
        cells, spec = net.rnn_cell._layers, CfcSpec(mode=mode, hidden=(UNITS,), wiring="auto_ncp")
        block = CfcBlock(INPUTS, ours(wiring), spec).double()
    else:
        options = {"backbone_units": BACKBONE, "backbone_layers": 2}
        net = ncps.torch.CfC(INPUTS, UNITS, mode=kind, mixed_memory=mode == "mixed", **options).double()
        cells, spec = [net.rnn_cell], CfcSpec(mode=mode, hidden=(UNITS,), **options)
        everyone = Wiring(torch.ones(UNITS, UNITS), torch.ones(INPUTS, UNITS), (range(UNITS),), UNITS)
        block = CfcBlock(INPUTS, everyone, spec).double()
    with torch.no_grad():
        for mine, cell in zip(block.cells, cells, strict=True):
            copy_cell(mine, cell)  # type: ignore[arg-type]
        if block.memory is not None:
            block.memory.sensory.weight.copy_(net.lstm.input_map.weight)
            block.memory.sensory.bias.copy_(net.lstm.input_map.bias)  # type: ignore[union-attr]
            block.memory.recurrent.weight.copy_(net.lstm.recurrent_map.weight)
    return block, net


def copy_cell(mine: CfcCell, cell: torch.nn.Module) -> None:
    heads = [cell.ff1] if mine.mode == "pure" else [cell.ff1, cell.ff2, cell.time_a, cell.time_b]
    weight, bias = torch.cat([head.weight for head in heads]), torch.cat([head.bias for head in heads])
    if mine.mode == "pure":
        mine.w_tau.copy_(cell.w_tau[0])
        mine.amplitude.copy_(cell.A[0])
    if mine.heads is not None:
        mine.heads.weight.copy_(weight)
        mine.heads.bias.copy_(bias)  # type: ignore[union-attr]
        for index, layer in enumerate(mine.deeper, 1):
            layer.weight.copy_(cell.backbone[2 * index].weight)  # type: ignore[operator]
            layer.bias.copy_(cell.backbone[2 * index].bias)  # type: ignore[operator]
        weight, bias = cell.backbone[0].weight, cell.backbone[0].bias
    inputs = mine.sensory.weight.shape[1]
    mine.sensory.weight.copy_(weight[:, :inputs])
    mine.recurrent.weight.copy_(weight[:, inputs:])
    mine.sensory.bias.copy_(bias)  # type: ignore[union-attr]


@pytest.mark.parametrize(("mode", "wired"), MODES)
def test_cfc_cell_equals_the_authors(mode: str, wired: bool) -> None:
    block, net = copied_cfc(mode, wired, SEEDS[0])
    x, dt = rows(SEEDS[0], number=1)
    expected, _ = net(x, timespans=dt)
    found, _ = block(x, None, dt)
    assert gap(found, expected) <= 1e-12
    assert gap(block(x, None, 2 * dt)[0], expected) > 1e-6


@pytest.mark.parametrize(("mode", "wired"), MODES)
def test_irregular_times_in_a_batch_equal_one_by_one(mode: str, wired: bool) -> None:
    block, net = copied_cfc(mode, wired, SEEDS[1])
    x, dt = rows(SEEDS[1], number=UNITS)
    together, _ = block(x, None, dt)
    one_by_one = torch.cat([net(x[i : i + 1], timespans=dt[i : i + 1])[0] for i in range(len(x))])
    assert gap(together, one_by_one) <= 1e-12


def test_the_authors_batch_of_irregular_times_is_wrong() -> None:
    """The control: with as many rows as units the package broadcasts times over units, without an error."""
    _, net = copied_cfc("default", False, SEEDS[1])
    x, dt = rows(SEEDS[1], number=UNITS)
    one_by_one = torch.cat([net(x[i : i + 1], timespans=dt[i : i + 1])[0] for i in range(len(x))])
    assert gap(net(x, timespans=dt)[0], one_by_one) > 1e-3


@pytest.mark.parametrize("wired", [False, True])
def test_ltc_rows_of_irregular_times_are_independent(wired: bool) -> None:
    block, _ = copied_ltc(wired, SEEDS[0])
    x, dt = rows(SEEDS[0], number=UNITS)
    together, _ = block(x, None, dt)
    one_by_one = torch.cat([block(x[i : i + 1], None, dt[i : i + 1])[0] for i in range(len(x))])
    assert gap(together, one_by_one) <= 1e-12
