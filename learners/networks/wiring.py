"""Wirings of liquid networks: which synapses exist, and their signs.

Neural circuit policies (Lechner et al. 2020, doi 10.1038/s42256-020-00237-3): inputs reach inter neurons, these reach
command neurons, which are recurrent and reach motor neurons; every neuron gets at least one synapse.
"""

# I = inputs, H = units, M = motor neurons

from dataclasses import dataclass

import torch
from torch import Tensor

from specs.liquid import Liquid, NcpCounts, derived_counts


@dataclass(frozen=True)
class Wiring:
    """Signs of synapses, 0 where there is none: ``adjacency`` [H,H] and ``sensory`` [I,H], source first.

    ``layers`` are ranges of neurons from inputs to outputs; the motor neurons come first in the numbering.
    """

    adjacency: Tensor
    sensory: Tensor
    layers: tuple[range, ...]
    motor_neurons: int


def wire(spec: Liquid, block: int, inputs: int) -> Wiring:
    """The wiring of block number ``block`` of a liquid network."""
    generator = torch.Generator().manual_seed(spec.wiring_seed + block)
    units = spec.hidden[block]
    if spec.wiring == "full":
        return _full(inputs, units, generator)
    counts = spec.ncp or derived_counts(units, spec.motor_neurons, spec.sparsity)
    return _neural_circuit(inputs, counts, generator)


def _full(inputs: int, units: int, generator: torch.Generator) -> Wiring:
    # Two of three synapses excite.
    adjacency = _signs((units, units), generator, exciting=2 / 3)
    sensory = _signs((inputs, units), generator, exciting=2 / 3)
    return Wiring(adjacency, sensory, (range(units),), units)


def _neural_circuit(inputs: int, counts: NcpCounts, generator: torch.Generator) -> Wiring:
    motor = range(counts.motor_neurons)
    command = range(motor.stop, motor.stop + counts.command_neurons)
    inter = range(command.stop, command.stop + counts.inter_neurons)
    adjacency = torch.zeros(inter.stop, inter.stop)
    sensory = torch.zeros(inputs, inter.stop)
    _fan_out(sensory, range(inputs), inter, counts.sensory_fanout, generator)
    _fan_out(adjacency, inter, command, counts.inter_fanout, generator)
    for _ in range(counts.recurrent_command_synapses):
        source, target = torch.randint(command.start, command.stop, (2,), generator=generator).tolist()
        adjacency[source, target] = _signs((), generator)
    # Fan-in is fan-out read backwards: each motor neuron chooses its sources.
    backwards = adjacency.T
    _fan_out(backwards, motor, command, counts.motor_fanin, generator)
    return Wiring(adjacency, sensory, (inter, command, motor), counts.motor_neurons)


def _fan_out(matrix: Tensor, sources: range, targets: range, fanout: int, generator: torch.Generator) -> None:
    """Draws ``fanout`` targets for every source, then a few sources for each target that was left out."""
    for source in sources:
        for target in _choose(targets, fanout, generator):
            matrix[source, target] = _signs((), generator)
    fanin = min(len(sources), max(1, len(sources) * fanout // len(targets)))
    for target in targets:
        if not matrix[sources.start : sources.stop, target].any():
            for source in _choose(sources, fanin, generator):
                matrix[source, target] = _signs((), generator)


def _choose(among: range, number: int, generator: torch.Generator) -> list[int]:
    order = torch.randperm(len(among), generator=generator)[:number].tolist()
    return [among[index] for index in order]


def _signs(shape: tuple[int, ...], generator: torch.Generator, exciting: float = 0.5) -> Tensor:
    return torch.where(torch.rand(shape, generator=generator) < exciting, 1.0, -1.0)
