"""The layers that a network of kind ``blocks`` is made of. Each knows what it makes of a shape, and its weights."""

import math
from abc import ABC, abstractmethod
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from specs.architecture import (
    ACTIVATION,
    DROPOUT,
    LAYOUT_NAMES,
    LAYOUTS,
    MAX_BLOCKS,
    NORM,
    Activation,
    Layout,
    Width,
    chained_weights,
)
from specs.kinds import Spec, unfit

Shape = tuple[int, ...]


class Misfit(Exception):
    """A layer cannot read what the layers before it give."""


class LayerSpec(Spec, ABC):
    """A layer. ``starts_block`` says that it holds weight matrices; the others belong to the block before them."""

    starts_block: ClassVar[bool] = False
    reads: ClassVar[frozenset[Layout]] = frozenset({"vector", "image", "sequence"})

    @abstractmethod
    def after(self, shape: Shape) -> Shape:
        """The shape that it gives for one that it reads."""

    def weights(self, shape: Shape) -> int:  # noqa: ARG002
        """Parameters, for inputs of this shape."""
        return 0

    def read(self, shape: Shape) -> Shape:
        """The shape that it gives. Raises ``Misfit``."""
        layout = LAYOUTS[len(shape)]
        if layout not in self.reads:
            readable = " or ".join(LAYOUT_NAMES[other] for other in sorted(self.reads))
            raise Misfit(f"reads {readable}, not {LAYOUT_NAMES[layout]}; here it gets {list(shape)}")
        return self.after(shape)


class LinearLayer(LayerSpec):
    """A fully connected layer. Images and sequences are flattened, unless it works on every step by itself."""

    starts_block: ClassVar[bool] = True

    kind: Literal["linear"] = "linear"
    units: Width = Field(description="outputs")
    bias: bool = Field(default=True, description="whether it has biases")
    per_step: bool = Field(default=False, description="sequences: the same weights at every step, [T,I] to [T,units]")

    def after(self, shape: Shape) -> Shape:
        if not self.per_step:
            return (self.units,)
        if len(shape) != 2:
            raise Misfit(f"per_step works on sequences [T,I]; here it gets {list(shape)}")
        return shape[0], self.units

    def weights(self, shape: Shape) -> int:
        inputs = shape[-1] if self.per_step else math.prod(shape)
        return chained_weights([inputs, self.units], bias=self.bias)


class ConvLayer(LayerSpec):
    """A convolution, padded so that stride 1 keeps the size."""

    starts_block: ClassVar[bool] = True
    reads: ClassVar[frozenset[Layout]] = frozenset({"image"})

    kind: Literal["conv"] = "conv"
    channels: int = Field(ge=1, le=8192, description="output channels")
    kernel_size: int = Field(default=3, ge=1, le=31, description="side of the square kernel; odd")
    stride: int = Field(default=1, ge=1, le=8, description="step of the convolution")
    bias: bool = Field(default=True, description="whether it has biases; a batch norm after it makes them idle")

    @model_validator(mode="after")
    def _odd_kernel(self) -> "ConvLayer":
        if self.kernel_size % 2 == 0:
            raise unfit("/kernel_size", "kernel_size must be odd, so that padding keeps the size", "an odd integer")
        return self

    def after(self, shape: Shape) -> Shape:
        _, height, width = shape
        return self.channels, (height - 1) // self.stride + 1, (width - 1) // self.stride + 1

    def weights(self, shape: Shape) -> int:
        return self.channels * (shape[0] * self.kernel_size**2 + (1 if self.bias else 0))


class AttentionLayer(LayerSpec):
    """Self-attention over the steps of a sequence; it does not know their order by itself."""

    starts_block: ClassVar[bool] = True
    reads: ClassVar[frozenset[Layout]] = frozenset({"sequence"})

    kind: Literal["attention"] = "attention"
    heads: int = Field(default=1, ge=1, le=256, description="attention heads; they divide the features of a step")

    def after(self, shape: Shape) -> Shape:
        if shape[1] % self.heads:
            raise Misfit(f"{self.heads} heads do not divide the {shape[1]} features of a step")
        return shape

    def weights(self, shape: Shape) -> int:
        return 4 * shape[1] ** 2 + 3 * shape[1]


class PoolLayer(LayerSpec):
    """Windows of an image that do not overlap, each as its largest or its mean value."""

    reads: ClassVar[frozenset[Layout]] = frozenset({"image"})

    kind: Literal["pool"] = "pool"
    pooling: Literal["max", "average"] = Field(default="max", description="what stands for a window")
    size: int = Field(default=2, ge=2, le=8, description="side and step of the window")

    def after(self, shape: Shape) -> Shape:
        channels, height, width = shape
        if min(height, width) < self.size:
            raise Misfit(f"nothing is left of an image of {height} x {width}")
        return channels, height // self.size, width // self.size


class NormLayer(LayerSpec):
    """A normalisation with a scale and a shift per feature or channel."""

    kind: Literal["norm"] = "norm"
    norm: Literal["batch", "layer"] = Field(default="layer", description=NORM)

    def after(self, shape: Shape) -> Shape:
        if self.norm == "batch" and len(shape) == 2:
            raise Misfit("batch normalisation is not offered for sequences; layer is")
        return shape

    def weights(self, shape: Shape) -> int:
        return 2 * (shape[0] if len(shape) == 3 else shape[-1])


class ActivationLayer(LayerSpec):
    """An element-wise nonlinearity."""

    kind: Literal["activation"] = "activation"
    function: Activation = Field(default="relu", description=ACTIVATION.removesuffix(" of every block"))

    def after(self, shape: Shape) -> Shape:
        return shape


class DropoutLayer(LayerSpec):
    """Dropout by replayable masks."""

    kind: Literal["dropout"] = "dropout"
    probability: float = Field(default=0.1, gt=0, lt=1, description=DROPOUT.removesuffix(" after the nonlinearity"))

    def after(self, shape: Shape) -> Shape:
        return shape


InnerLayer = Annotated[
    LinearLayer | ConvLayer | AttentionLayer | NormLayer | ActivationLayer | DropoutLayer, Field(discriminator="kind")
]


class ResidualLayer(LayerSpec):
    """Layers whose input is added to their output; where they change the shape, through a linear map without bias."""

    starts_block: ClassVar[bool] = True

    kind: Literal["residual"] = "residual"
    layers: Annotated[tuple[InnerLayer, ...], Field(strict=False)] = Field(
        min_length=1, max_length=MAX_BLOCKS, description="in order; at least one of them linear, conv or attention"
    )

    @model_validator(mode="after")
    def _something_to_train(self) -> "ResidualLayer":
        if not any(layer.starts_block for layer in self.layers):
            raise ValueError("a residual holds at least one linear, conv or attention layer")
        return self

    @property
    def stride(self) -> int:
        """Of the map that the input goes through."""
        return math.prod(layer.stride for layer in self.layers if isinstance(layer, ConvLayer))

    def after(self, shape: Shape) -> Shape:
        found = walk(self.layers, shape)[-1]
        if len(found) != len(shape):
            raise Misfit(f"its layers turn {list(shape)} into {list(found)}, to which the input cannot be added")
        return found

    def weights(self, shape: Shape) -> int:
        shapes = [shape, *walk(self.layers, shape)]
        inner = sum(layer.weights(before) for layer, before in zip(self.layers, shapes, strict=False))
        channel = -1 if len(shape) == 2 else 0
        return inner + (0 if shapes[-1] == shape else shape[channel] * shapes[-1][channel])


Layer = Annotated[
    LinearLayer | ConvLayer | AttentionLayer | PoolLayer | NormLayer | ActivationLayer | DropoutLayer | ResidualLayer,
    Field(discriminator="kind"),
]


def walk(layers: tuple[LayerSpec, ...], shape: Shape) -> list[Shape]:
    """The shape after every layer. Raises ``Misfit``, which names the layer."""
    found = []
    for index, layer in enumerate(layers):
        try:
            shape = layer.read(shape)
        except Misfit as misfit:
            kind = type(layer).model_fields["kind"].default
            raise Misfit(f"layers/{index} ({kind}): {misfit}") from None
        found.append(shape)
    return found
