"""Feedback alignment (Lillicrap et al. 2016, doi 10.1038/ncomms13276) and direct feedback alignment (Nokland 2016,
arXiv 1609.01596): errors come back through matrices of their own.

The rule, with h the activities and e = dL/dscores (Nokland, Eqs. 6 and 7):

    sequential   d_l = f'(z_l) * (B_l+1^T d_l+1),   g_l = d_l h_l-1^T
    direct       d_l = f'(z_l) * (B_l^T e),         g_l = d_l h_l-1^T

The read-out's gradient is backpropagation's own in both. B is a fixed random matrix; W itself (transpose); c sign(W)
(Liao et al. 2016, arXiv 1510.05067); the product of all weights above (direct); or it learns by its weight's own
gradient, and then W - B shrinks by the weight decay alone (Kolen and Pollack 1994; Akrout et al. 2019, arXiv
1904.05391). A direct B learns by e h_l^T.

What differs from the papers: sequential replaces every matrix product, within a block too, and leaves norms, gates and
skips exact; direct is exact inside a block, and on a sequence it reaches the last step of each block's output. Kolen
and Pollack's decay is the optimizer's ``weight_decay``: without one W - B keeps its first value.
"""

# B = rows, K = outputs, D = features of a block's output

from collections.abc import Sequence
from functools import partial
from math import prod, sqrt
from typing import final

import torch
from torch import Tensor, nn

from learners.feedback import Feedback, glorot, through
from learners.heads import features, features_of
from learners.learner import Batch, Learner, ParameterGroup, StepReport, UpdateContext, network_groups
from learners.networks.block import PlainBlock
from learners.networks.block_network import BlockNetwork
from learners.networks.synapses import Synapse
from learners.streams import Streams
from learners.task import Task
from specs.learners.feedback_alignment import FeedbackAlignmentSpec


@final
class FeedbackAlignment(Learner):
    """Backpropagation on another way back."""

    def __init__(self, spec: FeedbackAlignmentSpec) -> None:
        self.spec = spec

    def setup(self, network: BlockNetwork, task: Task, streams: Streams) -> nn.Module | None:
        self.network = network
        self.task = task
        self._direct = self.spec.route == "direct"
        self._synapses = [[m for m in stage.modules() if isinstance(m, Synapse)] for stage in network.stages]
        self.feedback: Feedback | None = None
        if self.spec.feedback in ("random", "kolen_pollack"):
            shapes, deviations = self._direct_shapes() if self._direct else self._sequential_shapes()
            trained = self.spec.feedback == "kolen_pollack"
            self.feedback = Feedback(shapes, deviations, network, streams, trained=trained)
        self._stage_parameters = [tuple(stage.parameters()) for stage in network.stages]
        return self.feedback

    def _direct_shapes(self) -> tuple[list[tuple[int, ...]], list[float]]:
        """One matrix [K,D] per stage below the last."""
        *below, last = self.network.shapes()
        outputs = prod(last)
        widths = [features_of(s, stage.layout) for s, stage in zip(below, self.network.stages, strict=False)]
        return [(outputs, width) for width in widths], [self.spec.feedback_scale / sqrt(outputs) for _ in widths]

    def _sequential_shapes(self) -> tuple[list[tuple[int, ...]], list[float]]:
        """One matrix per synapse, in its weight's shape."""
        weights = [synapse.weight for own in self._synapses for synapse in own]
        return [tuple(w.shape) for w in weights], [self.spec.feedback_scale * glorot(w) for w in weights]

    def groups(self) -> list[ParameterGroup]:
        groups = network_groups(self.network)
        if self.feedback is None or self.spec.feedback != "kolen_pollack":
            return groups
        matrices = iter(self.feedback.parameters())
        numbers = [1] * (len(groups) - 1) + [0] if self._direct else [len(own) for own in self._synapses]
        held = [tuple(next(matrices) for _ in range(number)) for number in numbers]
        named = zip(groups, held, strict=True)
        return groups + [ParameterGroup(f"own.feedback.{g.name}", own, g.block) for g, own in named if own]

    def update(self, batch: Batch, context: UpdateContext) -> StepReport:
        x = batch.x.detach().requires_grad_() if batch.needs_input_error else batch.x
        return (self._update_directly if self._direct else self._update_sequentially)(x, batch, context)

    def _update_sequentially(self, x: Tensor, batch: Batch, context: UpdateContext) -> StepReport:
        trained = [parameter for group in self.groups() for parameter in group.parameters]
        inputs = (x,) if batch.needs_input_error else ()
        # The backward pass stands inside: what is recomputed there must meet the same rule.
        with self.network.synapses(partial(through, self._feedbacks())):
            loss = self.task.loss(self.network(x, batch.dt), batch.y)
            errors = context.backward(loss, trained, *inputs)
        return StepReport(loss.detach(), 1.0, 1.0, input_error=errors[0] if errors else None)

    def _feedbacks(self) -> dict[Synapse, Tensor]:
        """The matrix of every synapse at this step."""
        synapses = [synapse for own in self._synapses for synapse in own]
        if self.feedback is not None:
            return dict(zip(synapses, self.feedback.matrices, strict=True))
        if self.spec.feedback == "transpose":
            return {synapse: synapse.weight.detach() for synapse in synapses}
        scale = self.spec.feedback_scale
        return {synapse: scale * glorot(synapse.weight) * synapse.weight.detach().sign() for synapse in synapses}

    def _update_directly(self, x: Tensor, batch: Batch, context: UpdateContext) -> StepReport:
        outputs = self.network.activities(x, batch.dt, detach=True)
        loss = self.task.loss(outputs[-1], batch.y)
        error_BK = self.task.error(outputs[-1].detach(), batch.y).flatten(1)
        below = [features(y, stage.layout) for y, stage in zip(outputs[:-1], self.network.stages, strict=False)]
        seeds = self._products(outputs, batch, context) if self.feedback is None else self._seeds(error_BK)
        objectives = [*zip(below, seeds, strict=True), (loss, None)]
        inputs: tuple[Tensor, ...] = (x,) if batch.needs_input_error else ()
        input_error = None
        for parameters, (objective, seed) in zip(self._stage_parameters, objectives, strict=True):
            seed = None if seed is None else seed.to(objective.dtype)
            for error in context.backward(objective, parameters, *inputs, seed=seed):
                input_error = error
            inputs = ()
        if self.feedback is not None and self.spec.feedback == "kolen_pollack":
            changes = [error_BK.t() @ h_BD.detach().to(error_BK.dtype) for h_BD in below]
            context.write(list(self.feedback.parameters()), changes)
        # Without errors between blocks a backward pass is half of one: weights only.
        return StepReport(loss.detach(), 1.0, 0.5, input_error=input_error)

    def _seeds(self, error_BK: Tensor) -> list[Tensor]:
        """B_l^T e for every stage below the last."""
        assert self.feedback is not None
        with torch.no_grad():
            return [error_BK.to(matrix_KD.dtype) @ matrix_KD for matrix_KD in self.feedback.matrices]

    def _products(self, outputs: Sequence[Tensor], batch: Batch, context: UpdateContext) -> list[Tensor]:
        """The error at every stage's output, brought down through drives alone: products of weights (and pooling)."""
        signal = self.task.error(outputs[-1].detach(), batch.y)
        seeds: list[Tensor] = []
        for stage, below in zip(reversed(self.network.stages), reversed(outputs[:-1]), strict=False):
            assert isinstance(stage, PlainBlock)
            h = below.detach().requires_grad_()
            drive = stage.drive(h)
            (signal,) = context.backward(drive, (), h, seed=signal.to(drive.dtype))
            seeds.insert(0, signal.flatten(1))
        return seeds

    def predict(self, x: Tensor, dt: Tensor | None = None) -> Tensor:
        scores_BK: Tensor = self.network(x, dt)
        return scores_BK

    def reference(self, batch: Batch) -> Tensor:
        return self.task.loss(self.network(batch.x, batch.dt), batch.y)
