"""Liquid time-constant network (Hasani et al. 2020, arXiv 2006.04439).

A neuron's potential v follows cm dv/dt = gleak (vleak - v) + sum_j w_j s(sigma_j (v_j - mu_j)) (erev_j - v), over the
inputs and the other neurons j. The fused implicit step (Eq. 3 of the paper) solves it in ``ode_unfolds`` steps:

    v <- (cm/h v + gleak vleak + sum w s erev) / (cm/h + gleak + sum w s + epsilon),   h = dt / ode_unfolds

What differs from the paper: cm, gleak and w are softplus of free parameters, so they stay positive under any
optimizer; every row has its own elapsed time. Synapses that the wiring leaves out are not computed: a neuron's incoming
synapses are packed into as many slots as the best-connected neuron has. A layer of neurons that nothing above it
reaches runs over the whole sequence at once, and what it sends up is one sum over all solver steps.
"""

# B = rows, T = time, I = inputs, H = units, M = motor units, L = units of a layer, S = slots for incoming synapses,
# N = solver steps of the whole sequence

from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from learners.networks.block import RecurrentBlock, State
from learners.networks.block_network import BlockNetwork, widened
from learners.networks.dense import LastStepReadout
from learners.networks.ltc_solver import drifted, solved
from learners.networks.wiring import Wiring, wire
from specs.architecture import Layout
from specs.networks.ltc import LtcSpec

SHORTEST_DT = 1e-6
Coefficients = tuple[Tensor, Tensor, Tensor]


@final
class Incoming(nn.Module):
    """The parameters of all synapses from one population onto H units."""

    source_HS: Tensor

    def __init__(self, signs: Tensor) -> None:
        """``signs`` [sources,H] is the wiring's matrix."""
        super().__init__()
        order_HS = _packed(signs)
        self.register_buffer("source_HS", order_HS)
        shape = order_HS.shape
        self.weight = nn.Parameter(softplus_inverse(torch.empty(shape).uniform_(0.001, 1.0)))
        self.sigma = nn.Parameter(torch.empty(shape).uniform_(3, 8))
        self.mu = nn.Parameter(torch.empty(shape).uniform_(0.3, 0.8))
        self.erev = nn.Parameter(signs.T.gather(1, self.source_HS).clone())


@final
class Projection(nn.Module):
    """The synapses from a range of sources onto a range of units, packed anew: sums of w s erev and of w s."""

    source_LS: Tensor
    place_LS: Tensor
    exists_LS: Tensor

    def __init__(self, incoming: Incoming, signs: Tensor, sources: range, targets: range) -> None:
        super().__init__()
        part = signs[sources.start : sources.stop, targets.start : targets.stop]
        source_LS = _packed(part)
        # Where each synapse stands among the parameters of all.
        place_LS = torch.zeros_like(source_LS)
        for row, target in enumerate(targets):
            slots = {int(source): slot for slot, source in enumerate(incoming.source_HS[target])}
            width = incoming.source_HS.shape[1]
            for slot, source in enumerate(source_LS[row].tolist()):
                place_LS[row, slot] = target * width + slots.get(source + sources.start, 0)
        self.register_buffer("source_LS", source_LS, persistent=False)
        self.register_buffer("place_LS", place_LS, persistent=False)
        self.register_buffer("exists_LS", (part.T.gather(1, source_LS) != 0).to(signs.dtype), persistent=False)
        # A fully connected population needs no gathering.
        self.everyone = source_LS.shape[1] == len(sources) and bool((part != 0).all())
        self.is_everything = place_LS.numel() == incoming.source_HS.numel()

    def coefficients(self, incoming: Incoming) -> Coefficients:
        """What the sums need, once per sequence: sigma and sigma mu [L,S,1], weights [L,2,S] of both sums."""
        weight_LS, sigma_LS, mu_LS, erev_LS = (
            p if self.is_everything else p.flatten()[self.place_LS]
            for p in (incoming.weight, incoming.sigma, incoming.mu, incoming.erev)
        )
        w_LS = F.softplus(weight_LS) * self.exists_LS
        sums_L2S = torch.stack([w_LS * erev_LS, w_LS], 1)
        return sigma_LS.unsqueeze(2), (-sigma_LS * mu_LS).unsqueeze(2), sums_L2S

    def sums(self, v_JB: Tensor, coefficients: Coefficients) -> Tensor:
        """Sums [L,2,B] over the sources' potentials."""
        sigma, offset, sums_L2S = coefficients
        v_LSB = v_JB.unsqueeze(0) if self.everyone else v_JB[self.source_LS]
        return torch.bmm(sums_L2S, torch.sigmoid(torch.addcmul(offset, sigma, v_LSB)))


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
        self._layers = _one_way(wiring)
        self._from_inputs = self._projections(self.sensory, wiring.sensory, [range(inputs)] * len(self._layers))
        self._within = self._projections(self.between, wiring.adjacency, self._layers)
        self._from_below = [
            self._projections(self.between, wiring.adjacency, [below] * len(self._layers))
            for below in self._layers[:-1]
        ]
        found = [self._from_inputs, self._within, *self._from_below]
        self.projections = nn.ModuleList(one for row in found for one in row if one is not None)

    def _projections(self, incoming: Incoming, signs: Tensor, sources: list[range]) -> list[Projection | None]:
        """From each range of sources onto each layer in turn; None where there is no synapse."""
        return [
            Projection(incoming, signs, source, layer)
            if bool((signs[source.start : source.stop, layer.start : layer.stop] != 0).any())
            else None
            for source, layer in zip(sources, self._layers, strict=True)
        ]

    def initial(self, batch_size: int) -> tuple[Tensor, ...]:
        return (self.cm.new_zeros(batch_size, self.units),)

    def time_constants(self) -> tuple[Tensor, Tensor]:
        """cm / (gleak + sum w s) with all synapses open, and with none (Hasani et al. 2020, section 3)."""
        cm_H, gleak_H = F.softplus(self.cm), F.softplus(self.gleak) + self._epsilon
        total_H = gleak_H.clone()
        rows = [(self.sensory, self._from_inputs), *((self.between, row) for row in (self._within, *self._from_below))]
        for incoming, projections in rows:
            for layer, projection in zip(self._layers, projections, strict=True):
                if projection is not None:
                    total_H[layer.start : layer.stop] += projection.coefficients(incoming)[2][:, 1].sum(1)
        return (cm_H / total_H).min(), (cm_H / gleak_H).max()

    def forward(self, x: Tensor, state: State = None, dt: Tensor | None = None) -> tuple[Tensor, State]:
        rows, steps, inputs = x.shape
        (v_BH,) = self.initial(rows) if state is None else state
        mapped_BTI = x * self.input_weight + self.input_bias
        x_IN = mapped_BTI.permute(2, 1, 0).reshape(inputs, steps * rows)
        dt_TB = x.new_ones(steps, rows) if dt is None else dt.T.clamp(min=SHORTEST_DT)
        below: list[Tensor] = []
        last: list[Tensor] = []
        for index, layer in enumerate(self._layers):
            numerator, denominator, cm_TLB = self._hoisted(index, x_IN, dt_TB)
            for v_JN, projections in zip(below, self._from_below, strict=False):
                projection = projections[index]
                if projection is not None:
                    sums = projection.sums(v_JN, projection.coefficients(self.between))
                    above, under = sums.reshape(len(layer), 2, steps, self._unfolds, rows).permute(1, 2, 3, 0, 4)
                    numerator, denominator = numerator + above, denominator + under
            v_NLB = self._solved(index, v_BH.T[layer.start : layer.stop], numerator, denominator, cm_TLB)
            below.append(v_NLB[:-1].transpose(0, 1).reshape(len(layer), -1))
            last.append(v_NLB[-1])
        motor_TMB = v_NLB[self._unfolds :: self._unfolds, : self.outputs]
        order = sorted(range(len(last)), key=lambda index: self._layers[index].start)
        after_HB = torch.cat([last[index] for index in order])
        return motor_TMB.permute(2, 0, 1) * self.output_weight + self.output_bias, (after_HB.T,)

    def _hoisted(self, index: int, x_IN: Tensor, dt_TB: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What depends on no potential, for all inputs at once: numerator, denominator [T,1,L,B] and cm [T,L,B]."""
        layer = slice(self._layers[index].start, self._layers[index].stop)
        steps, rows = dt_TB.shape
        cm_TLB = F.softplus(self.cm[layer]).unsqueeze(1) * (self._unfolds / dt_TB).unsqueeze(1)
        gleak_L1 = F.softplus(self.gleak[layer]).unsqueeze(1)
        numerator = (gleak_L1 * self.vleak[layer].unsqueeze(1)).expand_as(cm_TLB)
        denominator = cm_TLB + gleak_L1 + self._epsilon
        projection = self._from_inputs[index]
        if projection is not None:
            sums = projection.sums(x_IN, projection.coefficients(self.sensory))
            above, under = sums.reshape(-1, 2, steps, rows).permute(1, 2, 0, 3)
            numerator, denominator = numerator + above, denominator + under
        return numerator.unsqueeze(1), denominator.unsqueeze(1), cm_TLB

    def _solved(self, index: int, v_LB: Tensor, numerator: Tensor, denominator: Tensor, cm_TLB: Tensor) -> Tensor:
        """A layer's potentials before every solver step, and after the last: [N+1,L,B]."""
        steps, units, rows = cm_TLB.shape

        def of_every_solver_step(values: Tensor) -> Tensor:
            return values.expand(steps, self._unfolds, units, rows).reshape(-1, units, rows)

        projection = self._within[index]
        if projection is None:
            keep, gain = cm_TLB.unsqueeze(1) / denominator, numerator / denominator
            return drifted(v_LB, of_every_solver_step(keep), of_every_solver_step(gain))
        a_NLB, d_NLB = of_every_solver_step(numerator), of_every_solver_step(denominator)
        inputs = (v_LB, a_NLB, d_NLB, cm_TLB, *projection.coefficients(self.between))
        return solved(inputs, projection.source_LS, everyone=projection.everyone)


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


def _packed(signs: Tensor) -> Tensor:
    """Sources [H,S] of every unit's synapses, the existing first, in as many slots as the best-connected unit needs."""
    slots = max(1, int((signs != 0).sum(0).max()))
    return (signs != 0).T.int().argsort(dim=1, descending=True, stable=True)[:, :slots].contiguous()


def _one_way(wiring: Wiring) -> list[range]:
    """The wiring's layers if no synapse leads back to a lower one, else all units as one layer."""
    units = len(wiring.adjacency)
    for index, layer in enumerate(wiring.layers):
        for below in wiring.layers[:index]:
            if bool((wiring.adjacency[layer.start : layer.stop, below.start : below.stop] != 0).any()):
                return [range(units)]
    return list(wiring.layers)


def softplus_inverse(y: Tensor) -> Tensor:
    """x with softplus(x) = y, for y > 0."""
    return y + torch.log(-torch.expm1(-y))
