"""Blocks: the pieces of a network that a learner may train one by one. Four levels, each adds what some rules need."""

# B = rows, T = time, D = features, C = channels, I = inputs, H = units

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn import Parameter

from learners.networks.scope import BatchNorm
from learners.networks.synapses import Synapse
from specs.architecture import Activation, Layout, Norm

State = tuple[Tensor, ...] | None

ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "hard_sigmoid": F.hardsigmoid,
    "gelu": F.gelu,
    "silu": F.silu,
    "elu": F.elu,
    "leaky_relu": F.leaky_relu,
    "softplus": F.softplus,
    # 0 or 1 (0.5 at 0). Its derivative is 0 everywhere, and PyTorch's for sign says so: no error comes through.
    "step": lambda z: (torch.sign(z) + 1) / 2,
    "identity": lambda z: z,
}


class Block(nn.Module, ABC):
    """A function of its input with at least one parameter. ``layout`` is that of its output.

    ``output_activation`` names the nonlinearity that its output is the value of, before dropout; None: there is none.
    """

    layout: Layout
    output_activation: Activation | None = None

    @abstractmethod
    def forward(self, x: Tensor, state: State = None, dt: Tensor | None = None) -> tuple[Tensor, State]:
        """[B,D], [B,C,H,W] or a whole sequence [B,T,D] with dt [B,T] -> output and the state after it."""


class PlainBlock(Block):
    """One synapse, then an element-wise nonlinearity: ``activate(drive(x))``."""

    synapse: Synapse

    @abstractmethod
    def drive(self, x: Tensor) -> Tensor:
        """Flattening, synapse and pooling: all parameters, unless there is a norm; the output's shape."""

    @abstractmethod
    def activate(self, z: Tensor) -> Tensor:
        """Norm if there is one, the element-wise nonlinearity, dropout."""

    def forward(self, x: Tensor, state: State = None, dt: Tensor | None = None) -> tuple[Tensor, State]:  # noqa: ARG002
        return self.activate(self.drive(x)), None


class RecurrentBlock(Block):
    """A block that reads a sequence in order. ``forward`` is ``step`` over time."""

    @abstractmethod
    def initial(self, batch_size: int) -> tuple[Tensor, ...]:
        """The state before the first input: zeros, on the device and in the dtype of the parameters."""

    def time_constants(self) -> tuple[Tensor, Tensor] | None:
        """The shortest and the longest that any unit can have, in the unit of dt; None where there are none."""
        return None

    def step(self, x: Tensor, state: State, dt: Tensor | None = None) -> tuple[Tensor, State]:
        """One input [B,I] with dt [B] -> output [B,H] and the state after it."""
        y, after = self(x.unsqueeze(1), state, None if dt is None else dt.unsqueeze(1))
        return y[:, 0], after


class TracedBlock(RecurrentBlock):
    """A recurrent block of leaky units, whose eligibility traces have a closed form.

    A unit's potential v obeys v_t = leak v_{t-1} + sum_i w_i x_i,t, and its output z depends on v alone. So a weight's
    trace follows eps_t = leak eps_{t-1} + x_t, and within the unit dz_t/dw = (dz/dv)_t eps_t (Bellec et al. 2020).
    """

    @abstractmethod
    def course(self, x: Tensor, state: State = None) -> tuple[Tensor, tuple[Tensor, ...], tuple[Tensor, ...]]:
        """The output [B,T,H], and the states before and after every step [B,T,H]."""

    @abstractmethod
    def trace(
        self, x: Tensor, before: tuple[Tensor, ...], after: tuple[Tensor, ...]
    ) -> tuple[dict[Parameter, Tensor], float | Tensor, Tensor]:
        """Presynaptic activity [B,T,I] per parameter, leak (a number, or [B,T,H]), and d output / dv [B,T,H]."""

    @abstractmethod
    def input_weight(self) -> Tensor:
        """The matrix [H,I] by which the input enters the potentials."""


def normalisation(norm: Norm, features: int, layout: Layout) -> nn.Module | None:
    """The norm layer of ``features`` channels or units; None for ``none``."""
    if norm == "none":
        return None
    if norm == "batch":
        return BatchNorm(features)
    return nn.GroupNorm(1, features) if layout == "image" else nn.LayerNorm(features)
