"""A mixture: several rules on one network, their gradients added."""

from collections.abc import Sequence
from typing import Any, final

from torch import Tensor, nn

from learners.context import merged
from learners.learner import Batch, Learner, ParameterGroup, StepReport, UpdateContext
from learners.networks.block_network import BlockNetwork
from learners.parts import Part, joined, load_states, own_tensors, quantities, states
from learners.streams import Streams
from learners.task import Task
from specs.hybrid_phases import PartSpec


@final
class Mixture(Learner):
    """g = sum_i w_i g_i. The first rule predicts, and its loss is the one reported."""

    def __init__(self, mix: Sequence[PartSpec]) -> None:
        self._mix = mix

    def setup(self, network: BlockNetwork, task: Task, streams: Streams) -> nn.Module | None:
        self._parts = [Part.set_up(i, part.learner, network, task, streams) for i, part in enumerate(self._mix)]
        return own_tensors(self._parts) or None

    def groups(self) -> list[ParameterGroup]:
        return joined(self._parts)

    def update(self, batch: Batch, context: UpdateContext) -> StepReport:
        reports = [self._update(part, batch, context) for part in self._parts]
        return StepReport(
            reports[0].loss,
            sum(report.forwards for report in reports),
            sum(report.backwards for report in reports),
            quantities(self._parts, reports),
        )

    def _update(self, part: Part, batch: Batch, context: UpdateContext) -> StepReport:
        weight = self._mix[part.index].weight
        if part.rule.whole_batch:
            return part.learner.update(batch, context.scaled(weight))
        # A context knows the part that it was made in, so each gets its own.
        return merged(
            [(each.weight, part.learner.update(each, context.scaled(weight))) for each in context.parts(batch)]
        )

    def predict(self, x: Tensor, dt: Tensor | None = None) -> Tensor:
        return self._parts[0].learner.predict(x, dt)

    def reference(self, batch: Batch) -> Tensor | None:
        return self._parts[0].learner.reference(batch)

    def state_dict(self) -> dict[str, Any]:
        return states(self._parts)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        load_states(self._parts, state)
