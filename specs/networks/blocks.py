"""A network of one's own on the menu: a list of layers."""

from itertools import pairwise
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from specs.architecture import BOUNDED, INIT, LAYOUTS, MAX_BLOCKS, Architecture, Init, Layout, Provision, by_norm
from specs.layers import (
    ActivationLayer,
    ConvLayer,
    Layer,
    LayerSpec,
    LinearLayer,
    Misfit,
    NormLayer,
    ResidualLayer,
    Shape,
    walk,
)
from specs.papers import JobBody
from specs.signature import DataSignature

IN_A_PLAIN_BLOCK = ("pool", "norm", "activation", "dropout")
"""What may follow a weight matrix, each once and in this order, so that the block is plain."""


class BlocksSpec(Architecture):
    """Layers in order, then a linear read-out. Every linear, conv, attention and residual layer starts a block.

    The layers between two of them belong to the block before; those before the first one belong to the first block.
    """

    title: ClassVar[str] = "Own architecture"
    summary: ClassVar[str] = "A list of layers: linear, conv, attention, pool, norm, activation, dropout, residual."
    layouts: ClassVar[frozenset[Layout]] = frozenset({"vector", "image", "sequence"})
    small: ClassVar[dict[str, JobBody]] = {
        "blocks": {
            "layers": [
                {"kind": "norm", "norm": "batch"},
                {"kind": "linear", "units": 6},
                {"kind": "activation", "function": "tanh"},
                {
                    "kind": "residual",
                    "layers": [
                        {"kind": "linear", "units": 7},
                        {"kind": "activation", "function": "gelu"},
                        {"kind": "dropout", "probability": 0.25},
                        {"kind": "linear", "units": 5},
                    ],
                },
            ]
        },
        "blocks image": {
            "layers": [
                {"kind": "conv", "channels": 3},
                {"kind": "pool"},
                {"kind": "activation", "function": "tanh"},
                {"kind": "linear", "units": 6},
                {"kind": "activation", "function": "tanh"},
            ]
        },
        "blocks sequence": {
            "layers": [
                {"kind": "linear", "units": 4, "per_step": True},
                {"kind": "residual", "layers": [{"kind": "norm"}, {"kind": "attention", "heads": 2}]},
                {
                    "kind": "residual",
                    "layers": [
                        {"kind": "norm"},
                        {"kind": "linear", "units": 6, "per_step": True},
                        {"kind": "activation", "function": "gelu"},
                        {"kind": "linear", "units": 4, "per_step": True},
                    ],
                },
            ],
            "readout": "mean",
        },
    }

    kind: Literal["blocks"] = "blocks"
    layers: Annotated[tuple[Layer, ...], Field(strict=False)] = Field(
        default=(
            LinearLayer(units=128),
            ActivationLayer(function="relu"),
            LinearLayer(units=128),
            ActivationLayer(function="relu"),
        ),
        min_length=1,
        max_length=MAX_BLOCKS,
        description="in order; at least one of them linear, conv, attention or residual",
    )
    readout: Literal["flatten", "mean", "last"] = Field(
        default="flatten",
        description="what the read-out sees: everything, the mean over places or steps, or the last step",
    )
    init: Init = Field(default="default", description=INIT)

    @model_validator(mode="after")
    def _something_to_train(self) -> "BlocksSpec":
        if not any(layer.starts_block for layer in self.layers):
            raise ValueError("layers hold at least one linear, conv, attention or residual layer")
        return self

    def blocks(self) -> list[tuple[LayerSpec, ...]]:
        """The layers of every block."""
        starts = [index for index, layer in enumerate(self.layers) if layer.starts_block]
        edges = [0, *starts[1:], len(self.layers)]
        return [self.layers[low:high] for low, high in pairwise(edges)]

    @property
    def depth(self) -> int:
        return len(self.blocks())

    @property
    def provides(self) -> frozenset[Provision]:
        offered: set[Provision] = {"synapse", "hidden_block"}
        if all(is_plain(block) for block in self.blocks()):
            offered.add("plain_block")
        norms = {layer.norm for layer in self._all_layers() if isinstance(layer, NormLayer)}
        offered |= by_norm("batch" if "batch" in norms else "layer" if norms else "none")
        if all(is_bounded(block) for block in self.blocks()):
            offered.add("bounded_activation")
        if self.depth <= (2 if any(isinstance(layer, ConvLayer) for layer in self.layers) else 3):
            offered.add("shallow")
        return frozenset(offered)

    def _all_layers(self) -> list[LayerSpec]:
        inner = [within for layer in self.layers if isinstance(layer, ResidualLayer) for within in layer.layers]
        return [*self.layers, *inner]

    def misfit(self, input_shape: tuple[int, ...]) -> str | None:
        try:
            last = walk(self.layers, input_shape)[-1]
        except Misfit as misfit:
            return str(misfit)
        if self.readout == "last" and len(last) != 2:
            return f"readout last reads sequences [T,I]; the layers give {LAYOUTS[len(last)]}s {list(last)}"
        if self.readout == "mean" and len(last) == 1:
            return f"readout mean reads images or sequences; the layers give vectors {list(last)}"
        return None

    def parameters(self, signature: DataSignature, *, extra_inputs: int = 0) -> int | None:
        shapes = [widened_shape(signature.input_shape, extra_inputs)]
        try:
            shapes += walk(self.layers, shapes[0])
        except Misfit:
            return None
        count = sum(layer.weights(shape) for layer, shape in zip(self.layers, shapes, strict=False))
        read = LinearLayer(units=signature.outputs)
        last = shapes[-1]
        if self.readout != "flatten":
            last = (last[0] if len(last) == 3 else last[-1],)
        return count + read.weights(last)


def is_plain(block: tuple[LayerSpec, ...]) -> bool:
    """Whether a block is one weight matrix, pooling, norm, one nonlinearity and dropout, in this order."""
    first, *rest = block
    if not (isinstance(first, ConvLayer) or (isinstance(first, LinearLayer) and not first.per_step)):
        return False
    kinds = [type(layer).model_fields["kind"].default for layer in rest]
    return kinds == [kind for kind in IN_A_PLAIN_BLOCK if kind in kinds]


def is_bounded(block: tuple[LayerSpec, ...]) -> bool:
    """Whether a block's units end in a bounded activation."""
    functions = [layer.function for layer in block if isinstance(layer, ActivationLayer)]
    return bool(functions) and functions[-1] in BOUNDED


def widened_shape(shape: Shape, extra: int) -> Shape:
    """With ``extra`` features, channels or features of every step appended."""
    if len(shape) == 2:
        return shape[0], shape[1] + extra
    return (shape[0] + extra, *shape[1:])
