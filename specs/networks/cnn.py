"""The convolutional network on the menu."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from specs.architecture import (
    ACTIVATION,
    BOUNDED,
    DROPOUT,
    INIT,
    MAX_BLOCKS,
    NORM,
    Activation,
    Architecture,
    Init,
    Layout,
    Norm,
    Provision,
    Widths,
    by_norm,
    chained_weights,
    refuse_oversize,
)
from specs.kinds import unfit
from specs.papers import JobBody, Paper
from specs.signature import DataSignature


class CnnSpec(Architecture):
    """Convolution blocks, then optional fully connected ones, then the read-out."""

    title: ClassVar[str] = "Convolutional network"
    summary: ClassVar[str] = "Convolution, pooling and nonlinearity; then fully connected blocks."
    paper: ClassVar[Paper | None] = Paper(
        title="Gradient-based learning applied to document recognition",
        authors="LeCun, Bottou, Bengio, Haffner",
        year=1998,
        url="https://doi.org/10.1109/5.726791",
    )
    layouts: ClassVar[frozenset[Layout]] = frozenset({"image"})
    small: ClassVar[dict[str, JobBody]] = {
        "cnn": {"channels": [3, 4], "hidden": [6]},
        "cnn strided": {"channels": [4], "stride": 2, "pooling": "none"},
        "cnn bounded": {"channels": [3, 4], "hidden": [6], "activation": "sigmoid"},
        "cnn batch": {"channels": [3, 4], "norm": "batch", "pooling": "average", "activation": "tanh"},
    }

    alternatives: ClassVar[tuple[JobBody, ...]] = (
        {"norm": "none"},
        {"norm": "none", "activation": "hard_sigmoid"},
    )

    kind: Literal["cnn"] = "cnn"
    channels: Annotated[tuple[Annotated[int, Field(ge=1, le=8192)], ...], Field(strict=False)] = Field(
        default=(16, 32), min_length=1, max_length=MAX_BLOCKS, description="output channels of each convolution block"
    )
    kernel_size: int = Field(default=3, ge=1, le=31, description="side of the square kernel; padded to keep the size")
    stride: int = Field(default=1, ge=1, le=8, description="step of every convolution")
    pooling: Literal["none", "max", "average"] = Field(
        default="max", description="pooling after each convolution, before the nonlinearity"
    )
    pooling_size: int = Field(default=2, ge=2, le=8, description="side and step of the pooling window")
    hidden: Widths = Field(default=(), description="units of fully connected layers after the convolutions")
    activation: Activation = Field(default="relu", description=ACTIVATION)
    norm: Norm = Field(default="none", description=NORM)
    dropout: float = Field(default=0.0, ge=0, lt=1, description=DROPOUT)
    init: Init = Field(default="default", description=INIT)

    @model_validator(mode="after")
    def _bounded(self) -> "CnnSpec":
        if self.kernel_size % 2 == 0:
            raise unfit("/kernel_size", "kernel_size must be odd, so that padding keeps the size", "an odd integer")
        if len(self.channels) + len(self.hidden) > MAX_BLOCKS:
            message = f"channels and hidden together have more than {MAX_BLOCKS} blocks"
            raise unfit("/channels", message, f"at most {MAX_BLOCKS} items, with those of hidden")
        area = self.kernel_size**2
        refuse_oversize((*(c * area for c in self.channels[:-1]), self.channels[-1]), "channels")
        refuse_oversize(self.hidden, "hidden")
        return self

    @property
    def depth(self) -> int:
        return len(self.channels) + len(self.hidden)

    def misfit(self, input_shape: tuple[int, ...]) -> str | None:
        wrong = super().misfit(input_shape)
        if wrong is not None:
            return wrong
        for index, (height, width) in enumerate(self.sizes(input_shape)):
            if min(height, width) < 1:
                return f"nothing is left of an image of {input_shape[1]} x {input_shape[2]} after block {index}"
        return None

    def sizes(self, input_shape: tuple[int, ...]) -> list[tuple[int, int]]:
        """Height and width after every convolution block."""
        size = (input_shape[1], input_shape[2])
        found = []
        for _ in self.channels:
            size = (self._shrunk(size[0]), self._shrunk(size[1]))
            found.append(size)
        return found

    def _shrunk(self, side: int) -> int:
        convolved = (side - 1) // self.stride + 1
        return convolved if self.pooling == "none" else convolved // self.pooling_size

    @property
    def provides(self) -> frozenset[Provision]:
        offered: set[Provision] = {"synapse", "hidden_block", "plain_block", *by_norm(self.norm)}
        if self.activation in BOUNDED:
            offered.add("bounded_activation")
        if self.depth <= 2:
            offered.add("shallow")
        return frozenset(offered)

    def parameters(self, signature: DataSignature, *, extra_inputs: int = 0) -> int | None:
        shape = signature.input_shape if len(signature.input_shape) == 3 else (1, 1, 1)
        count, inputs = 0, shape[0] + extra_inputs
        for outputs in self.channels:
            count += inputs * outputs * self.kernel_size**2 + outputs
            inputs = outputs
        height, width = (max(1, side) for side in self.sizes(shape)[-1])
        count += chained_weights([inputs * height * width, *self.hidden, signature.outputs])
        return count + (0 if self.norm == "none" else 2 * (sum(self.channels) + sum(self.hidden)))
