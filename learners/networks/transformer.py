"""Transformer encoder (Vaswani et al. 2017, arXiv 1706.03762; images as patches: Dosovitskiy et al. 2021, arXiv
2010.11929).

An encoder block computes h = x + attention(norm(x)), y = h + W2 f(W1 norm(h)); the last one normalises y.

What differs from the papers: norms come first (Xiong et al. 2020, arXiv 2002.04745); position waves follow elapsed
time and are not interleaved; keys have no bias; there is no class token; a dropped feature is dropped at all steps.
"""

# B = rows, T = time or patches, I = inputs of a step, D = features, K = classes or targets
# C = channels, H, W = height and width, P = side of a patch, F = frequencies

import math
from typing import final

import torch
from torch import Tensor, nn

from learners.networks.attention import SelfAttention
from learners.networks.block import ACTIVATIONS, Block, State
from learners.networks.block_network import BlockNetwork, widened
from learners.networks.dense import LastStepReadout, MeanReadout
from learners.networks.scope import Dropout
from learners.networks.synapses import LinearSynapse, initialise
from specs.architecture import Layout
from specs.networks.transformer import TransformerSpec

LONGEST_WAVE = 10_000.0
"""In steps over 2 pi; the shortest is one (section 3.5)."""


@final
class Embedding(Block):
    """A linear map of every step, plus its position: [B,T,I] with dt [B,T], or [B,C,H,W] -> [B,T,D]."""

    layout: Layout = "sequence"

    def __init__(self, steps: int, inputs: int, spec: TransformerSpec) -> None:
        super().__init__()
        self.synapse = LinearSynapse(inputs, spec.width)
        initialise(self.synapse, spec.init)
        self.positions: nn.Parameter | None = None
        if spec.positions == "learned":
            self.positions = nn.Parameter(torch.empty(steps, spec.width).normal_(std=0.02))
        self._patch_size = spec.patch_size
        self._timed = spec.positions == "time"

    def forward(self, x: Tensor, state: State = None, dt: Tensor | None = None) -> tuple[Tensor, State]:  # noqa: ARG002
        x_BTI = x if self._patch_size is None else patches(x, self._patch_size)
        embedded_BTD = self.synapse(x_BTI)
        if self.positions is not None:
            return embedded_BTD + self.positions, None
        if not self._timed:
            return embedded_BTD, None
        # In the weights' precision, which under autocast is finer than that of the products.
        dt_BT = x.new_ones(1, x_BTI.shape[1]) if dt is None else dt
        return embedded_BTD + waves(dt_BT.to(self.synapse.weight.dtype).cumsum(1), embedded_BTD.shape[2]), None


@final
class EncoderBlock(Block):
    """Attention, then a perceptron on every step, each beside a skip: [B,T,D] -> [B,T,D]."""

    layout: Layout = "sequence"

    def __init__(self, spec: TransformerSpec, *, last: bool) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(spec.width)
        self.attention = SelfAttention(spec.width, spec.heads, init=spec.init)
        self.norm_perceptron = nn.LayerNorm(spec.width)
        self.first = LinearSynapse(spec.width, spec.feedforward)
        self.second = LinearSynapse(spec.feedforward, spec.width)
        for synapse in (self.first, self.second):
            initialise(synapse, spec.init)
        self.norm_output = nn.LayerNorm(spec.width) if last else None
        self.dropouts = nn.ModuleList(Dropout(spec.dropout) for _ in range(2)) if spec.dropout > 0 else None
        self._nonlinearity = ACTIVATIONS[spec.activation]

    def forward(self, x: Tensor, state: State = None, dt: Tensor | None = None) -> tuple[Tensor, State]:  # noqa: ARG002
        x = x + self._dropped(0, self.attention(self.norm_attention(x)))
        x = x + self._dropped(1, self.second(self._nonlinearity(self.first(self.norm_perceptron(x)))))
        return x if self.norm_output is None else self.norm_output(x), None

    def _dropped(self, which: int, added_BTD: Tensor) -> Tensor:
        if self.dropouts is None:
            return added_BTD
        kept_BTD: Tensor = self.dropouts[which](added_BTD)
        return kept_BTD


@final
class Transformer(BlockNetwork):
    """The network of a ``TransformerSpec``."""

    def __init__(self, spec: TransformerSpec, *, input_shape: tuple[int, ...], extra_inputs: int, outputs: int) -> None:
        shape = widened(input_shape, extra_inputs, flat=False)
        steps, inputs = spec.sequence(shape)
        blocks: list[Block] = [Embedding(steps, inputs, spec)]
        blocks += [EncoderBlock(spec, last=index == spec.layers - 1) for index in range(spec.layers)]
        reads = LastStepReadout if spec.readout == "last" else MeanReadout
        layout: Layout = "sequence" if spec.patch_size is None else "image"
        readout = reads(spec.width, outputs, init=spec.init)
        super().__init__(blocks, readout, input_shape=shape, input_layout=layout)


def patches(x_BCHW: Tensor, size: int) -> Tensor:
    """Squares of ``size`` x ``size`` pixels, row by row: [B,C,H,W] -> [B,T,CPP]."""
    batch, channels, height, width = x_BCHW.shape
    cut = x_BCHW.reshape(batch, channels, height // size, size, width // size, size)
    return cut.permute(0, 2, 4, 1, 3, 5).reshape(batch, -1, channels * size * size)


def waves(time_BT: Tensor, features: int) -> Tensor:
    """Sines, then cosines, of a time at falling frequencies (section 3.5): [B,T] -> [B,T,D]."""
    half = (features + 1) // 2
    exponents_F = torch.arange(half, dtype=time_BT.dtype, device=time_BT.device) / half
    angles_BTF = time_BT.unsqueeze(2) * torch.exp(-math.log(LONGEST_WAVE) * exponents_F)
    return torch.cat([angles_BTF.sin(), angles_BTF.cos()], 2)[:, :, :features]
