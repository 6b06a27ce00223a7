"""The residual convolutional network on the menu."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from specs.architecture import (
    ACTIVATION,
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
    chained_weights,
    refuse_oversize,
)
from specs.kinds import unfit
from specs.papers import JobBody, Paper
from specs.signature import DataSignature

AREA = 9
"""Weights of a kernel: all are 3 x 3, as in the paper."""


class ResnetSpec(Architecture):
    """A convolution, stages of residual blocks, the channels' means, and the read-out; for small images.

    Every stage after the first halves height and width.
    """

    title: ClassVar[str] = "Residual network"
    summary: ClassVar[str] = "Blocks of two convolutions that add their input; stages of halved size."
    paper: ClassVar[Paper | None] = Paper(
        title="Deep Residual Learning for Image Recognition",
        authors="He, Zhang, Ren, Sun",
        year=2016,
        url="https://arxiv.org/abs/1512.03385",
    )
    layouts: ClassVar[frozenset[Layout]] = frozenset({"image"})
    small: ClassVar[dict[str, JobBody]] = {
        "resnet batch": {"channels": [3, 4], "blocks_per_stage": 1},
        "resnet": {"channels": [4], "blocks_per_stage": 2, "norm": "none", "activation": "tanh", "dropout": 0.25},
        "resnet layer": {"channels": [3, 4], "blocks_per_stage": 1, "norm": "layer", "activation": "gelu"},
    }

    kind: Literal["resnet"] = "resnet"
    channels: Annotated[tuple[Annotated[int, Field(ge=1, le=8192)], ...], Field(strict=False)] = Field(
        default=(16, 32, 64), min_length=1, max_length=8, description="output channels of the blocks of each stage"
    )
    blocks_per_stage: int = Field(
        default=3, ge=1, le=128, description="residual blocks of each stage; 3 is the paper's ResNet-20"
    )
    activation: Activation = Field(default="relu", description=ACTIVATION)
    norm: Norm = Field(default="batch", description=NORM + "; with a norm the convolutions have no biases")
    dropout: float = Field(default=0.0, ge=0, lt=1, description=DROPOUT + "; between a block's convolutions")
    init: Init = Field(default="kaiming", description=INIT)

    @model_validator(mode="after")
    def _bounded(self) -> "ResnetSpec":
        if self.depth > MAX_BLOCKS:
            message = f"channels and blocks_per_stage make more than {MAX_BLOCKS} blocks"
            raise unfit("/blocks_per_stage", message, f"at most {MAX_BLOCKS} blocks in all stages")
        widths = [width for width in self.channels for _ in range(2 * self.blocks_per_stage)]
        refuse_oversize((*(width * AREA for width in widths[:-1]), widths[-1]), "channels")
        return self

    @property
    def depth(self) -> int:
        return 1 + len(self.channels) * self.blocks_per_stage

    @property
    def provides(self) -> frozenset[Provision]:
        offered: set[Provision] = {"synapse", "hidden_block"}
        if self.norm != "batch":
            offered.add("batch_free")
        return frozenset(offered)

    def blocks(self) -> list[tuple[int, int, int]]:
        """Input channels, output channels and stride of every residual block."""
        found, inputs = [], self.channels[0]
        for stage, outputs in enumerate(self.channels):
            for index in range(self.blocks_per_stage):
                found.append((inputs, outputs, 2 if stage > 0 and index == 0 else 1))
                inputs = outputs
        return found

    def parameters(self, signature: DataSignature, *, extra_inputs: int = 0) -> int | None:
        # A convolution's bias, or its norm's two vectors.
        beside = 1 if self.norm == "none" else 2
        count = ((signature.input_shape[0] + extra_inputs) * AREA + beside) * self.channels[0]
        for inputs, outputs, stride in self.blocks():
            count += (inputs * AREA + outputs * AREA + 2 * beside) * outputs
            if inputs != outputs or stride > 1:
                count += (inputs + beside) * outputs
        return count + chained_weights([self.channels[-1], signature.outputs])
