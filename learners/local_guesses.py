"""Local guesses: in which direction a block's output should move, by a linear head's loss, without a backward pass."""

# B = rows, D = features of a block's output, K = classes or targets

from typing import final

import torch
from torch import Tensor, nn

from learners.dual_numbers import dual, parts
from learners.heads import Heads, features
from learners.learner import ParameterGroup, UpdateContext
from learners.networks.block import PlainBlock
from learners.networks.block_network import BlockNetwork
from learners.networks.synapses import Synapse
from learners.streams import Streams
from learners.task import Task


@final
class LocalGuesses(nn.Module):
    """A linear head per plain block whose drive is its synapse's output (no pooling between).

    The head's error is known in closed form; the nonlinearity's slope comes by a dual number. Through a norm this takes
    the Jacobian for its transpose: a worse guess, and no wrong one, since the estimate is a projection on it.
    """

    def __init__(self, network: BlockNetwork, task: Task, streams: Streams) -> None:
        super().__init__()
        shapes = network.shapes()
        self._task = task
        self._places: dict[Synapse, tuple[int, PlainBlock]] = {}
        of_blocks: list[int] = []
        for index, block in enumerate(network.stages[: len(network.blocks)]):
            # A pooled drive is smaller than what its synapse puts out.
            if isinstance(block, PlainBlock) and block.layout == "vector" and len(shapes[index]) == 1:
                self._places[block.synapse] = (len(of_blocks), block)
                of_blocks.append(index)
        self.heads = Heads(network, of_blocks, task, streams)
        self._gradients: dict[int, list[Tensor]] = {}

    def groups(self) -> list[ParameterGroup]:
        """One group per head."""
        return self.heads.groups()

    def forward(self, synapse: Synapse, z: Tensor, y: Tensor) -> Tensor | None:
        """The direction [like z] of unit length per row; None where the block has no head."""
        if synapse not in self._places:
            return None
        index, block = self._places[synapse]
        # A norm's weights may move too: its own share of the tangent is taken off again.
        output, already = parts(block.activate(z))
        output_BD = features(output, block.layout)
        error_BK = self._task.error(self.heads.score(index, output), y)
        head = self.heads.linear[index]
        assert isinstance(head, nn.Linear)
        self._gradients[index] = [error_BK.t() @ output_BD.to(error_BK.dtype), error_BK.sum(0)]
        back_BD = (error_BK @ head.weight.to(error_BK.dtype)).reshape(output.shape)
        _, guess = parts(block.activate(dual(z, back_BD.to(z.dtype))))
        assert guess is not None
        guess = guess if already is None else guess - already
        # A row whose units are all silent has no direction, and stays without one.
        length_B1: Tensor = guess.flatten(1).norm(dim=1, keepdim=True)
        return guess / length_B1.clamp_min(torch.finfo(z.dtype).tiny)

    def write(self, context: UpdateContext) -> None:
        """Writes the heads' own gradients."""
        for index, gradients in self._gradients.items():
            context.write(list(self.heads.linear[index].parameters()), gradients)
        self._gradients = {}
