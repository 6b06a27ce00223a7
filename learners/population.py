"""Populations: noisy copies of a network, their losses, and the sum of their noise by weight."""

# B = rows, K = classes or targets, S = signs, M = perturbations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import final

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import Parameter

from learners.learner import Batch, Rows, UpdateContext, network_groups
from learners.networks.block import PlainBlock
from learners.networks.block_network import BlockNetwork
from learners.networks.synapses import Synapse
from learners.noise import Noise
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
        first = SharedDrive(self._network)
        moved = {p: torch.empty_like(p, requires_grad=False) for p in self._parameters if p not in first.parameters}
        self._sums = None if at_once is None else self._zeros()
        losses = []
        for member in range(members):
            noise = self._draw(context, member, members)
            loss_S = self._of_both_signs(batch, context, noise, moved, first)
            losses.append(loss_S)
            if at_once is not None and self._sums is not None:
                difference = loss_S[0] - loss_S[1] if len(self._signs) == 2 else loss_S[0]
                _add(self._sums, noise, difference * at_once)
        return torch.stack(losses, 1)

    def _of_both_signs(
        self,
        batch: Batch,
        context: UpdateContext,
        noise: Sequence[Noise],
        moved: Mapping[Parameter, Tensor],
        first: "SharedDrive",
    ) -> Tensor:
        """Losses [S] of one perturbation; ``moved`` is where its weights are written."""
        of = dict(zip(self._parameters, noise, strict=True))
        named = {self._names[parameter]: one for parameter, one in moved.items()}
        first.perturb(of)
        total: Tensor | None = None
        for part in context.parts(batch):
            first.read(part)
            losses = []
            for sign in self._signs:
                for parameter, one in moved.items():
                    of[parameter].add(one, sign * self._scale, onto=parameter)
                with first.moved_by(sign * self._scale):
                    scores_BK = functional_call(self._network, named, (part.x, part.dt))
                losses.append(self._task.loss(scores_BK, part.y))
            loss_S = part.weight * torch.stack(losses)
            total = loss_S if total is None else total + loss_S
        assert total is not None
        return total

    def write(self, context: UpdateContext, weight_M: Tensor) -> None:
        sums, self._sums = self._sums, None
        if sums is None:
            sums = self._zeros()
            for member, weight in enumerate(weight_M.unbind()):
                _add(sums, self._draw(context, member, len(weight_M)), weight)
        context.write(self._parameters, sums)

    def _zeros(self) -> list[Tensor]:
        return [torch.zeros_like(parameter, requires_grad=False) for parameter in self._parameters]

    def _draw(self, context: UpdateContext, member: int, members: int) -> list[Noise]:
        seed = context.step * members + member
        return [one for group in self._groups for one in SeededGroup(group, context.streams, seed).noise()]


@final
class SharedDrive:
    """What all members have in common at the first synapse: the rows.

    So (W + s E) x = W x + s E x takes the product with the weights once a step and that with the noise once a
    perturbation, for all its signs. Where the first stage is no plain block nothing is shared.
    """

    def __init__(self, network: BlockNetwork) -> None:
        first = network.stages[0]
        self._network = network
        self._synapse = first.synapse if isinstance(first, PlainBlock) else None
        self.parameters = frozenset(() if self._synapse is None else self._synapse.parameters())
        self._rows: Rows | None = None
        self._base: Tensor | None = None
        self._along: Tensor | None = None

    def perturb(self, noise: Mapping[Parameter, Noise]) -> None:
        """Takes the noise of the next perturbation."""
        self._z = {parameter: noise[parameter].times(1.0) for parameter in self.parameters}

    def read(self, part: Batch) -> None:
        """Takes the rows of the next passes."""
        self._along = None
        if part.rows != self._rows:
            self._base, self._rows = None, part.rows

    def moved_by(self, scale: float) -> AbstractContextManager[None]:
        """Inside, the first synapse's weights are moved by ``scale`` times the noise."""

        def rule(synapse: Synapse, x: Tensor) -> Tensor:
            weight, bias = synapse.weight, synapse.bias
            if synapse is not self._synapse:
                return synapse.operate(x, weight, bias)
            if self._base is None:
                self._base = synapse.operate(x, weight, bias)
            if self._along is None:
                self._along = synapse.operate(x, self._z[weight], None if bias is None else self._z[bias])
            return torch.add(self._base, self._along, alpha=scale)

        # Sequences run faster where no rule stands in the way.
        return nullcontext() if self._synapse is None else self._network.synapses(rule)


def _add(sums: Sequence[Tensor], noise: Sequence[Noise], weight: Tensor) -> None:
    for total, one in zip(sums, noise, strict=True):
        one.add(total, weight)
