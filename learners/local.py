"""Rules that train blocks by themselves: which blocks learn at a step, and the walk that keeps one graph at a time."""

# B = rows

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import final

import torch
from torch import Tensor
from torch.nn import Parameter

from learners.learner import Batch, ParameterGroup, UpdateContext
from learners.networks.block_network import BlockNetwork
from specs.rule import BlockSchedule

Objective = Callable[[int, Tensor], Tensor]
"""The loss of a block, by its index and its output."""


def learning_blocks(schedule: BlockSchedule, step: int, depth: int, steps_per_block: int) -> range:
    """Indices of the blocks that learn at ``step``: a pure function, so a resumed job goes on in the same block."""
    if schedule == "simultaneous":
        return range(depth)
    if schedule == "sequential":
        return range(step % depth, step % depth + 1)
    block = min(step // steps_per_block, depth - 1)
    return range(block, block + 1)


@final
class LocalBlocks:
    """The blocks of a network, each with an objective on its own output and tensors of its own that serve it.

    ``own`` holds each block's further groups, in order. With ``detach`` a block's graph is freed, and its groups are
    committed, before the next block runs; without it all objectives are summed into one graph.
    """

    def __init__(
        self,
        network: BlockNetwork,
        own: Sequence[Sequence[ParameterGroup]],
        *,
        detach: bool,
        schedule: BlockSchedule,
        steps_per_block: int,
    ) -> None:
        self._blocks = network.stages[: len(network.blocks)]
        self.depth = len(self._blocks)
        self.groups = [ParameterGroup(network.names[i], tuple(b.parameters()), i) for i, b in enumerate(self._blocks)]
        self._own = [tuple(p for group in groups for p in group.parameters) for groups in own]
        self._names = [
            (block.name, *(group.name for group in groups)) for block, groups in zip(self.groups, own, strict=True)
        ]
        indices = range(self.depth)
        self._units: list[Sequence[int]] = [[i] for i in indices] if detach else [indices]
        self._schedule: BlockSchedule = schedule
        self._steps_per_block = steps_per_block

    def learning(self, step: int) -> range:
        """Indices of the blocks that learn at ``step``."""
        return learning_blocks(self._schedule, step, self.depth, self._steps_per_block)

    def update(self, batch: Batch, context: UpdateContext, objective: Objective) -> list[Tensor]:
        """Writes the gradients of the blocks that learn now; every block's loss, detached."""
        learning = self.learning(context.step)
        losses: list[Tensor] = []
        x = batch.x
        for unit in self._units:
            learns = unit[0] in learning
            with torch.set_grad_enabled(learns):
                found = []
                for index in unit:
                    x, _ = self._blocks[index](x, None, batch.dt)
                    found.append(objective(index, x))
            if learns:
                context.backward(_total(found), self._parameters(unit))
                context.commit(*self._names_of(unit))
            losses += [loss.detach() for loss in found]
            x = x.detach()
        return losses

    def update_in_parts(self, batch: Batch, context: UpdateContext, objective: Objective) -> list[Tensor]:
        """``update`` where an objective couples the rows of the whole batch, a micro-batch's graph at a time.

        Outputs of all rows are taken without a graph; the objective's gradient on them then seeds a second pass.
        """
        learning = self.learning(context.step)
        losses: list[Tensor] = []
        inputs = [part.x for part in context.parts(batch)]
        for unit in self._units:
            learns = unit[0] in learning
            with torch.no_grad():
                passed = [self._run(unit, x, p.dt) for p, x in zip(context.parts(batch), inputs, strict=True)]
            outputs = [torch.cat(pieces).requires_grad_(learns) for pieces in zip(*passed, strict=True)]
            with torch.set_grad_enabled(learns):
                found = [objective(index, y) for index, y in zip(unit, outputs, strict=True)]
            if learns:
                own = tuple(chain.from_iterable(self._own[index] for index in unit))
                seeds = context.backward(_total(found), own, *outputs)
                self._backward_in_parts(unit, inputs, seeds, batch, context)
                context.commit(*self._names_of(unit))
            losses += [loss.detach() for loss in found]
            inputs = [pieces[-1] for pieces in passed]
        return losses

    def _backward_in_parts(
        self,
        unit: Sequence[int],
        inputs: Sequence[Tensor],
        seeds: Sequence[Tensor],
        batch: Batch,
        context: UpdateContext,
    ) -> None:
        parameters = tuple(chain.from_iterable(self.groups[index].parameters for index in unit))
        for part, x in zip(context.parts(batch), inputs, strict=True):
            low, high = part.rows[0] - batch.rows[0], part.rows[1] - batch.rows[0]
            outputs = self._run(unit, x, part.dt)
            # The writer weighs a part by its rows; the seeds are gradients of the whole batch's loss already.
            products = [(y * seed[low:high]).sum() for y, seed in zip(outputs, seeds, strict=True)]
            context.backward(_total(products) / part.weight, parameters)

    def _run(self, unit: Iterable[int], x: Tensor, dt: Tensor | None) -> list[Tensor]:
        outputs = []
        for index in unit:
            x, _ = self._blocks[index](x, None, dt)
            outputs.append(x)
        return outputs

    def _parameters(self, unit: Iterable[int]) -> tuple[Parameter, ...]:
        return tuple(chain.from_iterable((*self.groups[index].parameters, *self._own[index]) for index in unit))

    def _names_of(self, unit: Iterable[int]) -> Iterable[str]:
        return chain.from_iterable(self._names[index] for index in unit)


def _total(losses: Sequence[Tensor]) -> Tensor:
    return losses[0] if len(losses) == 1 else torch.stack(list(losses)).sum()
