"""Closed-form continuous-time network (Hasani et al. 2022, arXiv 2106.13898).

With z = backbone(x, h) and elapsed time t, the state becomes (Eq. 10)

    h <- f(z) (1 - gate) + gate g(z),   gate = s(a(z) t + b(z))                  mode default
    h <- f(z) + gate g(z)                                                        mode no_gate
    h <- A - A exp(-t (|w_tau| + |f(z)|)) f(z)                                   mode pure
    default behind an LSTM memory over the same inputs                           mode mixed

What differs from the paper: every row has its own elapsed time at every step. Wired networks have one cell per layer of
neurons and no backbone, as in the authors' code. The input's share of every product is taken for the whole sequence at
once, and all heads are one product. Where only first gradients are asked for, the loop is one node of the graph.
"""

# B = rows, T = time, I = inputs, H = units, U = backbone units, N = number of heads

from typing import final

import torch
from torch import Tensor, nn

from learners.networks.block import RecurrentBlock, State
from learners.networks.block_network import BlockNetwork, widened
from learners.networks.cfc_sequence import BACKBONE_ACTIVATIONS, Shape, combined, over_time
from learners.networks.dense import LastStepReadout
from learners.networks.scope import Dropout
from learners.networks.synapses import LinearSynapse
from learners.networks.wiring import Wiring, wire
from specs.architecture import Layout
from specs.networks.cfc import CfcSpec


@final
class CfcCell(nn.Module):
    """One population of H units. ``project`` takes the input's share of the first product, ``advance`` one step.

    ``mask`` [H,I] says which inputs reach which unit (the gate's heads see all of them).
    """

    def __init__(self, inputs: int, units: int, spec: CfcSpec, *, backbone: int, mask: Tensor | None = None) -> None:
        super().__init__()
        self.units = units
        self.mode = spec.mode
        self._nonlinearity = BACKBONE_ACTIVATIONS[spec.backbone_activation]
        heads = 1 if spec.mode == "pure" else 4
        first = spec.backbone_units if backbone else heads * units
        if mask is not None:
            everything = torch.ones(mask.shape)
            mask = mask if heads == 1 else torch.cat([mask, mask, everything, everything])
        self.sensory = LinearSynapse(inputs, first, mask=mask)
        self.recurrent = LinearSynapse(units, first, bias=False)
        self._deeper = [LinearSynapse(first, first) for _ in range(backbone - 1)]
        self.deeper = nn.ModuleList(self._deeper)
        self.heads = LinearSynapse(first, heads * units) if backbone else None
        if spec.mode == "pure":
            # Away from zero, where the absolute value has no slope and would never leave.
            self.w_tau = nn.Parameter(torch.empty(units).uniform_(0.1, 1.0))
            self.amplitude = nn.Parameter(torch.ones(units))
        self._initialise(heads, backbone)

    def _initialise(self, heads: int, backbone: int) -> None:
        """Xavier, as if the two halves of the first product were one matrix and every head one of its own."""
        parts = 1 if backbone else heads
        fan_in = self.sensory.weight.shape[1] + self.units
        for synapse in (self.sensory, self.recurrent):
            bound = (6 / (fan_in + synapse.weight.shape[0] // parts)) ** 0.5
            nn.init.uniform_(synapse.weight, -bound, bound)
        for layer in self._deeper:
            nn.init.xavier_uniform_(layer.weight)
        if self.heads is not None:
            for head in self.heads.weight.data.chunk(heads):
                nn.init.xavier_uniform_(head)

    def project(self, x: Tensor) -> Tensor:
        """The input's share [..., U] for one step or for all."""
        projected: Tensor = self.sensory(x)
        return projected

    def advance(self, projected_BU: Tensor, h_BH: Tensor, t_B1: Tensor) -> Tensor:
        """The state after one input and elapsed time."""
        z = self.recurrent.onto(projected_BU, h_BH)
        if self.heads is not None:
            z = self._nonlinearity(z)
            for layer in self._deeper:
                z = self._nonlinearity(layer(z))
            z = self.heads(z)
        # Under autocast products are bfloat16; the state and the times stay in the weights' precision.
        own = (self.w_tau, self.amplitude) if self.mode == "pure" else ()
        return combined(self.mode, z.to(t_B1.dtype), t_B1, own)

    def over_time(self, projected_TBU: Tensor, h_BH: Tensor, t_TB1: Tensor) -> Tensor:
        """The states [T,B,H] after all inputs."""
        states = None
        if self.recurrent.scope.rule is None:
            products = [*self._deeper, *([] if self.heads is None else [self.heads])]
            tensors = [tensor for one in products for tensor in (one.weight, one.bias) if tensor is not None]
            own = (self.w_tau, self.amplitude) if self.mode == "pure" else ()
            shape = Shape(self.mode, self._nonlinearity, len(products))
            states = over_time(shape, (projected_TBU, h_BH, t_TB1, self.recurrent.weight, *tensors, *own))
        if states is not None:
            return states
        outputs = []
        for projected_BU, t_B1 in zip(projected_TBU.unbind(), t_TB1.unbind(), strict=True):
            h_BH = self.advance(projected_BU, h_BH, t_B1)
            outputs.append(h_BH)
        return torch.stack(outputs)


@final
class Memory(nn.Module):
    """The LSTM cell of mode mixed, with a forget bias of one."""

    def __init__(self, inputs: int, units: int) -> None:
        super().__init__()
        self.sensory = LinearSynapse(inputs, 4 * units)
        self.recurrent = LinearSynapse(units, 4 * units, bias=False)
        assert self.sensory.bias is not None
        nn.init.xavier_uniform_(self.sensory.weight)
        nn.init.orthogonal_(self.recurrent.weight)
        nn.init.uniform_(self.sensory.bias, -0.1, 0.1)

    def project(self, x: Tensor) -> Tensor:
        """The input's share [..., 4H] for one step or for all."""
        projected: Tensor = self.sensory(x)
        return projected

    def advance(self, projected: Tensor, h_BH: Tensor, c_BH: Tensor) -> tuple[Tensor, Tensor]:
        value, enters, stays, leaves = self.recurrent.onto(projected, h_BH).chunk(4, 1)
        c_BH = c_BH * torch.sigmoid(stays + 1.0) + torch.tanh(value) * torch.sigmoid(enters)
        return torch.tanh(c_BH) * torch.sigmoid(leaves), c_BH


@final
class CfcBlock(RecurrentBlock):
    """Closed-form neurons over a sequence: [B,T,I] with dt [B,T] -> states of the last layer of neurons [B,T,M]."""

    layout: Layout = "sequence"

    def __init__(self, inputs: int, wiring: Wiring, spec: CfcSpec) -> None:
        super().__init__()
        self.outputs = wiring.motor_neurons
        self.units = len(wiring.adjacency)
        self._cells = _cells(inputs, wiring, spec)
        self.cells = nn.ModuleList(self._cells)
        self.memory = Memory(inputs, self.units) if spec.mode == "mixed" else None
        self.dropout = Dropout(spec.dropout) if spec.dropout > 0 else None
        self._sizes = [len(layer) for layer in wiring.layers]

    def initial(self, batch_size: int) -> tuple[Tensor, ...]:
        zeros = next(self.parameters()).new_zeros(batch_size, self.units)
        return (zeros,) if self.memory is None else (zeros, zeros)

    def forward(self, x: Tensor, state: State = None, dt: Tensor | None = None) -> tuple[Tensor, State]:
        rows, steps, _ = x.shape
        state = self.initial(rows) if state is None else state
        times = (x.new_ones(steps, rows) if dt is None else dt.T).unsqueeze(2)
        y_BTM, after = self._layer_by_layer(x, state, times) if self.memory is None else self._mixed(x, state, times)
        return (y_BTM if self.dropout is None else self.dropout(y_BTM)), after

    def _layer_by_layer(self, x: Tensor, state: tuple[Tensor, ...], t_TB1: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Each layer of neurons needs only itself and the layer below: it runs over the whole sequence at once."""
        x_TBI = x.transpose(0, 1)
        last = []
        for cell, h_BH in zip(self._cells, torch.split_with_sizes(state[0], self._sizes, 1), strict=True):
            x_TBI = cell.over_time(cell.project(x_TBI), h_BH, t_TB1)
            last.append(x_TBI[-1])
        return x_TBI.transpose(0, 1), (torch.cat(last, 1),)

    def _mixed(self, x: Tensor, state: tuple[Tensor, ...], t_TB1: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The memory reads all layers at every step, so they advance together."""
        assert self.memory is not None
        x_TBI = x.transpose(0, 1)
        h_BH, c_BH = state
        outputs = []
        first, remembered = self._cells[0].project(x_TBI).unbind(), self.memory.project(x_TBI).unbind()
        for projected_BU, kept, t_B1 in zip(first, remembered, t_TB1.unbind(), strict=True):
            h_BH, c_BH = self.memory.advance(kept, h_BH, c_BH)
            layers: list[Tensor] = []
            for index, (cell, own_BH) in enumerate(
                zip(self._cells, torch.split_with_sizes(h_BH, self._sizes, 1), strict=True)
            ):
                entering = projected_BU if index == 0 else cell.project(layers[-1])
                layers.append(cell.advance(entering, own_BH, t_B1))
            outputs.append(layers[-1])
            h_BH = torch.cat(layers, 1) if len(layers) > 1 else layers[0]
        return torch.stack(outputs, 1), (h_BH, c_BH)


def _cells(inputs: int, wiring: Wiring, spec: CfcSpec) -> list[CfcCell]:
    if len(wiring.layers) == 1:
        return [CfcCell(inputs, len(wiring.adjacency), spec, backbone=spec.backbone_layers)]
    cells = []
    signs = wiring.sensory
    for below, layer in zip((None, *wiring.layers), wiring.layers, strict=False):
        if below is not None:
            signs = wiring.adjacency[below.start : below.stop]
        mask_HI = (signs[:, layer.start : layer.stop] != 0).T.to(signs.dtype)
        cells.append(CfcCell(mask_HI.shape[1], len(layer), spec, backbone=0, mask=mask_HI))
    return cells


@final
class Cfc(BlockNetwork):
    """The network of a ``CfcSpec``."""

    def __init__(self, spec: CfcSpec, *, input_shape: tuple[int, ...], extra_inputs: int, outputs: int) -> None:
        shape = widened(input_shape, extra_inputs, flat=False)
        blocks, inputs = [], shape[1]
        for index in range(len(spec.hidden)):
            block = CfcBlock(inputs, wire(spec, index, inputs), spec)
            blocks.append(block)
            inputs = block.outputs
        super().__init__(blocks, LastStepReadout(inputs, outputs), input_shape=shape, input_layout="sequence")
