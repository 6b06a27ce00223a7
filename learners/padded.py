"""A rule on a network whose first block was widened for another rule's appended inputs."""

# B = rows, D = features, E = extra features

from dataclasses import replace
from typing import Any, final

import torch.nn.functional as F
from torch import Tensor, nn

from learners.learner import Batch, Learner, ParameterGroup, StepReport, UpdateContext
from learners.networks.block_network import BlockNetwork
from learners.streams import Streams
from learners.task import Task
from specs.architecture import Layout


@final
class Padded(Learner):
    """Fills the extra features or channels with zeros before the rule sees its rows."""

    def __init__(self, learner: Learner, extra: int) -> None:
        self._learner = learner
        self._extra = extra

    def setup(self, network: BlockNetwork, task: Task, streams: Streams) -> nn.Module | None:
        self._layout = network.input_layout
        return self._learner.setup(network, task, streams)

    def groups(self) -> list[ParameterGroup]:
        return self._learner.groups()

    def update(self, batch: Batch, context: UpdateContext) -> StepReport:
        return self._learner.update(self._wide(batch), context)

    def predict(self, x: Tensor, dt: Tensor | None = None) -> Tensor:
        return self._learner.predict(padded(x, self._extra, self._layout), dt)

    def reference(self, batch: Batch) -> Tensor | None:
        return self._learner.reference(self._wide(batch))

    def state_dict(self) -> dict[str, Any]:
        return self._learner.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._learner.load_state_dict(state)

    def _wide(self, batch: Batch) -> Batch:
        return replace(batch, x=padded(batch.x, self._extra, self._layout))


def padded(x: Tensor, extra: int, layout: Layout) -> Tensor:
    """x with ``extra`` zeros appended to every row, image (as channels) or time step."""
    if extra == 0:
        return x
    if layout == "image":
        return F.pad(x, (0, 0, 0, 0, 0, extra))
    return F.pad(x.flatten(1) if layout == "vector" else x, (0, extra))
