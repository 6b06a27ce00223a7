"""Recurrent network: GRU (Cho et al. 2014, arXiv 1406.1078), LSTM (Hochreiter and Schmidhuber 1997,
doi 10.1162/neco.1997.9.8.1735; forget gate of Gers et al. 2000) and leaky units (Bellec et al. 2020).

    gru     r, u = s(W x + R h),  n = tanh(W_n x + b_n + r (R_n h + c_n)),  h <- (1 - u) n + u h
    lstm    i, f, o = s(W x + R h),  c <- f c + i tanh(W_g x + R_g h),  h <- o tanh(c)
    leaky   v <- leak v + W x + R z,  z = f(v)                                   (learners/networks/leaky.py)

What differs from the papers: the GRU resets what the recurrent product gives, not the state before it, as PyTorch
does; the LSTM has one bias. Elapsed times ``dt`` are not read: give them as an input feature where they matter. The
input's share of every product is taken for the whole sequence at once.
"""

# B = rows, T = time, I = inputs, H = units, G = gates

from typing import final

import torch
from torch import Tensor, nn

from learners.networks.block import ACTIVATIONS, RecurrentBlock, State
from learners.networks.block_network import BlockNetwork, widened
from learners.networks.dense import LastStepReadout
from learners.networks.leaky import LeakyUnits
from learners.networks.scope import Dropout
from learners.networks.synapses import LinearSynapse
from specs.architecture import Layout
from specs.networks.rnn import GATES, RnnSpec


@final
class GatedBlock(RecurrentBlock):
    """GRU or LSTM units over a sequence: [B,T,I] -> their outputs [B,T,H]. The gates' order is PyTorch's."""

    layout: Layout = "sequence"

    def __init__(self, inputs: int, units: int, spec: RnnSpec) -> None:
        super().__init__()
        self.units = units
        self.lstm = spec.cell == "lstm"
        gates = GATES[spec.cell]
        self.sensory = LinearSynapse(inputs, gates * units)
        # The GRU's reset gate stands before the recurrent bias, so that one cannot be merged with the input's.
        self.recurrent = LinearSynapse(units, gates * units, bias=not self.lstm)
        bound = units**-0.5
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)
        self.dropout = Dropout(spec.dropout) if spec.dropout > 0 else None

    def initial(self, batch_size: int) -> tuple[Tensor, ...]:
        zeros = self.sensory.weight.new_zeros(batch_size, self.units)
        return (zeros, zeros) if self.lstm else (zeros,)

    def forward(self, x: Tensor, state: State = None, dt: Tensor | None = None) -> tuple[Tensor, State]:  # noqa: ARG002
        state = self.initial(len(x)) if state is None else state
        drives_TBG: Tensor = self.sensory(x.transpose(0, 1))
        outputs = []
        for drive_BG in drives_TBG.unbind():
            state = self._lstm(drive_BG, *state) if self.lstm else self._gru(drive_BG, *state)
            outputs.append(state[0])
        y_BTH = torch.stack(outputs, 1)
        return (y_BTH if self.dropout is None else self.dropout(y_BTH)), state

    # Under autocast products are bfloat16; states stay in the weights' precision.
    def _gru(self, drive_BG: Tensor, h_BH: Tensor) -> tuple[Tensor, ...]:
        enters_3BH = drive_BG.to(h_BH.dtype).chunk(3, 1)
        returns_3BH = self.recurrent(h_BH).to(h_BH.dtype).chunk(3, 1)
        reset = torch.sigmoid(enters_3BH[0] + returns_3BH[0])
        update = torch.sigmoid(enters_3BH[1] + returns_3BH[1])
        proposed = torch.tanh(torch.addcmul(enters_3BH[2], reset, returns_3BH[2]))
        return (torch.lerp(proposed, h_BH, update),)

    def _lstm(self, drive_BG: Tensor, h_BH: Tensor, c_BH: Tensor) -> tuple[Tensor, ...]:
        enters, stays, value, leaves = self.recurrent.onto(drive_BG, h_BH).to(h_BH.dtype).chunk(4, 1)
        c_BH = torch.sigmoid(stays) * c_BH + torch.sigmoid(enters) * torch.tanh(value)
        return torch.sigmoid(leaves) * torch.tanh(c_BH), c_BH


@final
class LeakyBlock(LeakyUnits):
    """Leaky units with an element-wise nonlinearity over a sequence: [B,T,I] -> [B,T,H]."""

    def __init__(self, inputs: int, units: int, spec: RnnSpec) -> None:
        super().__init__(inputs, units, recurrent=True, dropout=spec.dropout)
        self._leak = spec.leak
        self.output_activation = spec.activation
        self._nonlinearity = ACTIVATIONS[spec.activation]

    def decayed(self, v_BH: Tensor, z_BH: Tensor) -> Tensor:  # noqa: ARG002
        return self._leak * v_BH

    def leak(self, z: Tensor) -> float | Tensor:  # noqa: ARG002
        return self._leak

    def fire(self, v: Tensor) -> Tensor:
        return self._nonlinearity(v)

    def slope(self, v: Tensor) -> Tensor:
        with torch.enable_grad():
            v = v.detach().requires_grad_()
            (slope,) = torch.autograd.grad(self._nonlinearity(v).sum(), v)
        return slope


@final
class Rnn(BlockNetwork):
    """The network of an ``RnnSpec``."""

    def __init__(self, spec: RnnSpec, *, input_shape: tuple[int, ...], extra_inputs: int, outputs: int) -> None:
        shape = widened(input_shape, extra_inputs, flat=False)
        make = LeakyBlock if spec.cell == "leaky" else GatedBlock
        widths = [shape[1], *spec.hidden]
        blocks = [make(inputs, units, spec) for inputs, units in zip(widths, spec.hidden, strict=False)]
        super().__init__(blocks, LastStepReadout(widths[-1], outputs), input_shape=shape, input_layout="sequence")
