"""Feedback weights: tensors of a learner that carry errors back in place of the transposed weights."""

# B = rows, K = outputs, D = features, O = outputs of a synapse, I = inputs of a synapse

from collections.abc import Mapping, Sequence
from math import sqrt
from typing import Any, final

import torch
from torch import Tensor, nn

from learners.networks.block_network import BlockNetwork
from learners.networks.synapses import Synapse
from learners.streams import Streams


@final
class Feedback(nn.Module):
    """Normal random matrices by place, of given shapes and standard deviations; trained ones are parameters."""

    def __init__(
        self,
        shapes: Sequence[tuple[int, ...]],
        deviations: Sequence[float],
        network: BlockNetwork,
        streams: Streams,
        *,
        trained: bool,
    ) -> None:
        super().__init__()
        first = next(network.parameters())
        self.matrices: list[Tensor] = []
        for index, (shape, deviation) in enumerate(zip(shapes, deviations, strict=True)):
            drawn = deviation * torch.randn(shape, generator=streams.generator("feedback", index))
            matrix = drawn.to(device=first.device, dtype=first.dtype)
            if trained:
                matrix = nn.Parameter(matrix)
                self.register_parameter(str(index), matrix)
            else:
                self.register_buffer(str(index), matrix)
            self.matrices.append(matrix)


@final
class Returning(torch.autograd.Function):
    """A synapse whose error comes back through ``feedback`` [like the weight].

    A feedback that is trained gets the weight's own gradient (Kolen and Pollack 1994, Akrout et al. 2019).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, feedback: Tensor, synapse: Synapse) -> Tensor:
        ctx.synapse = synapse
        ctx.save_for_backward(x, feedback)
        return synapse.operate(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, error: Tensor) -> tuple[Tensor | None, ...]:
        x, feedback = ctx.saved_tensors
        synapse: Synapse = ctx.synapse
        below = synapse.pull_back(x, error, feedback) if ctx.needs_input_grad[0] else None
        change, *shift = synapse.correlate(x, error)
        return below, change, shift[0] if shift else None, change if ctx.needs_input_grad[3] else None, None


def through(feedbacks: Mapping[Synapse, Tensor], synapse: Synapse, x: Tensor) -> Tensor:
    """A rule for ``network.synapses``: the synapse's output, whose error comes back through its feedback."""
    tensors = [x, synapse.weight, synapse.bias, feedbacks[synapse]]
    if torch.is_autocast_enabled(x.device.type):
        # Autocast does not reach into the backward pass of a Function of our own.
        half = torch.get_autocast_dtype(x.device.type)
        tensors = [None if tensor is None else tensor.to(half) for tensor in tensors]
    y: Tensor = Returning.apply(*tensors, synapse)  # type: ignore[no-untyped-call]
    return y


def glorot(weight: Tensor) -> float:
    """The standard deviation sqrt(2 / (fan in + fan out)) for a matrix in the place of ``weight`` [O,I,...]."""
    area = weight[0, 0].numel()
    return sqrt(2 / (area * (weight.shape[0] + weight.shape[1])))
