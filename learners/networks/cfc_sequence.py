"""A population of closed-form neurons over a whole sequence, plain and as one node of the graph.

Backward by hand: with the state's gradient g, every head's is g times a factor that needs no loop, so the loop back in
time holds two products and two multiplications, and the weights' gradients are one product each for all steps.
"""

# B = rows, T = time, H = units, U = backbone units, N = number of heads

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
import torch.nn.functional as F
from torch import Tensor

from learners.networks.one_node import differentiable_gradients, may_be_one_node

TANH_BACKWARD = torch.ops.aten.tanh_backward.grad_input
SIGMOID_BACKWARD = torch.ops.aten.sigmoid_backward.grad_input
"""Of a gradient and a value, into ``grad_input``: one pass over memory, no new tensor."""


@dataclass(frozen=True)
class BackboneActivation:
    """outer f(inner z): LeCun's scaled tangent (1.7159 tanh(0.666 z)) costs no more than the plain one."""

    function: Callable[[Tensor], Tensor]
    inner: float = 1.0
    outer: float = 1.0

    def __call__(self, z: Tensor) -> Tensor:
        return self.function(z) if self.inner == 1 else self.outer * self.function(self.inner * z)


BACKBONE_ACTIVATIONS: dict[str, BackboneActivation] = {
    "lecun_tanh": BackboneActivation(torch.tanh, 0.666, 1.7159),
    "tanh": BackboneActivation(torch.tanh),
    "relu": BackboneActivation(torch.relu),
    "gelu": BackboneActivation(F.gelu),
    "silu": BackboneActivation(F.silu),
}


def combined(mode: str, z: Tensor, t_B1: Tensor, own: Sequence[Tensor]) -> Tensor:
    """The state [B,H] from all heads [B,NH] and elapsed times; ``own`` are w_tau and A of mode pure."""
    if mode == "pure":
        w_tau, amplitude = own
        return amplitude - amplitude * torch.exp(-t_B1 * (w_tau.abs() + z.abs())) * z
    units = z.shape[1] // 4
    values, a, b = torch.split_with_sizes(z, [2 * units, units, units], 1)
    f, g = torch.tanh(values).chunk(2, 1)
    gate = torch.sigmoid(torch.addcmul(b, a, t_B1))
    return torch.addcmul(f, gate, g) if mode == "no_gate" else torch.lerp(f, g, gate)


@dataclass(frozen=True)
class Shape:
    """What is not a tensor: the mode, the nonlinearity, and how many products follow the first."""

    mode: str
    activation: BackboneActivation
    layers: int


def over_time(shape: Shape, inputs: Sequence[Tensor]) -> Tensor | None:
    """States [T,B,H] after every input; None where a graph of single steps is needed.

    ``inputs``: the input's share [T,B,U], h [B,H], times [T,B,1], the recurrent weight [U,H]; weight and bias of
    every further product, the heads' last; w_tau and A of mode pure.
    """
    if not may_be_one_node(inputs):
        return None
    found: Tensor = CfcSequence.apply(shape, *inputs)  # type: ignore[no-untyped-call]
    return found


def _plainly(shape: Shape, inputs: Sequence[Tensor]) -> Tensor:
    projected, h_BH, times, recurrent, *rest = inputs
    products, own = rest[: 2 * shape.layers], rest[2 * shape.layers :]
    states = [h_BH]
    for projected_BU, t_B1 in zip(projected.unbind(), times.unbind(), strict=True):
        z = torch.addmm(projected_BU, states[-1], recurrent.t())
        for weight, bias in zip(products[::2], products[1::2], strict=True):
            z = torch.addmm(bias, shape.activation(z), weight.t())
        states.append(combined(shape.mode, z, t_B1, own))
    return torch.stack(states[1:])


@final
class CfcSequence(torch.autograd.Function):
    """The loop as one node."""

    @staticmethod
    def forward(ctx: Any, *given: Any) -> Tensor:
        shape, projected, h_BH, t_TB1, recurrent, *rest = given
        weights, biases, own = _scaled(shape, rest)
        inner = shape.activation.inner if shape.layers else 1.0
        steps, rows, _ = projected.shape
        # Products by layer, before the nonlinearity and after it.
        before = [projected.new_empty(steps, rows, width) for width in (projected.shape[2], *map(len, biases))]
        in_place = shape.activation.function is torch.tanh
        after = [z if in_place else torch.empty_like(z) for z in before[:-1]]
        gate = projected.new_empty(steps, rows, h_BH.shape[1] if shape.mode != "pure" else 0)
        h: Tensor = projected.new_empty(steps + 1, *h_BH.shape)
        h[0] = h_BH
        if shape.mode == "pure":
            into_state = _steps_of_pure_heads(before[-1], t_TB1, h, own)
        else:
            into_state = _steps_of_gated_heads(shape.mode, before[-1], gate, t_TB1, h)
        products = [z.unbind() for z in before]
        activated = [y.unbind() for y in after]
        states, recurrent_t = h.unbind(), recurrent.t()
        transposed = [weight.t() for weight in weights]
        for step, drive in enumerate(projected.unbind()):
            torch.addmm(drive, states[step], recurrent_t, beta=inner, alpha=inner, out=products[0][step])
            for layer, (weight_t, bias) in enumerate(zip(transposed, biases, strict=True)):
                y = activated[layer][step]
                if in_place:
                    y.tanh_()
                else:
                    y.copy_(shape.activation.function(products[layer][step]))
                torch.addmm(bias, y, weight_t, out=products[layer + 1][step])
            into_state(step)
        ctx.shape = shape
        ctx.number = len(given) - 1
        ctx.save_for_backward(*given[1:], h, gate, *before, *after)
        return h[1:]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        # Checkpointing hands the saved tensors out once.
        saved = ctx.saved_tensors
        inputs, kept = saved[: ctx.number], saved[ctx.number :]
        if torch.is_grad_enabled():

            def plainly(*again: Tensor) -> Tensor:
                return _plainly(ctx.shape, again)

            return (None, *differentiable_gradients(plainly, inputs, gradients[0], ctx.needs_input_grad[1:]))
        return (None, *_backward(ctx.shape, gradients[0], inputs, kept, wants_times=ctx.needs_input_grad[3]))


def _steps_of_gated_heads(
    mode: str, z_TBN: Tensor, gate_TBH: Tensor, t_TB1: Tensor, h: Tensor
) -> Callable[[int], None]:
    """What writes state after state; f and g stay where their products were."""
    units = h.shape[2]
    values = z_TBN[..., : 2 * units].unbind()
    f, g, a, b = (
        (head.unbind() for head in torch.split_with_sizes(z_TBN, [units] * 4, 2))
        if mode != "pure"
        else ([], [], [], [])
    )
    gates, elapsed, after = gate_TBH.unbind(), t_TB1.unbind(), h[1:].unbind()

    def into_state(step: int) -> None:
        values[step].tanh_()
        torch.addcmul(b[step], a[step], elapsed[step], out=gates[step]).sigmoid_()
        if mode == "no_gate":
            torch.addcmul(f[step], gates[step], g[step], out=after[step])
        else:
            torch.lerp(f[step], g[step], gates[step], out=after[step])

    return into_state


def _steps_of_pure_heads(z_TBH: Tensor, t_TB1: Tensor, h: Tensor, own: Sequence[Tensor]) -> Callable[[int], None]:
    def into_state(step: int) -> None:
        h[step + 1] = combined("pure", z_TBH[step], t_TB1[step], own)

    return into_state


def _scaled(shape: Shape, rest: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor], Sequence[Tensor]]:
    """Weights and biases of the products after the first, the activation's scales taken into them; w_tau and A."""
    inner, outer = shape.activation.inner, shape.activation.outer
    weights, biases = list(rest[: 2 * shape.layers : 2]), list(rest[1 : 2 * shape.layers : 2])
    if outer != 1 and weights:
        into = [inner] * (shape.layers - 1) + [1.0]
        weights = [outer * scale * weight for weight, scale in zip(weights, into, strict=True)]
        biases = [scale * bias for bias, scale in zip(biases, into, strict=True)]
    return weights, biases, rest[2 * shape.layers :]


def _backward(
    shape: Shape, gradient: Tensor, inputs: Sequence[Tensor], kept: Sequence[Tensor], *, wants_times: bool
) -> list[Tensor | None]:
    _, h_BH, t_TB1, recurrent, *rest = inputs
    weights, _, own = _scaled(shape, rest)
    h, gate, before, after = kept[0], kept[1], kept[2 : shape.layers + 3], kept[shape.layers + 3 :]
    by_time: Tensor | None
    if shape.mode == "pure":
        factors, by_time, by_own = _pure_slopes(before[-1], t_TB1, own)
    else:
        factors, by_time, by_own = *_gated_slopes(shape.mode, before[-1], gate, t_TB1, wants_times=wants_times), []
    through = [_way_back(shape.activation, z, y) for z, y in zip(before, after, strict=False)]
    inner = shape.activation.inner if shape.layers else 1.0
    steps, rows, units = gradient.shape
    # What the heads' gradients are made of is written over by them: memory that is new costs more than the products.
    d_products = [*(torch.empty_like(z) for z in before[:-1]), factors.view(steps, rows, -1)]
    d_steps = [d.unbind() for d in d_products]
    factor, told, first = factors.unbind(), gradient.unbind(), inner * recurrent
    d_h = gradient.new_empty(steps, rows, units)
    reached = d_h.unbind()
    reached[-1].copy_(told[-1])
    d_first = torch.empty_like(h_BH)
    for step in range(steps - 1, -1, -1):
        factor[step].mul_(reached[step].unsqueeze(1))
        for layer in range(shape.layers - 1, -1, -1):
            torch.mm(d_steps[layer + 1][step], weights[layer], out=d_steps[layer][step])
            through[layer](d_steps[layer][step], step)
        if step:
            torch.addmm(told[step - 1], d_steps[0][step], first, out=reached[step - 1])
    torch.mm(d_steps[0][0], first, out=d_first)
    d_z = [d.flatten(0, 1) for d in d_products]
    d_rest: list[Tensor | None] = []
    for layer in range(shape.layers):
        into = inner if layer < shape.layers - 1 else 1.0
        d_weight = (shape.activation.outer * into) * d_z[layer + 1].t().mm(after[layer].flatten(0, 1))
        d_rest += [d_weight, into * d_z[layer + 1].sum(0)]
    d_own: list[Tensor | None] = [(d_h * slope).sum((0, 1)) for slope in by_own]
    d_times = (d_h * by_time).sum(2, keepdim=True) if wants_times and by_time is not None else None
    d_recurrent = inner * d_z[0].t().mm(h[:-1].flatten(0, 1))
    return [d_products[0].mul_(inner), d_first, d_times, d_recurrent, *d_rest, *d_own]


def _way_back(activation: BackboneActivation, z_TBU: Tensor, y_TBU: Tensor) -> Callable[[Tensor, int], None]:
    """What multiplies a gradient [B,U] at a step by the nonlinearity's slope, in place."""
    if activation.function is torch.tanh:
        values = y_TBU.unbind()
        return lambda d_BU, step: TANH_BACKWARD(d_BU, values[step], grad_input=d_BU)
    with torch.enable_grad():
        z = z_TBU.detach().requires_grad_()
        slopes = torch.autograd.grad(activation.function(z).sum(), z)[0].unbind()
    return lambda d_BU, step: d_BU.mul_(slopes[step])  # type: ignore[return-value]


def _gated_slopes(
    mode: str, z_TBN: Tensor, gate: Tensor, t_TB1: Tensor, *, wants_times: bool
) -> tuple[Tensor, Tensor | None]:
    """d state / d heads [T,B,N,H] and d state / d time [T,B,H]; f and g stand in z after their tangents."""
    f, g, a, _ = torch.split_with_sizes(z_TBN, [gate.shape[2]] * 4, 2)
    slopes = z_TBN.new_empty(*gate.shape[:2], 4, gate.shape[2])
    of_f, of_g, of_a, of_b = slopes.unbind(2)
    TANH_BACKWARD(gate, g, grad_input=of_g)
    if mode == "no_gate":
        TANH_BACKWARD(torch.ones((), dtype=f.dtype, device=f.device).expand_as(f), f, grad_input=of_f)
        SIGMOID_BACKWARD(g, gate, grad_input=of_b)
    else:
        torch.neg(gate, out=of_f).add_(1)
        TANH_BACKWARD(of_f, f, grad_input=of_f)
        torch.sub(g, f, out=of_b)
        SIGMOID_BACKWARD(of_b, gate, grad_input=of_b)
    torch.mul(of_b, t_TB1, out=of_a)
    return slopes, of_b * a if wants_times else None


def _pure_slopes(z: Tensor, t_TB1: Tensor, own: Sequence[Tensor]) -> tuple[Tensor, Tensor, list[Tensor]]:
    """d state / d head [T,B,1,H], d state / d time, and d state / d w_tau and A, each [T,B,H]."""
    w_tau, amplitude = own
    rate = w_tau.abs() + z.abs()
    decay = torch.exp(-t_TB1 * rate)
    grown = amplitude * decay * z
    of_z = -amplitude * decay * (1 - t_TB1 * z.abs())
    return of_z.unsqueeze(2), grown * rate, [grown * t_TB1 * w_tau.sign(), 1 - decay * z]
