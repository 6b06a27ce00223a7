"""Loops over time that are one node of the graph: their hand-written gradients are the plain loop's, twice."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from random import SystemRandom

import pytest
import torch
from torch import Tensor

from learners.networks import cfc_sequence, ltc_solver
from learners.networks.cfc_sequence import BACKBONE_ACTIVATIONS, Shape
from learners.networks.one_node import may_be_one_node

RANDOM = SystemRandom()
SEED = RANDOM.randrange(2**31)
ROWS, STEPS, UNITS, BACKBONE = (RANDOM.randrange(3, 7) for _ in range(4))
UNFOLDS = RANDOM.randrange(2, 5)


@pytest.fixture(autouse=True)
def in_double_precision() -> object:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(SEED)
    yield
    torch.set_default_dtype(torch.float32)


def leaves(*tensors: Tensor) -> list[Tensor]:
    return [tensor.detach().clone().requires_grad_() for tensor in tensors]


def gradients(loop: Callable[[Sequence[Tensor]], Tensor], inputs: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """States, then first gradients of a random objective and second ones of their squares, of every input."""
    states = loop(inputs)
    told = torch.randn(states.shape, generator=torch.Generator().manual_seed(SEED))
    objective = (told * states).sum() + (told * states.square()).sum()
    once = torch.autograd.grad(objective, inputs, retain_graph=True)
    again = torch.autograd.grad(objective, inputs, create_graph=True)
    for a, b in zip(once, again, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-12)
    twice = torch.autograd.grad(sum(g.square().sum() for g in again), inputs, allow_unused=True)
    return states.detach(), [*once, *(torch.zeros(()) if g is None else g for g in twice)]


def nodes(states: Tensor) -> int:
    """Of the graph behind ``states``, without its leaves."""
    found, open_ = set(), [states.grad_fn]
    while open_:
        node = open_.pop()
        if node is not None and node not in found and "Accumulate" not in type(node).__name__:
            found.add(node)
            open_ += [below for below, _ in node.next_functions]
    return len(found)


def assert_equal(one_node: Callable[..., Tensor], plain: Callable[..., Tensor], inputs: list[Tensor]) -> None:
    assert nodes(one_node(inputs)) <= 2 < nodes(plain(inputs))
    states, found = gradients(one_node, inputs)
    expected_states, expected = gradients(plain, inputs)
    torch.testing.assert_close(states, expected_states, rtol=1e-12, atol=1e-12)
    for gradient, right in zip(found, expected, strict=True):
        torch.testing.assert_close(gradient, right, rtol=1e-10, atol=1e-12)
    # The control: another state to begin with is another gradient, for every weight and every step.
    _, others = gradients(plain, [inputs[0] + 0.1, *inputs[1:]])
    assert not any(torch.allclose(a, b, rtol=1e-4, atol=0) for a, b in zip(found[: len(inputs)], others, strict=False))


CFC = [
    *((mode, "lecun_tanh", layers) for mode in ("default", "no_gate", "pure") for layers in (0, 1, 3)),
    *(("default", activation, 2) for activation in BACKBONE_ACTIVATIONS),
]


def cfc_inputs(mode: str, layers: int) -> list[Tensor]:
    heads = UNITS * (1 if mode == "pure" else 4)
    widths = [*([BACKBONE] * layers), heads]
    tensors = [torch.randn(STEPS, ROWS, widths[0]), torch.randn(ROWS, UNITS), torch.rand(STEPS, ROWS, 1) + 0.1]
    tensors.append(torch.randn(widths[0], UNITS) / 2)
    for inputs, outputs in pairwise(widths):
        tensors += [torch.randn(outputs, inputs) / 2, torch.randn(outputs)]
    return leaves(*tensors, *([torch.randn(UNITS), torch.randn(UNITS)] if mode == "pure" else []))


@pytest.mark.parametrize(("mode", "activation", "layers"), CFC)
def test_cfc_as_one_node_is_the_plain_loop(mode: str, activation: str, layers: int) -> None:
    shape = Shape(mode, BACKBONE_ACTIVATIONS[activation], layers)

    def one_node(inputs: Sequence[Tensor]) -> Tensor:
        states = cfc_sequence.over_time(shape, inputs)
        assert states is not None
        return states

    def plain(inputs: Sequence[Tensor]) -> Tensor:
        return cfc_sequence._plainly(shape, inputs)

    assert_equal(one_node, plain, cfc_inputs(mode, layers))


@pytest.mark.parametrize("everyone", [False, True])
@pytest.mark.parametrize("chunk", [1, 1 << 19])
def test_ltc_as_one_node_is_the_plain_loop(everyone: bool, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In chunks of one solver step, and of all."""
    monkeypatch.setattr(ltc_solver, "CHUNK", chunk)
    source = torch.arange(UNITS).expand(UNITS, UNITS) if everyone else torch.randint(UNITS, (UNITS, 2))
    numbers = STEPS * UNFOLDS, UNITS, ROWS
    a, d, cm = torch.randn(numbers), torch.rand(numbers) + 1, torch.rand(STEPS, UNITS, ROWS) + 1
    sigma, offset = 3 * torch.rand(*source.shape, 1) + 1, torch.randn(*source.shape, 1)
    inputs = leaves(torch.randn(UNITS, ROWS), a, d, cm, sigma, offset, torch.rand(UNITS, 2, source.shape[1]))

    def one_node(inputs: Sequence[Tensor]) -> Tensor:
        return ltc_solver.solved(inputs, source.contiguous(), everyone=everyone)

    assert_equal(one_node, lambda given: ltc_solver._solved_plainly(given, source), inputs)


def test_a_layer_that_only_drifts_is_the_plain_loop() -> None:
    numbers = STEPS * UNFOLDS, UNITS, ROWS
    inputs = leaves(torch.randn(UNITS, ROWS), torch.rand(numbers), torch.randn(numbers))
    states, found = gradients(lambda given: ltc_solver.drifted(*given), inputs)
    expected_states, expected = gradients(lambda given: ltc_solver._drifted_plainly(*given), inputs)
    torch.testing.assert_close(states, expected_states, rtol=1e-13, atol=1e-13)
    for gradient, right in zip(found, expected, strict=True):
        torch.testing.assert_close(gradient, right, rtol=1e-11, atol=1e-12)


# PyTorch's own formulas for forward mode are scripted, which it warns of itself.
@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")
def test_forward_mode_transforms_and_autocast_take_the_plain_loop() -> None:
    x = torch.randn(3)
    seen: list[bool] = [may_be_one_node([x])]

    def note(x: Tensor) -> Tensor:
        seen.append(may_be_one_node([x]))
        return x * x

    torch.func.jvp(note, (x,), (x,))
    torch.func.vmap(note)(x)
    with torch.autograd.forward_ad.dual_level():
        note(torch.autograd.forward_ad.make_dual(x, x))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        note(x)
    assert seen == [True, False, False, False, False]
