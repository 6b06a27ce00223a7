"""Rules as parts of a larger one: each with its tensors, its groups under names of their own, and its state."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, final

from torch import Tensor, nn

from learners.build import learner_for
from learners.learner import Learner, ParameterGroup, StepReport
from learners.networks.block_network import BlockNetwork
from learners.streams import Streams
from learners.task import Task
from specs.rule import Rule


@final
@dataclass(frozen=True)
class Part:
    """A rule set up on a network or on a segment of it."""

    index: int
    rule: Rule
    learner: Learner
    own: nn.Module | None
    owns_readout: bool = False

    @classmethod
    def set_up(cls, index: int, rule: Rule, network: BlockNetwork, task: Task, streams: Streams) -> "Part":
        """The first part draws from the whole's streams, so that it is what it would be alone."""
        learner = learner_for(rule, network, task)
        own = learner.setup(network, task, streams if index == 0 else streams.child(f"parts.{index}"))
        return cls(index, rule, learner, own)

    def groups(self) -> list[ParameterGroup]:
        """Its groups; those of its own tensors are named after its place."""
        return [self._renamed(group) for group in self.learner.groups()]

    def _renamed(self, group: ParameterGroup) -> ParameterGroup:
        if group.name.startswith("own.") or (group.name == "readout" and self.owns_readout):
            return replace(group, name=f"own.parts.{self.index}.{group.name.removeprefix('own.')}", block=None)
        return replace(group, block=None)


def joined(parts: Sequence[Part]) -> list[ParameterGroup]:
    """All groups; where two parts train a layer, the layer's group has what either trains."""
    found: dict[str, ParameterGroup] = {}
    for part in parts:
        for group in part.groups():
            known = found.get(group.name)
            if known is None:
                found[group.name] = group
                continue
            held = {id(parameter) for parameter in known.parameters}
            more = tuple(parameter for parameter in group.parameters if id(parameter) not in held)
            found[group.name] = replace(known, parameters=(*known.parameters, *more))
    return list(found.values())


def own_tensors(parts: Sequence[Part]) -> nn.ModuleDict:
    """The parts' own tensors under their places."""
    return nn.ModuleDict({str(part.index): part.own for part in parts if part.own is not None})


def quantities(parts: Sequence[Part], reports: Sequence[StepReport]) -> dict[str, Tensor]:
    """The parts' own numbers: the first part's as they are, of the others the means, under their places."""
    found = dict(reports[0].quantities)
    for part, report in zip(parts[1:], reports[1:], strict=True):
        found |= {f"part_{part.index}_{name}": value.mean() for name, value in report.quantities.items()}
    return found


def states(parts: Sequence[Part]) -> dict[str, Any]:
    """The plain numbers of all parts."""
    return {str(part.index): state for part in parts if (state := part.learner.state_dict())}


def load_states(parts: Sequence[Part], state: dict[str, Any]) -> None:
    """Takes back ``states``."""
    for part in parts:
        part.learner.load_state_dict(state.get(str(part.index), {}))
