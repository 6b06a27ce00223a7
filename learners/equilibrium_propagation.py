"""Equilibrium propagation (Scellier and Bengio 2017, arXiv 1602.05179): weights learn from two states of rest.

The rule: units s_l of all blocks settle by s_l <- rho(dPhi/ds_l), Phi = sum_l <s_l, f_l(s_(l-1))> with s_0 = x and
f_l a block's drive; nudged, Phi - beta L stands in its place. g = -(dPhi/dtheta(nudged) - dPhi/dtheta(free)) / beta,
which errs by O(beta); with both signs of beta, g = -(dPhi/dtheta(+beta) - dPhi/dtheta(-beta)) / (2 beta), O(beta^2)
(Laborieux et al. 2021, arXiv 2006.03824, equation 9). Where phases are long enough this is backprop through time.

What differs from the papers: states start at the forward pass, not at zero; the two nudged phases settle side by side
as one batch; of class scores the read-out's units are sigmoid(4 (z - 1/2)) with half the squared distance to the label
as loss, and their log-odds are what is predicted; of other targets they are linear with the task's loss. ``readout:
apart`` is section 3.2 of Laborieux et al.: the read-out settles with nobody, and its loss pulls at the last block.
"""

# B = rows, N = rows of a pass (2 B where both nudged phases are side by side), K = classes or targets

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from learners.learner import Batch, Learner, ParameterGroup, StepReport, UpdateContext, network_groups
from learners.networks.block import PlainBlock
from learners.networks.block_network import BlockNetwork
from learners.streams import Streams
from learners.task import Task, at_least_float32
from specs.learners.equilibrium_propagation import EquilibriumPropagationSpec

Force = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Rest:
    """States of all settling blocks after ``steps``; ``residual`` is a row's largest change in the last, averaged."""

    states: list[Tensor]
    steps: int
    residual: Tensor


@final
class EquilibriumPropagation(Learner):
    """Learns from the difference of two resting states."""

    def __init__(self, spec: EquilibriumPropagationSpec) -> None:
        self.spec = spec

    def setup(self, network: BlockNetwork, task: Task, streams: Streams) -> nn.Module | None:  # noqa: ARG002
        stages = [stage for stage in network.stages if isinstance(stage, PlainBlock)]
        if len(stages) < len(network.stages) or not len(network.blocks):
            raise ValueError("equilibrium_propagation settles plain blocks, at least one of them before the read-out")
        self.network = network
        self.task = task
        apart = network.readout is not None and self.spec.readout == "apart"
        self._readout = stages[-1] if apart else None
        self._settling = stages[:-1] if apart else stages
        self._labelled_units = network.readout is not None and not apart and task.classes
        self._symmetric = self.spec.nudge == "symmetric"
        self._parameters = [p for group in self.groups() for p in group.parameters]
        return None

    def groups(self) -> list[ParameterGroup]:
        return network_groups(self.network)

    def update(self, batch: Batch, context: UpdateContext) -> StepReport:
        beta, y = self.spec.nudging_strength, batch.y
        first = self._settling[0].drive(batch.x)  # of the input alone, so it is the same in all steps of all phases
        drive = at_least_float32(first.detach())
        free = self._settle(drive, self._forward(drive), self.spec.num_free_steps)
        start = free.states
        if self._symmetric:
            drive, y, start = _twice(drive), _twice(y), [_twice(s) for s in start]
        nudged = self._settle(drive, start, self.spec.num_nudged_steps, self._nudge(y, beta, len(batch.x)))
        pairs = nudged.states if self._symmetric else _joined(nudged.states, free.states)
        context.backward(self._objective(first, pairs, batch.y), self._parameters)
        with torch.no_grad():
            loss = self.task.loss(self._scores(free.states), batch.y)
        share = (len(self._settling) - 1) / len(self.network.stages)
        passes = share * (free.steps + nudged.steps * len(y) / len(batch.x))
        quantities = {
            "settling_residual_free": free.residual,
            "settling_residual_nudged": nudged.residual,
            "nudged_shift": _shifts(pairs, len(batch.x)),
        }
        # A step is a pass above the first block, and half a backward pass there: activities alone are handed down.
        return StepReport(loss, 2 + passes, 0.5 + passes / 2, quantities)

    def _objective(self, first: Tensor, pairs: Sequence[Tensor], y: Tensor) -> Tensor:
        """What has g as its gradient: -(Phi - beta L) at the pairs' upper rows, less that at the lower ones."""
        rows = len(y)
        signed = [torch.cat([s[:rows], -s[rows:]]) for s in pairs]
        phi = ((pairs[0][:rows] - pairs[0][rows:]) * first).sum()
        for block, below, s in zip(self._settling[1:], pairs, signed[1:], strict=False):
            phi = phi + (s * at_least_float32(block.drive(below))).sum()
        objective = -phi / (self.spec.nudging_strength * (2 if self._symmetric else 1) * rows)
        if self._readout is None:
            return objective
        top, target = (pairs[-1], _twice(y)) if self._symmetric else (pairs[-1][:rows], y)
        return objective + self.task.loss(self._readout.drive(top), target)

    def _forward(self, drive_N: Tensor) -> list[Tensor]:
        """States of a pass from below, where nothing has fed back yet."""
        with torch.no_grad():
            states = [self._settling[0].activate(drive_N)]
            for block in self._settling[1:]:
                states.append(self._activated(block, at_least_float32(block.drive(states[-1]))))
        return states

    def _settle(
        self,
        drive_N: Tensor,
        states: list[Tensor],
        steps: int,
        force: Force | None = None,
        *,
        attached: bool = False,
    ) -> Rest:
        """Moves all states at once, up to ``steps`` times. With ``attached`` the steps can be differentiated."""
        tolerance = self.spec.tolerance
        moving_N, residual, step = drive_N.new_ones(len(drive_N), dtype=torch.bool), drive_N.new_zeros(()), 0
        for step in range(1, steps + 1):
            moved = self._step(drive_N, states, force, attached=attached)
            if tolerance > 0 or step == steps:
                change_N = _largest_change(moved, states)
                residual = change_N.mean()
            if tolerance > 0:
                # Row by row: what else is in the batch must not decide when a row is at rest.
                moved = [torch.where(_along_rows(moving_N, s), m, s) for m, s in zip(moved, states, strict=True)]
                moving_N = moving_N & (change_N > tolerance)
            states = moved
            if tolerance > 0 and not bool(moving_N.any()):
                break
        return Rest(states, step, residual)

    def _step(self, drive_N: Tensor, states: list[Tensor], force: Force | None, *, attached: bool) -> list[Tensor]:
        """rho(dPhi/ds) for all states: each one's own drive, and what the block above feeds back to it."""
        with torch.enable_grad():
            at = [s if attached and s.requires_grad else s.detach().requires_grad_() for s in states]
            above = [block.drive(s) for block, s in zip(self._settling[1:], at, strict=False)]
            seeds = [s.to(z.dtype) for s, z in zip(at[1:], above, strict=True)]
            fed_back = torch.autograd.grad(above, at[:-1], seeds, create_graph=attached) if above else ()
        with torch.set_grad_enabled(attached):
            drives = [drive_N, *(at_least_float32(z if attached else z.detach()) for z in above)]
            drives = [*(a + b for a, b in zip(drives, fed_back, strict=False)), drives[-1]]
            if force is not None:
                drives[-1] = drives[-1] + force(states[-1])
            return [self._activated(block, z) for block, z in zip(self._settling, drives, strict=True)]

    def _activated(self, block: PlainBlock, z: Tensor) -> Tensor:
        if self._labelled_units and block is self._settling[-1]:
            return torch.sigmoid(4 * (z - 0.5))
        return block.activate(z)

    def _nudge(self, y_N: Tensor, beta: float, rows: int) -> Force:
        """-beta dL/ds of the last settling block, of the sum over rows; beta changes its sign after ``rows`` rows."""

        def force(top: Tensor) -> Tensor:
            strength_N = torch.cat([top.new_full((rows,), beta), top.new_full((len(y_N) - rows,), -beta)])
            return _along_rows(strength_N, top) * self._pull(top, y_N)

        return force

    def _pull(self, top: Tensor, y_N: Tensor) -> Tensor:
        """-dL/ds [like top] of the sum of the rows' losses."""
        if self._labelled_units:
            return F.one_hot(y_N, self.task.outputs) - top
        if self._readout is None:
            return -len(top) * self.task.error(top, y_N)
        with torch.enable_grad():
            top = top.detach().requires_grad_()
            scores_NK = self._readout.drive(top)
            error_NK = -len(top) * self.task.error(scores_NK.detach(), y_N)
            return torch.autograd.grad(scores_NK, top, error_NK.to(scores_NK.dtype))[0]

    def _scores(self, states: Sequence[Tensor]) -> Tensor:
        """Scores [N,K] at rest: the read-out's, or the log-odds of the units that stand for labels."""
        if self._readout is not None:
            return self._readout.drive(states[-1])
        return 4 * (self._settling[-1].drive(states[-2]) - 0.5) if self._labelled_units else states[-1]

    def _rest(self, x: Tensor) -> list[Tensor]:
        drive_N = at_least_float32(self._settling[0].drive(x))
        start = self._forward(drive_N.detach())
        return self._settle(drive_N, start, self.spec.num_free_steps, attached=torch.is_grad_enabled()).states

    def predict(self, x: Tensor, dt: Tensor | None = None) -> Tensor:  # noqa: ARG002
        return self._scores(self._rest(x))

    def reference(self, batch: Batch) -> Tensor:
        states = self._rest(batch.x)
        if self._labelled_units:
            return 0.5 * self._pull(states[-1], batch.y).square().sum(1).mean()
        return self.task.loss(self._scores(states), batch.y)


def _twice(tensor: Tensor) -> Tensor:
    return torch.cat([tensor, tensor])


def _joined(upper: Sequence[Tensor], lower: Sequence[Tensor]) -> list[Tensor]:
    return [torch.cat(both) for both in zip(upper, lower, strict=True)]


def _along_rows(row_N: Tensor, like: Tensor) -> Tensor:
    return row_N.reshape(-1, *(1 for _ in like.shape[1:]))


def _shifts(pairs: Sequence[Tensor], rows: int) -> Tensor:
    """What nudging moved, block by block: the root mean square of the upper rows less the lower ones."""
    return torch.stack([(s[:rows] - s[rows:]).square().mean() for s in pairs]).sqrt()


def _largest_change(moved: Sequence[Tensor], states: Sequence[Tensor]) -> Tensor:
    """The largest change of any unit, row by row."""
    changes = [(a - b).detach().abs().flatten(1).amax(1) for a, b in zip(moved, states, strict=True)]
    return torch.stack(changes).amax(0)
