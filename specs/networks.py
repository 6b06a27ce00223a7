"""The networks on the menu. A network is a chain of blocks and a linear read-out; every learner that fits trains it."""

from abc import ABC
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
    Widths,
    refuse_oversize,
)
from specs.kinds import Spec
from specs.papers import Paper


class MlpSpec(Architecture):
    """Fully connected layers. ``hidden: []`` is a linear model. Images and sequences are flattened."""

    title: ClassVar[str] = "Multi-layer perceptron"
    summary: ClassVar[str] = "Fully connected layers, plain or residual; with hidden [] a linear model."
    layouts: ClassVar[frozenset[Layout]] = frozenset({"vector", "image", "sequence"})

    kind: Literal["mlp"] = "mlp"
    hidden: Widths = Field(default=(256, 256), description="units of each hidden layer; [] is a linear model")
    activation: Activation = Field(default="relu", description=ACTIVATION)
    norm: Norm = Field(default="none", description=NORM)
    dropout: float = Field(default=0.0, ge=0, lt=1, description=DROPOUT)
    init: Init = Field(default="default", description=INIT)
    bias: bool = Field(default=True, description="whether layers, the read-out included, have biases")
    residual: bool = Field(
        default=False,
        description="every block after the first adds its input (two layers, pre-normalised; a linear skip where the "
        "widths differ)",
    )

    @model_validator(mode="after")
    def _bounded(self) -> "MlpSpec":
        refuse_oversize(self.hidden, "hidden")
        return self

    @property
    def depth(self) -> int:
        return len(self.hidden)

    @property
    def provides(self) -> frozenset[Provision]:
        offered: set[Provision] = {"synapse"}
        if self.hidden:
            offered.add("hidden_block")
            if not (self.residual and len(self.hidden) > 1):
                offered.add("plain_block")
        if self.norm != "batch":
            offered.add("batch_free")
        return frozenset(offered)


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
            raise ValueError("kernel_size must be odd, so that padding keeps the size")
        if len(self.channels) + len(self.hidden) > MAX_BLOCKS:
            raise ValueError(f"channels and hidden together have more than {MAX_BLOCKS} blocks")
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
        offered: set[Provision] = {"synapse", "hidden_block", "plain_block"}
        if self.norm != "batch":
            offered.add("batch_free")
        return frozenset(offered)


class NcpCounts(Spec):
    """Neurons and synapse counts of a neural circuit policy; together the neurons are the block's units."""

    inter_neurons: int = Field(ge=1, le=4096, description="neurons that read the inputs")
    command_neurons: int = Field(ge=1, le=4096, description="recurrent neurons in the middle")
    motor_neurons: int = Field(ge=1, le=4096, description="neurons whose state is the block's output")
    sensory_fanout: int = Field(ge=1, description="synapses from each input to inter neurons")
    inter_fanout: int = Field(ge=1, description="synapses from each inter neuron to command neurons")
    recurrent_command_synapses: int = Field(ge=0, le=1_000_000, description="synapses drawn among command neurons")
    motor_fanin: int = Field(ge=1, description="synapses from command neurons to each motor neuron")

    @model_validator(mode="after")
    def _reachable(self) -> "NcpCounts":
        if self.sensory_fanout > self.inter_neurons:
            raise ValueError("sensory_fanout must not exceed inter_neurons")
        if self.inter_fanout > self.command_neurons or self.motor_fanin > self.command_neurons:
            raise ValueError("inter_fanout and motor_fanin must not exceed command_neurons")
        return self


class Liquid(Architecture, ABC):
    """What both liquid networks share: recurrent blocks that read the time between two inputs."""

    layouts: ClassVar[frozenset[Layout]] = frozenset({"sequence"})

    hidden: Annotated[tuple[Annotated[int, Field(ge=1, le=4096)], ...], Field(strict=False)] = Field(
        default=(32,), min_length=1, max_length=64, description="units of each recurrent block, in order"
    )
    wiring: Literal["full", "ncp", "auto_ncp"] = Field(
        default="full",
        description="which neurons are connected: full, ncp (the counts in ncp), or auto_ncp (counts derived from "
        "the units, motor_neurons and sparsity)",
    )
    ncp: NcpCounts | None = Field(default=None, description="counts for wiring ncp, which needs exactly one block")
    motor_neurons: int | None = Field(
        default=None, ge=1, le=4093, description="outputs of an auto_ncp block; null is a quarter of its units"
    )
    sparsity: float = Field(default=0.5, ge=0.1, lt=1, description="share of synapses that auto_ncp leaves out")
    wiring_seed: int = Field(default=22_222, ge=0, le=2**32 - 1, description="seed of the wiring's random choices")

    @model_validator(mode="after")
    def _wired(self) -> "Liquid":
        if (self.ncp is not None) != (self.wiring == "ncp"):
            raise ValueError("ncp holds the counts of wiring ncp, and is given with it alone")
        if self.ncp is not None:
            units = self.ncp.inter_neurons + self.ncp.command_neurons + self.ncp.motor_neurons
            if self.hidden != (units,):
                raise ValueError(f"hidden must be [{units}], the sum of the neurons in ncp")
        if self.wiring == "auto_ncp":
            for units in self.hidden:
                if units < 4 or (self.motor_neurons or 1) > units - 3:
                    raise ValueError("auto_ncp needs blocks of at least 4 units and three more than motor_neurons")
        return self

    @property
    def depth(self) -> int:
        return len(self.hidden)


class LtcSpec(Liquid):
    """Liquid time-constant network: neurons as differential equations, solved by a fused implicit step."""

    title: ClassVar[str] = "Liquid time-constant network"
    summary: ClassVar[str] = "Recurrent neurons whose time constants depend on the input; irregular time steps."
    paper: ClassVar[Paper | None] = Paper(
        title="Liquid Time-constant Networks",
        authors="Hasani, Lechner, Amini, Rus, Grosu",
        year=2020,
        url="https://arxiv.org/abs/2006.04439",
    )

    kind: Literal["ltc"] = "ltc"
    ode_unfolds: int = Field(default=6, ge=1, le=128, description="solver steps per input; first-order accurate")
    epsilon: float = Field(default=1e-8, gt=0, le=1e-2, description="added to the denominator of the fused step")

    @property
    def provides(self) -> frozenset[Provision]:
        return frozenset({"hidden_block", "recurrent_block", "batch_free"})


class CfcSpec(Liquid):
    """Closed-form continuous-time network: the solution of a liquid neuron in closed form, gated by time."""

    title: ClassVar[str] = "Closed-form continuous-time network"
    summary: ClassVar[str] = "Recurrent cells that interpolate between two heads by a gate of elapsed time; no solver."
    paper: ClassVar[Paper | None] = Paper(
        title="Closed-form continuous-time neural networks",
        authors="Hasani, Lechner, Amini, Liebenwein, Ray, Tschaikowski, Teschl, Rus",
        year=2022,
        url="https://arxiv.org/abs/2106.13898",
    )

    kind: Literal["cfc"] = "cfc"
    mode: Literal["default", "no_gate", "pure", "mixed"] = Field(
        default="default",
        description="default (gated), no_gate (second head added, not interpolated), pure (the literal closed form), "
        "mixed (default behind an LSTM memory)",
    )
    backbone_units: int = Field(default=128, ge=1, le=8192, description="width of the shared layers (wiring full)")
    backbone_layers: int = Field(default=1, ge=0, le=16, description="number of the shared layers (wiring full)")
    backbone_activation: Literal["lecun_tanh", "tanh", "relu", "gelu", "silu"] = Field(
        default="lecun_tanh", description="nonlinearity of the shared layers"
    )
    dropout: float = Field(default=0.0, ge=0, lt=1, description=DROPOUT + "; applied to the block's output")

    @property
    def provides(self) -> frozenset[Provision]:
        return frozenset({"hidden_block", "recurrent_block", "synapse", "batch_free"})


NetworkSpec = Annotated[MlpSpec | CnnSpec | LtcSpec | CfcSpec, Field(discriminator="kind")]
NETWORK_SPECS: tuple[type[Architecture], ...] = (MlpSpec, CnnSpec, LtcSpec, CfcSpec)
