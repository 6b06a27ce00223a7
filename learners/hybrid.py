"""Hybrids: a mixture of rules, or rules over each other's segments (after Bengio et al. 2006 and others).

The rules: mixture g = sum_i w_i g_i; segments: segment i has a rule of its own, on the input x_i that the one below
puts out, and may hand down the error dL/dx_i, or x_i - dL/dx_i (per row) as a target. Phases, one rule after another,
are the loop's: here is what trains in one of them.

What differs from the papers: nothing is finished before the step's end, so commits do nothing here; a segment that is
handed nothing learns the task by itself under a linear read-out of its own, which is thrown away.
"""

from typing import Any, final

from torch import Tensor, nn

from learners.learner import Batch, Learner, ParameterGroup, StepReport, UpdateContext
from learners.mixture import Mixture
from learners.networks.block_network import BlockNetwork
from learners.segments import SegmentChain
from learners.streams import Streams
from learners.task import Task
from specs.learners.hybrid import HybridSpec


@final
class Hybrid(Learner):
    """One phase of a hybrid."""

    def __init__(self, spec: HybridSpec) -> None:
        phase = spec.only
        self._learner: Learner = Mixture(phase.mix) if phase.mix else SegmentChain(phase.segments or ())

    def setup(self, network: BlockNetwork, task: Task, streams: Streams) -> nn.Module | None:
        return self._learner.setup(network, task, streams)

    def groups(self) -> list[ParameterGroup]:
        return self._learner.groups()

    def update(self, batch: Batch, context: UpdateContext) -> StepReport:
        return self._learner.update(batch, context)

    def predict(self, x: Tensor, dt: Tensor | None = None) -> Tensor:
        return self._learner.predict(x, dt)

    def reference(self, batch: Batch) -> Tensor | None:
        return self._learner.reference(batch)

    def state_dict(self) -> dict[str, Any]:
        return self._learner.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._learner.load_state_dict(state)
