"""Forward-Forward (Hinton 2022, arXiv 2212.13345).

The rule: block i sees real rows (input with its label) and false rows (with a wrong one), has goodness
G_i = sum or mean of its squared activities, and descends L_i = softplus(-c (G_i - threshold)) on real rows and
softplus(+c (G_i - threshold)) on false ones (section 2). Its input is the output below, divided by its root mean
square, and no gradient passes between blocks. Prediction: the label with the largest goodness summed over all blocks
but the first (section 3.3), or a linear read-out of the same blocks' normalised activities on rows with the neutral
label 1/K.

What differs from the paper: labels are appended inputs instead of the first pixels, so inputs of any shape have room;
rows are divided by their root mean square, with a one appended;
all three kinds of rows share one step; false labels are drawn uniformly from the wrong ones; self-contrastive false
rows are sums of two different rows, real ones doubled rows (after Chen et al. 2025, SCFF).
"""

# B = rows, N = stacked rows, K = classes, D = features

from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from learners.heads import features, features_of
from learners.inputs import appended
from learners.learner import Batch, Learner, ParameterGroup, StepReport, UpdateContext
from learners.local import learning_blocks
from learners.networks.block import Block
from learners.networks.block_network import BlockNetwork
from learners.streams import Streams
from learners.task import Task, at_least_float32
from specs.learners.forward_forward import ForwardForwardSpec

READOUT = "own.readout"


@final
class ForwardForward(Learner):
    """Each block tells real rows from false ones by its own activity."""

    def __init__(self, spec: ForwardForwardSpec) -> None:
        self.spec = spec

    def setup(self, network: BlockNetwork, task: Task, streams: Streams) -> nn.Module | None:
        if not len(network.blocks):
            raise ValueError("forward_forward trains blocks, and this network has none")
        self.network = network
        self.task = task
        self._blocks: list[Block] = network.stages[: len(network.blocks)]
        self._groups = [
            ParameterGroup(network.names[i], tuple(block.parameters()), i) for i, block in enumerate(self._blocks)
        ]
        # The first block sees the label most directly, and votes only when it is alone.
        self._first_voter = 1 if len(self._blocks) > 1 else 0
        voters = zip(network.shapes(), self._blocks, strict=False)
        width = sum(features_of(shape, block.layout) for shape, block in list(voters)[self._first_voter :])
        with streams.initialising("readout"):
            self.readout = nn.Linear(width, task.outputs)
        first = next(network.parameters())
        self.readout.to(device=first.device, dtype=first.dtype)
        self._one_pass = network.mixes_rows
        return self.readout

    def groups(self) -> list[ParameterGroup]:
        return [*self._groups, ParameterGroup(READOUT, tuple(self.readout.parameters()), None)]

    def update(self, batch: Batch, context: UpdateContext) -> StepReport:
        depth, rows = len(self._blocks), len(batch.x)
        learning = learning_blocks(self.spec.schedule, context.step, depth, self.spec.steps_per_block)
        x_N = self._real_and_false(batch, context)
        contrasted = len(x_N)
        quiet_B = None if self._unlabelled else self._neutral(batch.x)
        if quiet_B is not None and self._one_pass:
            # Batch statistics move once a part, so all rows must be in one pass.
            x_N, quiet_B = torch.cat([x_N, quiet_B]), None
        dt_N = None if batch.dt is None else torch.cat([batch.dt] * (len(x_N) // rows))
        votes: list[Tensor] = []
        goodness: list[Tensor] = []
        for index, block in enumerate(self._blocks):
            learns = index in learning
            with torch.set_grad_enabled(learns):
                y_N, _ = block(x_N, None, dt_N)
                goodness_N = self._goodness(y_N[:contrasted])
            if quiet_B is not None:
                # Before the commit: all parts of a step must see the same weights.
                with torch.no_grad():
                    quiet_B = self._passed_on(block(quiet_B, None, batch.dt)[0])
            if learns:
                context.backward(self._contrast(goodness_N, rows), self._groups[index].parameters)
                context.commit(self._groups[index].name)
            x_N = self._passed_on(y_N.detach())
            if index >= self._first_voter:
                # Without labels the real rows vote; joined neutral rows stand last.
                joined = x_N[:rows] if self._unlabelled else x_N[-rows:]
                votes.append(features(joined if quiet_B is None else quiet_B, block.layout))
            goodness.append(goodness_N.detach())
        loss = self.task.loss(self.readout(torch.cat(votes, 1)), batch.y)
        context.backward(loss, tuple(self.readout.parameters()))
        context.commit(READOUT)
        forwards = contrasted / rows + (0 if self._unlabelled else 1)
        # Without errors between blocks a backward pass is half of one: weights only.
        backwards = 0.5 * contrasted / rows * len(learning) / depth
        return StepReport(loss.detach(), forwards, backwards, self._quantities(goodness, rows))

    def predict(self, x: Tensor, dt: Tensor | None = None) -> Tensor:
        if self.spec.predict == "readout":
            return self._read_out(x, dt)
        labels_KK = torch.eye(self.task.outputs, dtype=x.dtype, device=x.device)
        scores = [self._goodness_of(self._with_label(x, label_K.expand(len(x), -1)), dt) for label_K in labels_KK]
        return self.spec.goodness_scale * torch.stack(scores, dim=1)

    def reference(self, batch: Batch) -> Tensor:
        return self.task.loss(self._read_out(batch.x, batch.dt), batch.y)

    def _read_out(self, x: Tensor, dt: Tensor | None) -> Tensor:
        """Scores [B,K] of the read-out on rows without a label, with all blocks attached."""
        h, votes = self._neutral(x), []
        for index, block in enumerate(self._blocks):
            h = self._passed_on(block(h, None, dt)[0])
            if index >= self._first_voter:
                votes.append(features(h, block.layout))
        scores_BK: Tensor = self.readout(torch.cat(votes, 1))
        return scores_BK

    def _goodness_of(self, x: Tensor, dt: Tensor | None) -> Tensor:
        """Goodness [B] summed over the blocks that vote."""
        total = x.new_zeros(len(x))
        for index, block in enumerate(self._blocks):
            y, _ = block(x, None, dt)
            if index >= self._first_voter:
                total = total + self._goodness(y)
            x = self._passed_on(y)
        return total

    def _goodness(self, y: Tensor) -> Tensor:
        squares = at_least_float32(y).square().flatten(1)
        return squares.sum(1) if self.spec.goodness == "sum_squares" else squares.mean(1)

    def _contrast(self, goodness_N: Tensor, rows: int) -> Tensor:
        """Mean loss of the real rows plus mean loss of the false ones."""
        excess_N = self.spec.goodness_scale * (goodness_N - self.spec.goodness_threshold)
        real = F.softplus(-excess_N[:rows]).sum() / rows
        return real + F.softplus(excess_N[rows:]).sum() / max(1, len(goodness_N) - rows)

    def _passed_on(self, y: Tensor) -> Tensor:
        return F.rms_norm(y, y.shape[1:], eps=1e-8) if self.spec.normalize_between_layers else y

    def _real_and_false(self, batch: Batch, context: UpdateContext) -> Tensor:
        """The real rows, and below them the false ones; a false label is never the true one."""
        x, y, classes = batch.x, batch.y, self.task.outputs
        if self._unlabelled:
            if len(x) == 1:
                return x + x
            generator = context.streams.generator("partners", context.step, context.part)
            shift = 1 + int(torch.randint(len(x) - 1, (), generator=generator))
            return torch.cat([x + x, x + x.roll(shift, 0)])
        if self.spec.negatives == "wrong_label":
            draw_B = context.per_row("negatives", (), "rand") * (classes - 1)
            offsets = [1 + draw_B.long().clamp(max=classes - 2)]
        else:
            offsets = [torch.full_like(y, offset) for offset in range(1, classes)]
        labels_N = torch.cat([y, *((y + offset) % classes for offset in offsets)])
        return self._with_label(torch.cat([x] * (len(offsets) + 1)), F.one_hot(labels_N, classes).to(x.dtype))

    def _neutral(self, x: Tensor) -> Tensor:
        """Rows that say nothing of their label."""
        if self._unlabelled:
            return x + x
        classes = self.task.outputs
        return self._with_label(x, x.new_full((len(x), classes), 1 / classes))

    def _with_label(self, x: Tensor, label_NK: Tensor) -> Tensor:
        """Appends the label; a normalised row gets a one first, so that its length is not lost."""
        extra_NE = label_NK
        if self.spec.normalize_inputs:
            squares_N = x.flatten(1).square()
            scale_N1 = ((squares_N.sum(1, keepdim=True) + 1) / (squares_N.shape[1] + 1)).rsqrt()
            x = x * scale_N1.reshape(-1, *(1 for _ in x.shape[1:]))
            extra_NE = torch.cat([label_NK, scale_N1], 1)
        return appended(x, extra_NE, self.network.input_layout)

    @property
    def _unlabelled(self) -> bool:
        return self.spec.negatives == "self_contrastive"

    def _quantities(self, goodness: list[Tensor], rows: int) -> dict[str, Tensor]:
        """Mean goodness of real and of false rows per block, their distance, and the share of rows on the right side of
        the threshold."""
        stacked = torch.stack(goodness)
        above = stacked > self.spec.goodness_threshold
        above[:, rows:].logical_not_()
        measured = {"goodness_positive": stacked[:, :rows].mean(1), "goodness_accuracy": above.float().mean(1)}
        if stacked.shape[1] > rows:
            measured["goodness_negative"] = stacked[:, rows:].mean(1)
            measured["goodness_margin"] = measured["goodness_positive"] - measured["goodness_negative"]
        return measured
