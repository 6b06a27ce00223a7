"""The transformer encoder on the menu."""

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from specs.architecture import (
    DROPOUT,
    INIT,
    MAX_BLOCKS,
    Activation,
    Architecture,
    Init,
    Layout,
    Provision,
    chained_weights,
)
from specs.kinds import unfit
from specs.papers import JobBody, Paper
from specs.signature import DataSignature


class TransformerSpec(Architecture):
    """An embedding of every step, pre-normalised encoder blocks, and a linear read-out of the last step or the mean.

    With ``patch_size`` it reads images instead of sequences: the patches are the steps, row by row.
    """

    title: ClassVar[str] = "Transformer encoder"
    summary: ClassVar[str] = "Self-attention over the steps of a sequence or the patches of an image."
    paper: ClassVar[Paper | None] = Paper(
        title="Attention Is All You Need",
        authors="Vaswani, Shazeer, Parmar, Uszkoreit, Jones, Gomez, Kaiser, Polosukhin",
        year=2017,
        url="https://arxiv.org/abs/1706.03762",
    )
    layouts: ClassVar[frozenset[Layout]] = frozenset({"sequence", "image"})
    small: ClassVar[dict[str, JobBody]] = {
        "transformer": {"width": 6, "heads": 2, "layers": 1, "feedforward": 7, "dropout": 0.25},
        "transformer patches": {
            "width": 4,
            "heads": 1,
            "layers": 2,
            "feedforward": 5,
            "patch_size": 4,
            "positions": "learned",
            "readout": "mean",
        },
    }

    kind: Literal["transformer"] = "transformer"
    width: int = Field(default=64, ge=1, le=16_384, description="features of every step between the blocks")
    heads: int = Field(default=4, ge=1, le=256, description="attention heads of a block; width is a multiple of it")
    layers: int = Field(default=2, ge=1, le=MAX_BLOCKS - 1, description="number of encoder blocks")
    feedforward: int = Field(default=128, ge=1, le=65_536, description="hidden units of every block's perceptron")
    activation: Activation = Field(default="gelu", description="element-wise nonlinearity of every block's perceptron")
    positions: Literal["time", "learned", "none"] = Field(
        default="time",
        description="what is added to the embedding: time (waves of the time since the start: elapsed times where the "
        "data set has them, else every step takes one), learned (a vector per step), or none",
    )
    patch_size: int | None = Field(
        default=None, ge=1, le=512, description="side of an image's patches; null: the network reads sequences"
    )
    readout: Literal["last", "mean"] = Field(
        default="last", description="what the read-out sees of the sequence: its last step, or the mean of its steps"
    )
    dropout: float = Field(
        default=0.0, ge=0, lt=1, description=DROPOUT + "; applied to what attention and perceptron add"
    )
    init: Init = Field(default="default", description=INIT)

    @model_validator(mode="after")
    def _heads_divide_the_width(self) -> "TransformerSpec":
        if self.width % self.heads:
            message = f"width {self.width} is not a multiple of {self.heads} heads"
            raise unfit("/width", message, f"a multiple of {self.heads}")
        return self

    @property
    def depth(self) -> int:
        return 1 + self.layers

    @property
    def provides(self) -> frozenset[Provision]:
        return frozenset({"synapse", "hidden_block", "batch_free"})

    def misfit(self, input_shape: tuple[int, ...]) -> str | None:
        wrong = super().misfit(input_shape)
        if wrong is not None:
            return wrong
        if self.patch_size is None:
            return (
                None
                if len(input_shape) == 2
                else "transformer reads images only with a patch_size: the side of the squares that are its steps"
            )
        if len(input_shape) == 2:
            return "transformer with a patch_size reads images [C,H,W], not sequences [T,I]"
        height, width = input_shape[1:]
        if height % self.patch_size or width % self.patch_size:
            return f"an image of {height} x {width} cannot be cut into patches of {self.patch_size} x {self.patch_size}"
        return None

    def misfit_field(self, input_shape: tuple[int, ...]) -> str:
        return "kind" if len(input_shape) == 1 else "patch_size"

    def sequence(self, input_shape: tuple[int, ...]) -> tuple[int, int]:
        """Steps, and features of a step, of inputs of this shape."""
        if self.patch_size is None:
            return input_shape[0], input_shape[-1]
        channels, height, width = input_shape
        return (height // self.patch_size) * (width // self.patch_size), channels * self.patch_size**2

    def parameters(self, signature: DataSignature, *, extra_inputs: int = 0) -> int | None:
        steps, inputs = self.sequence(signature.input_shape)
        inputs += extra_inputs * (1 if self.patch_size is None else self.patch_size**2)
        count = chained_weights([inputs, self.width]) + (steps * self.width if self.positions == "learned" else 0)
        attention = 4 * self.width**2 + 3 * self.width
        perceptron = chained_weights([self.width, self.feedforward, self.width])
        count += self.layers * (attention + perceptron + 4 * self.width) + 2 * self.width
        return count + chained_weights([self.width, signature.outputs])
