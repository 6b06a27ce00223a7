"""Leaky units: what the leaky cell of a recurrent network and the spiking network share.

With potential v, output z and leak alpha (Bellec et al. 2020, doi 10.1038/s41467-020-17236-y, Eq. 6 and 7):

    v_t = alpha v_{t-1} + W x_t + R z_{t-1} + b - (what the output takes away),   z_t = fire(v_t)
"""

# B = rows, T = time, I = inputs, H = units

from abc import abstractmethod

import torch
from torch import Tensor
from torch.nn import Parameter

from learners.networks.block import State, TracedBlock
from learners.networks.scope import Dropout
from learners.networks.synapses import LinearSynapse
from specs.architecture import Layout


class LeakyUnits(TracedBlock):
    """H leaky units over a sequence: [B,T,I] -> [B,T,H]. An input without time is presented ``num_steps`` times."""

    layout: Layout = "sequence"

    def __init__(self, inputs: int, units: int, *, recurrent: bool, dropout: float, num_steps: int = 1) -> None:
        super().__init__()
        self.units = units
        self.num_steps = num_steps
        self.sensory = LinearSynapse(inputs, units)
        self.recurrent = LinearSynapse(units, units, bias=False) if recurrent else None
        self.dropout = Dropout(dropout) if dropout > 0 else None

    @abstractmethod
    def decayed(self, v_BH: Tensor, z_BH: Tensor) -> Tensor:
        """What is left of the potentials a step later."""

    @abstractmethod
    def leak(self, z: Tensor) -> float | Tensor:
        """d decayed / dv after outputs z."""

    @abstractmethod
    def fire(self, v: Tensor) -> Tensor:
        """The outputs of units at these potentials."""

    @abstractmethod
    def slope(self, v: Tensor) -> Tensor:
        """dz/dv, or what stands for it."""

    def initial(self, batch_size: int) -> tuple[Tensor, ...]:
        zeros = self.sensory.weight.new_zeros(batch_size, self.units)
        return zeros, zeros

    def forward(self, x: Tensor, state: State = None, dt: Tensor | None = None) -> tuple[Tensor, State]:  # noqa: ARG002
        _, (v_T, z_T) = self._run(x, state)
        z_BTH = torch.stack(z_T, 1)
        return (z_BTH if self.dropout is None else self.dropout(z_BTH)), (v_T[-1], z_T[-1])

    def course(self, x: Tensor, state: State = None) -> tuple[Tensor, tuple[Tensor, ...], tuple[Tensor, ...]]:
        (v_BH, z_BH), (v_T, z_T) = self._run(x, state)
        after = torch.stack(v_T, 1), torch.stack(z_T, 1)
        before = torch.stack([v_BH, *v_T[:-1]], 1), torch.stack([z_BH, *z_T[:-1]], 1)
        return (after[1] if self.dropout is None else self.dropout(after[1])), before, after

    def trace(
        self, x: Tensor, before: tuple[Tensor, ...], after: tuple[Tensor, ...]
    ) -> tuple[dict[Parameter, Tensor], float | Tensor, Tensor]:
        z_BTH, v_BTH = before[1], after[0]
        x_BTI = x if x.dim() == 3 else x.flatten(1).unsqueeze(1).expand(-1, v_BTH.shape[1], -1)
        presynaptic = {self.sensory.weight: x_BTI}
        if self.sensory.bias is not None:
            presynaptic[self.sensory.bias] = torch.ones_like(v_BTH[..., :1])
        if self.recurrent is not None:
            presynaptic[self.recurrent.weight] = z_BTH
        slope_BTH = self.slope(v_BTH)
        # The mask of dropout is a factor of the output: it scales the slope alike.
        return presynaptic, self.leak(z_BTH), slope_BTH if self.dropout is None else self.dropout(slope_BTH)

    def input_weight(self) -> Tensor:
        return self.sensory.weight

    def _run(self, x: Tensor, state: State) -> tuple[tuple[Tensor, ...], tuple[list[Tensor], list[Tensor]]]:
        """The state before the first step, then potentials and outputs after every step."""
        first = self.initial(len(x)) if state is None else state
        v_BH, z_BH = first
        potentials, outputs = [], []
        for drive_BH in self._drives(x):
            if self.recurrent is not None:
                drive_BH = self.recurrent.onto(drive_BH, z_BH)
            # Under autocast products are bfloat16; potentials stay in the weights' precision.
            v_BH = self.decayed(v_BH, z_BH) + drive_BH.to(v_BH.dtype)
            z_BH = self.fire(v_BH)
            potentials.append(v_BH)
            outputs.append(z_BH)
        return first, (potentials, outputs)

    def _drives(self, x: Tensor) -> tuple[Tensor, ...]:
        """The input's share of every step: one product over all steps, or one for an input that does not change."""
        if x.dim() == 3:
            drives_TBH: Tensor = self.sensory(x.transpose(0, 1))
            return drives_TBH.unbind()
        return (self.sensory(x.flatten(1) if x.dim() > 2 else x),) * self.num_steps
