"""Liquid time-constant network (Hasani et al. 2020, arXiv 2006.04439).

A neuron's potential v follows cm dv/dt = gleak (vleak - v) + sum_j w_j s(sigma_j (v_j - mu_j)) (erev_j - v), over the
inputs and the other neurons j. The fused implicit step (Eq. 3 of the paper) solves it in ``ode_unfolds`` steps:

    v <- (cm/h v + gleak vleak + sum w s erev) / (cm/h + gleak + sum w s + epsilon),   h = dt / ode_unfolds

What differs from the paper: cm, gleak and w are softplus of free parameters, so they stay positive under any
optimizer; every row has its own elapsed time. Synapses that the wiring leaves out are not computed: a neuron's incoming
synapses are packed into as many slots as the best-connected neuron has.
"""

# B = rows, T = time, I = inputs, H = units, M = motor units, S = slots for incoming synapses

from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from learners.networks.block import RecurrentBlock, State
from learners.networks.block_network import BlockNetwork, widened
from learners.networks.dense import LastStepReadout
from learners.networks.wiring import Wiring, wire
from specs.architecture import Layout
from specs.networks.ltc import LtcSpec

SHORTEST_DT = 1e-6


@final
class Incoming(nn.Module):
    """All synapses from one population onto H units: sums of w s and of w s erev."""

    source_HS: Tensor
    exists_HS: Tensor

    def __init__(self, signs: Tensor) -> None:
        """``signs`` [sources,H] is the wiring's matrix."""
        super().__init__()
        slots = max(1, int((signs != 0).sum(0).max()))
        order_HS = (signs != 0).T.int().argsort(dim=1, descending=True, stable=True)[:, :slots]
        self.register_buffer("source_HS", order_HS)
        self.register_buffer("exists_HS", (signs.T.gather(1, order_HS) != 0).to(signs.dtype))
        # A fully connected population needs no gathering.
        self.everyone = slots == len(signs) and bool((signs != 0).all())
        shape = order_HS.shape
        self.weight = nn.Parameter(softplus_inverse(torch.empty(shape).uniform_(0.001, 1.0)))
        self.sigma = nn.Parameter(torch.empty(shape).uniform_(3, 8))
        self.mu = nn.Parameter(torch.empty(shape).uniform_(0.3, 0.8))
        self.erev = nn.Parameter(signs.T.gather(1, self.source_HS).clone())

    def coefficients(self) -> tuple[Tensor, Tensor, Tensor]:
        """What the sums need, once per sequence: sigma and sigma mu [H,S,1], weights [H,2,S] of both sums."""
        w_HS = F.softplus(self.weight) * self.exists_HS
        sums_H2S = torch.stack([w_HS * self.erev, w_HS], 1)
        return self.sigma.unsqueeze(2), (-self.sigma * self.mu).unsqueeze(2), sums_H2S

    def sums(self, v_JB: Tensor, coefficients: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """Sums [H,2,B] over the sources' potentials: of w s erev, then of w s."""
        sigma, offset, sums_H2S = coefficients
        v_HSB = v_JB.unsqueeze(0) if self.everyone else v_JB[self.source_HS]
        return torch.bmm(sums_H2S, torch.sigmoid(torch.addcmul(offset, sigma, v_HSB)))


@final
class LtcBlock(RecurrentBlock):
    """Liquid neurons over a sequence: [B,T,I] with dt [B,T] -> potentials of the motor units [B,T,M], scaled."""

    layout: Layout = "sequence"

    def __init__(self, wiring: Wiring, *, ode_unfolds: int, epsilon: float) -> None:
        super().__init__()
        inputs, units = wiring.sensory.shape
        self.units = units
        self.outputs = wiring.motor_neurons
        self._unfolds = ode_unfolds
        self._epsilon = epsilon
        self.sensory = Incoming(wiring.sensory)
        self.between = Incoming(wiring.adjacency)
        self.gleak = nn.Parameter(softplus_inverse(torch.empty(units).uniform_(0.001, 1.0)))
        self.vleak = nn.Parameter(torch.empty(units).uniform_(-0.2, 0.2))
        self.cm = nn.Parameter(softplus_inverse(torch.empty(units).uniform_(0.4, 0.6)))
        self.input_weight = nn.Parameter(torch.ones(inputs))
        self.input_bias = nn.Parameter(torch.zeros(inputs))
        self.output_weight = nn.Parameter(torch.ones(self.outputs))
        self.output_bias = nn.Parameter(torch.zeros(self.outputs))

    def initial(self, batch_size: int) -> tuple[Tensor, ...]:
        return (self.cm.new_zeros(batch_size, self.units),)

    def forward(self, x: Tensor, state: State = None, dt: Tensor | None = None) -> tuple[Tensor, State]:
        rows, steps, _ = x.shape
        (v_BH,) = self.initial(rows) if state is None else state
        numerators, denominators, cm_THB = self._hoisted(x, dt)
        coefficients = self.between.coefficients()
        v_HB = v_BH.T
        motor = []
        for t in range(steps):
            cm_HB, numerator_HB, denominator_HB = cm_THB[t], numerators[t], denominators[t]
            for _ in range(self._unfolds):
                above_HB, below_HB = self.between.sums(v_HB, coefficients).unbind(1)
                v_HB = (torch.addcmul(numerator_HB, cm_HB, v_HB) + above_HB) / (denominator_HB + below_HB)
            motor.append(v_HB[: self.outputs])
        y_BTM = torch.stack(motor).permute(2, 0, 1)
        return y_BTM * self.output_weight + self.output_bias, (v_HB.T,)

    def _hoisted(self, x: Tensor, dt: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """What does not depend on the potentials, for all steps at once, each [T,H,B]."""
        rows, steps, inputs = x.shape
        mapped_BTI = x * self.input_weight + self.input_bias
        sums_H2N = self.sensory.sums(mapped_BTI.reshape(rows * steps, inputs).T, self.sensory.coefficients())
        above_THB, below_THB = sums_H2N.reshape(self.units, 2, rows, steps).permute(1, 3, 0, 2)
        dt_TB = x.new_ones(steps, rows) if dt is None else dt.T.clamp(min=SHORTEST_DT)
        cm_THB = F.softplus(self.cm).unsqueeze(1) * (self._unfolds / dt_TB).unsqueeze(1)
        gleak_H1 = F.softplus(self.gleak).unsqueeze(1)
        numerator = above_THB + gleak_H1 * self.vleak.unsqueeze(1)
        return numerator, below_THB + cm_THB + gleak_H1 + self._epsilon, cm_THB


@final
class Ltc(BlockNetwork):
    """The network of an ``LtcSpec``."""

    def __init__(self, spec: LtcSpec, *, input_shape: tuple[int, ...], extra_inputs: int, outputs: int) -> None:
        shape = widened(input_shape, extra_inputs, flat=False)
        blocks, inputs = [], shape[1]
        for index in range(len(spec.hidden)):
            block = LtcBlock(wire(spec, index, inputs), ode_unfolds=spec.ode_unfolds, epsilon=spec.epsilon)
            blocks.append(block)
            inputs = block.outputs
        super().__init__(blocks, LastStepReadout(inputs, outputs), input_shape=shape, input_layout="sequence")


def softplus_inverse(y: Tensor) -> Tensor:
    """x with softplus(x) = y, for y > 0."""
    return y + torch.log(-torch.expm1(-y))
