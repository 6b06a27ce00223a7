"""Spiking network: leaky integrate-and-fire units with surrogate slopes (Neftci, Mostafa and Zenke 2019,
arXiv 1901.09948; units as in Bellec et al. 2020, doi 10.1038/s41467-020-17236-y, Eq. 6 and 7).

    v_t = beta v_{t-1} + W x_t + R z_{t-1} + b - threshold z_{t-1},   z_t = 1 where v_t > threshold    reset subtract
    v_t = beta v_{t-1} (1 - z_{t-1}) + W x_t + R z_{t-1} + b                                            reset zero

The derivative of a spike is replaced by that of a smooth function of v - threshold; the resets carry no gradient.

What differs from the papers: no refractory time, a unit may spike back to itself, and rows without time are presented
as constant currents, not as random spikes. The first product of such a row is taken once for all steps.
"""

# B = rows, T = time, H = units, K = classes or targets

import math
from collections.abc import Callable
from typing import Any, final

import torch
from torch import Tensor

from learners.networks.block import PlainBlock
from learners.networks.block_network import BlockNetwork, widened
from learners.networks.leaky import LeakyUnits
from learners.networks.synapses import LinearSynapse
from specs.architecture import Layout
from specs.networks.spiking import SpikingSpec, Surrogate

Slope = Callable[[Tensor, float], Tensor]


def fast_sigmoid(u: Tensor, k: float) -> Tensor:
    """1 / (1 + k |u|)^2 (Zenke and Ganguli 2018)."""
    return (1 + k * u.abs()).pow(-2)


def atan(u: Tensor, k: float) -> Tensor:
    """(k / 2) / (1 + (pi k u / 2)^2) (Fang et al. 2021)."""
    return k / 2 / (1 + (math.pi / 2 * k * u).square())


def sigmoid(u: Tensor, k: float) -> Tensor:
    """k s(k u) (1 - s(k u))."""
    s = torch.sigmoid(k * u)
    return k * s * (1 - s)


def triangular(u: Tensor, k: float) -> Tensor:
    """0.3 k max(0, 1 - k |u|) (Bellec et al. 2020, with k = 1 / threshold)."""
    return 0.3 * k * (1 - k * u.abs()).clamp(min=0)


SURROGATES: dict[Surrogate, Slope] = {
    "fast_sigmoid": fast_sigmoid,
    "atan": atan,
    "sigmoid": sigmoid,
    "triangular": triangular,
}


@final
class Spike(torch.autograd.Function):
    """1 where u > 0, with the slope of a smooth function in reverse and in forward mode."""

    generate_vmap_rule = True

    @staticmethod
    def forward(u: Tensor, slope: Slope, k: float) -> Tensor:  # noqa: ARG004
        return (u > 0).to(u.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Slope, float], output: Tensor) -> None:  # noqa: ARG004
        u, ctx.slope, ctx.k = inputs
        ctx.save_for_backward(u)
        ctx.save_for_forward(u)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (u,) = ctx.saved_tensors
        slope: Tensor = ctx.slope(u, ctx.k)
        return gradients[0] * slope, None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor) -> Tensor:
        (u,) = ctx.saved_tensors
        slope: Tensor = ctx.slope(u, ctx.k)
        return tangents[0] * slope


@final
class LifBlock(LeakyUnits):
    """Leaky integrate-and-fire units: [B,T,I], or a row without time -> spikes [B,T,H]."""

    def __init__(self, inputs: int, units: int, spec: SpikingSpec) -> None:
        super().__init__(inputs, units, recurrent=spec.recurrent, dropout=spec.dropout, num_steps=spec.num_steps)
        self._spec = spec
        self._surrogate = SURROGATES[spec.surrogate]

    def decayed(self, v_BH: Tensor, z_BH: Tensor) -> Tensor:
        if self._spec.reset == "subtract":
            return self._spec.beta * v_BH - self._spec.threshold * z_BH.detach()
        return self.leak(z_BH) * v_BH

    def leak(self, z: Tensor) -> float | Tensor:
        return self._spec.beta * (1 - z.detach()) if self._spec.reset == "zero" else self._spec.beta

    def fire(self, v: Tensor) -> Tensor:
        u = v - self._spec.threshold
        z: Tensor = Spike.apply(u, self._surrogate, self._spec.surrogate_slope)  # type: ignore[no-untyped-call]
        return z

    def slope(self, v: Tensor) -> Tensor:
        return self._surrogate(v - self._spec.threshold, self._spec.surrogate_slope)


@final
class SpikeReadout(PlainBlock):
    """A linear read-out of spikes over time, [B,T,H] -> [B,K]: of their mean, or at the end of their leaky sum."""

    layout: Layout = "vector"

    def __init__(self, inputs: int, outputs: int, spec: SpikingSpec) -> None:
        super().__init__()
        self.synapse = LinearSynapse(inputs, outputs)
        self._leak = None if spec.readout == "spike_count" else spec.beta

    def drive(self, x: Tensor) -> Tensor:
        # The read-out is linear, so time is summed before the product.
        scores_BK: Tensor = self.synapse(x.mean(1) if self._leak is None else self._leaky_sum(x, self._leak))
        return scores_BK

    def _leaky_sum(self, x: Tensor, leak: float) -> Tensor:
        """(1 - leak) times the sum of leak^(T - t) x_t: the scale of a mean."""
        ages = torch.arange(x.shape[1] - 1, -1, -1, device=x.device, dtype=x.dtype)
        return torch.einsum("bth,t->bh", x, (1 - leak) * leak**ages)

    def activate(self, z: Tensor) -> Tensor:
        return z


@final
class Spiking(BlockNetwork):
    """The network of a ``SpikingSpec``."""

    def __init__(self, spec: SpikingSpec, *, input_shape: tuple[int, ...], extra_inputs: int, outputs: int) -> None:
        in_time = len(input_shape) == 2
        shape = widened(input_shape, extra_inputs, flat=not in_time) if extra_inputs else input_shape
        widths = [shape[1] if in_time else math.prod(shape), *spec.hidden]
        blocks = [LifBlock(inputs, units, spec) for inputs, units in zip(widths, spec.hidden, strict=False)]
        readout = SpikeReadout(widths[-1], outputs, spec)
        layout: Layout = "sequence" if in_time else "vector"
        super().__init__(blocks, readout, input_shape=shape, input_layout=layout)
