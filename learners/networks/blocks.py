"""A network made of a list of layers: what one would write as a chain of PyTorch's modules, in blocks.

A weight matrix with pooling, norm, nonlinearity and dropout after it is the plain block of ``mlp`` and ``cnn``; every
other block runs its layers in order.
"""

# B = rows, T = time, D = features, C = channels, H, W = height and width

import math
from collections.abc import Sequence
from typing import Any, final

from torch import Tensor, nn

from learners.networks.attention import SelfAttention
from learners.networks.block import ACTIVATIONS, Block, State, normalisation
from learners.networks.block_network import BlockNetwork, widened
from learners.networks.conv import ConvBlock, PooledReadout, Pooling, pooled
from learners.networks.dense import DenseBlock, LastStepReadout, MeanReadout
from learners.networks.scope import Dropout
from learners.networks.synapses import ConvSynapse, LinearSynapse, Synapse, initialise
from specs.architecture import LAYOUTS, Activation, Init
from specs.layers import (
    ActivationLayer,
    AttentionLayer,
    ConvLayer,
    DropoutLayer,
    LayerSpec,
    LinearLayer,
    NormLayer,
    PoolLayer,
    ResidualLayer,
    Shape,
    walk,
)
from specs.networks.blocks import BlocksSpec, is_plain


@final
class Blocks(BlockNetwork):
    """The network of a ``BlocksSpec``."""

    def __init__(self, spec: BlocksSpec, *, input_shape: tuple[int, ...], extra_inputs: int, outputs: int) -> None:
        shape = widened(input_shape, extra_inputs, flat=False)
        blocks: list[Block] = []
        before = shape
        for layers in spec.blocks():
            blocks.append(_block(layers, before, spec.init))
            before = walk(layers, before)[-1]
        readout = _readout(spec, before, outputs)
        super().__init__(blocks, readout, input_shape=shape, input_layout=LAYOUTS[len(shape)])


@final
class ComposedBlock(Block):
    """Layers in order."""

    def __init__(self, layers: Sequence[LayerSpec], shape: Shape, init: Init) -> None:
        super().__init__()
        self.layout = LAYOUTS[len(walk(tuple(layers), shape)[-1])]
        self.layers = _chain(layers, shape, init)

    def forward(self, x: Tensor, state: State = None, dt: Tensor | None = None) -> tuple[Tensor, State]:  # noqa: ARG002
        return self.layers(x), None


@final
class Residual(nn.Module):
    """The input, through a linear map where the shape changes, plus the layers' output."""

    def __init__(self, spec: ResidualLayer, shape: Shape, init: Init) -> None:
        super().__init__()
        self.layers = _chain(spec.layers, shape, init)
        self.skip: Synapse | None = None
        after = spec.after(shape)
        if len(shape) == 3 and after != shape:
            self.skip = ConvSynapse(shape[0], after[0], kernel_size=1, stride=spec.stride, bias=False)
        elif after != shape:
            self.skip = LinearSynapse(shape[-1], after[-1], bias=False)
        if self.skip is not None:
            initialise(self.skip, init)

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = self.layers(x)
        return added + (x if self.skip is None else self.skip(x))


@final
class Flattened(nn.Module):
    """A linear map of everything in a row: [B, ...] -> [B,D]."""

    def __init__(self, synapse: LinearSynapse) -> None:
        super().__init__()
        self.synapse = synapse

    def forward(self, x: Tensor) -> Tensor:
        z_BD: Tensor = self.synapse(x.flatten(1))
        return z_BD


@final
class Nonlinearity(nn.Module):
    """An element-wise nonlinearity by its name."""

    def __init__(self, function: Activation) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return ACTIVATIONS[self.function](x)


@final
class Pool(nn.Module):
    """Pooling of an image: [B,C,H,W] -> [B,C,H',W']."""

    def __init__(self, pooling: Pooling, size: int) -> None:
        super().__init__()
        self.pooling: Pooling = pooling
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        return pooled(x, self.pooling, self.size)


def _block(layers: tuple[LayerSpec, ...], shape: Shape, init: Init) -> Block:
    if not is_plain(layers):
        return ComposedBlock(layers, shape, init)
    after: dict[str, Any] = {"activation": "identity", "init": init}
    for layer in layers[1:]:
        if isinstance(layer, PoolLayer):
            after |= {"pooling": layer.pooling, "pooling_size": layer.size}
        elif isinstance(layer, NormLayer):
            after["norm"] = layer.norm
        elif isinstance(layer, ActivationLayer):
            after["activation"] = layer.function
        elif isinstance(layer, DropoutLayer):
            after["dropout"] = layer.probability
    first = layers[0]
    if isinstance(first, ConvLayer):
        return ConvBlock(
            shape[0], first.channels, kernel_size=first.kernel_size, stride=first.stride, bias=first.bias, **after
        )
    assert isinstance(first, LinearLayer)
    inputs = math.prod(shape)
    return DenseBlock(inputs, first.units, bias=first.bias, **after)


def _readout(spec: BlocksSpec, shape: Shape, outputs: int) -> Block:
    if spec.readout == "flatten":
        inputs = math.prod(shape)
        return DenseBlock(inputs, outputs, activation="identity", init=spec.init)
    if len(shape) == 3:
        return PooledReadout(shape[0], outputs, init=spec.init)
    reads = MeanReadout if spec.readout == "mean" else LastStepReadout
    return reads(shape[-1], outputs, init=spec.init)


def _chain(layers: Sequence[LayerSpec], shape: Shape, init: Init) -> nn.Sequential:
    modules = []
    for layer in layers:
        modules.append(_module(layer, shape, init))
        shape = layer.after(shape)
    return nn.Sequential(*modules)


def _module(layer: LayerSpec, shape: Shape, init: Init) -> nn.Module:
    match layer:
        case LinearLayer():
            inputs = shape[-1] if layer.per_step else math.prod(shape)
            synapse = LinearSynapse(inputs, layer.units, bias=layer.bias)
            initialise(synapse, init)
            return synapse if layer.per_step or len(shape) == 1 else Flattened(synapse)
        case ConvLayer():
            kernel = ConvSynapse(
                shape[0], layer.channels, kernel_size=layer.kernel_size, stride=layer.stride, bias=layer.bias
            )
            initialise(kernel, init)
            return kernel
        case AttentionLayer():
            return SelfAttention(shape[1], layer.heads, init=init)
        case PoolLayer():
            return Pool(layer.pooling, layer.size)
        case NormLayer():
            norm = normalisation(layer.norm, shape[0] if len(shape) == 3 else shape[-1], LAYOUTS[len(shape)])
            assert norm is not None
            return norm
        case ActivationLayer():
            return Nonlinearity(layer.function)
        case DropoutLayer():
            return Dropout(layer.probability)
        case ResidualLayer():
            return Residual(layer, shape, init)
    raise TypeError(f"no module for a layer of {type(layer).__name__}")
