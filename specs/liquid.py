"""What both liquid networks take: units, wiring and its counts."""

from abc import ABC
from math import ceil
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from specs.architecture import Architecture, Layout
from specs.kinds import Spec, unfit


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
                raise unfit("/hidden", f"hidden must be [{units}], the sum of the neurons in ncp", [[units]])
        if self.wiring == "auto_ncp":
            for units in self.hidden:
                if units < 4 or (self.motor_neurons or 1) > units - 3:
                    message = "auto_ncp needs blocks of at least 4 units and three more than motor_neurons"
                    raise unfit("/hidden", message, f">= {max(4, (self.motor_neurons or 1) + 3)} units in each block")
        return self

    @property
    def depth(self) -> int:
        return len(self.hidden)

    def layers(self, block: int) -> list[int]:
        """Neurons of block number ``block``, layer by layer from inputs to outputs; one layer when fully connected."""
        if self.wiring == "full":
            return [self.hidden[block]]
        counts = self.ncp or derived_counts(self.hidden[block], self.motor_neurons, self.sparsity)
        return [counts.inter_neurons, counts.command_neurons, counts.motor_neurons]


def derived_counts(units: int, motor_neurons: int | None, sparsity: float) -> NcpCounts:
    """Counts of an ``auto_ncp`` block: 60 % of the other neurons read inputs, the rest command."""
    motor = max(1, min(units // 4, units - 3)) if motor_neurons is None else motor_neurons
    density = 1 - sparsity
    command = max(1, ceil(0.4 * (units - motor)))
    inter = units - motor - command
    return NcpCounts(
        inter_neurons=inter,
        command_neurons=command,
        motor_neurons=motor,
        sensory_fanout=max(1, int(inter * density)),
        inter_fanout=max(1, int(command * density)),
        recurrent_command_synapses=max(1, int(command * density * 2)),
        motor_fanin=max(1, int(command * density)),
    )
