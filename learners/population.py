"""Populations: noisy copies of a network, their losses, and the sum of their noise by weight."""

# B = rows, K = classes or targets, S = signs, M = perturbations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor
from torch.func import functional_call

from learners.learner import Batch, UpdateContext, network_groups
from learners.networks.block_network import BlockNetwork
from learners.seeded import SeededGroup
from learners.task import Task


class Population(ABC):
    """Evaluations of the network with noise of every sign, on the rows of one step."""

    @abstractmethod
    def losses(self, batch: Batch, context: UpdateContext, members: int, *, at_once: float | None) -> Tensor:
        """Losses [S,M]. ``at_once``: the weights will be this factor times a perturbation's loss, first sign minus
        second, and may be applied to its noise while it is there."""

    @abstractmethod
    def write(self, context: UpdateContext, weight_M: Tensor) -> None:
        """Writes the sum of the noise of all perturbations, each times its weight."""


@final
class DensePopulation(Population):
    """Standard normal noise on every parameter, drawn again instead of stored: one perturbation exists at a time."""

    def __init__(self, network: BlockNetwork, task: Task, signs: Sequence[float], scale: float) -> None:
        self._network = network
        self._task = task
        self._signs = signs
        self._scale = scale
        self._groups = network_groups(network)
        self._parameters = [parameter for group in self._groups for parameter in group.parameters]
        self._names = {parameter: name for name, parameter in network.named_parameters()}
        self._sums: list[Tensor] | None = None

    def losses(self, batch: Batch, context: UpdateContext, members: int, *, at_once: float | None) -> Tensor:
        z, noisy = ([torch.empty_like(p, requires_grad=False) for p in self._parameters] for _ in range(2))
        named = {self._names[parameter]: moved for parameter, moved in zip(self._parameters, noisy, strict=True)}
        self._sums = None if at_once is None else [torch.zeros_like(one) for one in z]
        losses = []
        for member in range(members):
            self._draw(context, member, members, z)
            of_member = []
            for sign in self._signs:
                for parameter, one, moved in zip(self._parameters, z, noisy, strict=True):
                    torch.add(parameter, one, alpha=sign * self._scale, out=moved)
                of_member.append(self._loss(batch, context, named))
            losses.append(torch.stack(of_member))
            if at_once is not None and self._sums is not None:
                difference = losses[-1][0] - losses[-1][1] if len(self._signs) == 2 else losses[-1][0]
                _add(self._sums, z, difference * at_once)
        return torch.stack(losses, 1)

    def _loss(self, batch: Batch, context: UpdateContext, named: dict[str, Tensor]) -> Tensor:
        losses = []
        for part in context.parts(batch):
            scores_BK = functional_call(self._network, named, (part.x, part.dt))
            losses.append(part.weight * self._task.loss(scores_BK, part.y))
        return torch.stack(losses).sum() if len(losses) > 1 else losses[0]

    def write(self, context: UpdateContext, weight_M: Tensor) -> None:
        sums, self._sums = self._sums, None
        if sums is None:
            z = [torch.empty_like(p, requires_grad=False) for p in self._parameters]
            sums = [torch.zeros_like(one) for one in z]
            for member, weight in enumerate(weight_M.unbind()):
                self._draw(context, member, len(weight_M), z)
                _add(sums, z, weight)
        context.write(self._parameters, sums)

    def _draw(self, context: UpdateContext, member: int, members: int, into: Sequence[Tensor]) -> None:
        rest = iter(into)
        for group in self._groups:
            own = [next(rest) for _ in group.parameters]
            SeededGroup(group, context.streams, context.step * members + member).draw(own)


def _add(sums: Sequence[Tensor], z: Sequence[Tensor], weight: Tensor) -> None:
    for total, one in zip(sums, z, strict=True):
        total.addcmul_(one, weight.to(one.dtype))
