"""Linear heads on the outputs of blocks: tensors of a learner, not of its network."""

# B = rows, K = classes or targets

from collections.abc import Iterable, Sequence
from math import prod
from typing import final

from torch import Tensor, nn

from learners.learner import ParameterGroup
from learners.networks.block_network import BlockNetwork
from learners.streams import Streams
from learners.task import Task
from specs.architecture import Layout


@final
class Heads(nn.Module):
    """One linear head per chosen block, from all that the block puts out (of a sequence: its last step)."""

    def __init__(self, network: BlockNetwork, blocks: Iterable[int], task: Task, streams: Streams) -> None:
        super().__init__()
        self.of_blocks = list(blocks)
        shapes = network.shapes()
        self.layouts: list[Layout] = [network.stages[index].layout for index in self.of_blocks]
        with streams.initialising("heads"):
            self.linear = nn.ModuleList(
                nn.Linear(features_of(shapes[index], layout), task.outputs)
                for index, layout in zip(self.of_blocks, self.layouts, strict=True)
            )
        first = next(network.parameters())
        self.to(device=first.device, dtype=first.dtype)

    def forward(self, outputs: Sequence[Tensor]) -> list[Tensor]:
        """Scores [B,K] of every head from the outputs of its block."""
        return [self.score(index, output) for index, output in enumerate(outputs)]

    def score(self, index: int, output: Tensor) -> Tensor:
        """Scores [B,K] of head ``index``."""
        scores_BK: Tensor = self.linear[index](features(output, self.layouts[index]))
        return scores_BK

    def groups(self) -> list[ParameterGroup]:
        """One group per head, each to be finished with its block."""
        return [
            ParameterGroup(f"own.heads.{block}", tuple(head.parameters()), block)
            for block, head in zip(self.of_blocks, self.linear, strict=True)
        ]


def features(output: Tensor, layout: Layout) -> Tensor:
    """What a linear head reads of a block's output: [B,D]; of a sequence the last step."""
    if layout == "sequence":
        return output[:, -1]
    return output.flatten(1) if output.dim() > 2 else output


def features_of(shape: tuple[int, ...], layout: Layout) -> int:
    """How many features ``features`` gives for an output of this shape (without the batch)."""
    return shape[-1] if layout == "sequence" else prod(shape)
