"""Synapses: the only holders of matrix weights."""

# B = rows, N = rows and places, I = inputs, O = outputs, R = rank

import math
from abc import ABC, abstractmethod
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv2d_input, conv2d_weight

from learners.networks.scope import Scoped
from specs.architecture import Init


class Synapse(Scoped, ABC):
    """A linear operation with weight [O,I,...] and bias [O] or None.

    While ``network.synapses(rule)`` is open, ``rule`` stands in its place.
    """

    weight: nn.Parameter
    bias: nn.Parameter | None

    @abstractmethod
    def operate(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """The bare operation with any weight of the same shape."""

    @abstractmethod
    def mix(self, h: Tensor, a_OR: Tensor) -> Tensor:
        """Mixes R channels of h into O channels."""

    @abstractmethod
    def correlate(self, x: Tensor, error: Tensor) -> list[Tensor]:
        """Gradients of weight and bias (if there is one) where the output of ``operate(x)`` has this error.

        One product of what went in and what should have come out; nothing is differentiated.
        """

    @abstractmethod
    def pull_back(self, x: Tensor, error: Tensor, weight: Tensor) -> Tensor:
        """The error [like x] below an output with this error, brought through any weight of the same shape."""

    def forward(self, x: Tensor) -> Tensor:
        rule = self.scope.rule
        if rule is not None:
            return rule(self, x)
        return self.operate(x, self.weight, self.bias)


@final
class LinearSynapse(Synapse):
    """x [..., I] -> [..., O]. ``mask`` [O,I], where given, says which weights exist."""

    mask: Tensor | None

    def __init__(self, inputs: int, outputs: int, *, bias: bool = True, mask: Tensor | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.empty(outputs)) if bias else None
        self.register_buffer("mask", mask)
        initialise(self, "default")

    def operate(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        return F.linear(x, weight if self.mask is None else weight * self.mask, bias)

    def mix(self, h: Tensor, a_OR: Tensor) -> Tensor:
        return F.linear(h, a_OR)

    def correlate(self, x: Tensor, error: Tensor) -> list[Tensor]:
        error_NO, x_NI = error.reshape(-1, error.shape[-1]), x.reshape(-1, x.shape[-1])
        weight_OI = error_NO.t() @ x_NI
        weight_OI = weight_OI if self.mask is None else weight_OI * self.mask
        return [weight_OI] if self.bias is None else [weight_OI, error_NO.sum(0)]

    def pull_back(self, x: Tensor, error: Tensor, weight: Tensor) -> Tensor:  # noqa: ARG002
        return error @ (weight if self.mask is None else weight * self.mask)

    def onto(self, base_BO: Tensor, x_BI: Tensor) -> Tensor:
        """``base + operate(x)`` in one product; for synapses without bias or mask."""
        if self.scope.rule is not None:
            return base_BO + self.scope.rule(self, x_BI)
        return torch.addmm(base_BO, x_BI, self.weight.t())


@final
class ConvSynapse(Synapse):
    """x [B,I,H,W] -> [B,O,H',W'], padded so that stride 1 keeps the size."""

    def __init__(self, inputs: int, outputs: int, *, kernel_size: int, stride: int, bias: bool = True) -> None:
        super().__init__()
        self.stride = stride
        self.padding = kernel_size // 2
        self.weight = nn.Parameter(torch.empty(outputs, inputs, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.empty(outputs)) if bias else None
        initialise(self, "default")

    def operate(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        return F.conv2d(x, weight, bias, stride=self.stride, padding=self.padding)

    def mix(self, h: Tensor, a_OR: Tensor) -> Tensor:
        return F.conv2d(h, a_OR[:, :, None, None])

    def correlate(self, x: Tensor, error: Tensor) -> list[Tensor]:
        weight: Tensor = conv2d_weight(  # type: ignore[no-untyped-call]
            x, self.weight.shape, error, stride=self.stride, padding=self.padding
        )
        return [weight] if self.bias is None else [weight, error.sum((0, 2, 3))]

    def pull_back(self, x: Tensor, error: Tensor, weight: Tensor) -> Tensor:
        below: Tensor = conv2d_input(  # type: ignore[no-untyped-call]
            x.shape, weight, error, stride=self.stride, padding=self.padding
        )
        return below


def initialise(synapse: Synapse, init: Init) -> None:
    """Draws the weights anew by the named rule; only ``default`` draws biases, the others set them to zero."""
    weight, bias = synapse.weight, synapse.bias
    if init == "default":
        nn.init.kaiming_uniform_(weight, a=math.sqrt(5))
    elif init == "kaiming":
        nn.init.kaiming_normal_(weight, nonlinearity="relu")
    elif init == "xavier":
        nn.init.xavier_uniform_(weight)
    elif init == "orthogonal":
        nn.init.orthogonal_(weight)
    else:
        nn.init.zeros_(weight)
    if bias is not None:
        bound = 1 / math.sqrt(weight[0].numel()) if init == "default" else 0.0
        nn.init.uniform_(bias, -bound, bound)
