"""Forward-Forward (Hinton 2022, arXiv 2212.13345).

The rule: block i sees real rows (input with its label) and false rows (with a wrong one), has goodness
G_i = sum or mean of its squared activities, and descends L_i = softplus(-c (G_i - threshold)) on real rows and
softplus(+c (G_i - threshold)) on false ones (section 2). Its input is the output below, divided by its root mean
square, and no gradient passes between blocks. Prediction: the label with the largest goodness summed over all blocks
but the first (section 3.3), or a linear read-out of the same blocks' normalised activities on rows with the neutral
label 1/K.

What differs from the paper: labels are appended inputs instead of the first pixels, so inputs of any shape have room;
rows are divided by their root mean square, with a one appended; all three kinds of rows share one step; false labels
are drawn evenly from the wrong ones, or (``hard_label``, as in section 3.3) by the read-out's probabilities, in which
case a block hears of those above by the choice of its rows, and by nothing else; self-contrastive false rows are sums
of two different rows, real ones doubled rows (after Chen et al. 2025, SCFF). The slope dL_i/dG_i is written out; only
the block itself is differentiated.
"""

# B = rows, N = stacked rows, C = real and false ones of them, K = classes, W = wrong classes, V = voting features

from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from learners.heads import features, features_of
from learners.inputs import appended
from learners.labelled_rows import LabelledRows, Stack, StackedRows
from learners.learner import Batch, Learner, ParameterGroup, StepReport, UpdateContext
from learners.local import learning_blocks
from learners.networks.block import Block
from learners.networks.block_network import BlockNetwork
from learners.networks.dense import DenseBlock
from learners.networks.scope import Statistics
from learners.streams import Streams
from learners.task import HALF, Task, at_least_float32
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
        self._votes_in_stack = self._one_pass or self._unlabelled
        return self.readout

    def groups(self) -> list[ParameterGroup]:
        return [*self._groups, ParameterGroup(READOUT, tuple(self.readout.parameters()), None)]

    def update(self, batch: Batch, context: UpdateContext) -> StepReport:
        depth, rows = len(self._blocks), len(batch.x)
        learning = learning_blocks(self.spec.schedule, context.step, depth, self.spec.steps_per_block)
        with torch.set_grad_enabled(0 in learning):
            shared = self._shared(batch.x)
        # Before any commit: all parts of a step must see the same weights.
        votes_BV = self._votes_of_neutral_rows(batch, context, shared)
        stack, contrasted = self._contrasted(batch, context, shared, votes_BV)
        votes: list[Tensor] = []
        goodness: list[Tensor] = []
        for index, group in enumerate(self._groups):
            with torch.set_grad_enabled(index in learning):
                y_N = stack.outputs()
            y = y_N.detach()
            squares_N = _mean_squares(y)
            goodness_C = self._goodness(squares_N[:contrasted], y)
            if index in learning:
                seed_C = _times(y[:contrasted], self._slope(goodness_C, rows, y)).to(y.dtype)
                context.write(group.parameters, stack.gradients(y_N[:contrasted], group.parameters, seed_C))
                context.commit(group.name)
            x_N = self._passed_on(y, squares_N)
            if self._votes_in_stack and index >= self._first_voter:
                # Without labels the real rows vote; joined neutral rows stand last.
                votes.append(features(x_N[:rows] if self._unlabelled else x_N[-rows:], self._blocks[index].layout))
            goodness.append(goodness_C)
            if index + 1 < depth:
                stack = StackedRows(self._blocks[index + 1], x_N, _repeated(batch.dt, len(x_N) // rows))
        loss = self.task.loss(self.readout(torch.cat(votes, 1) if self._votes_in_stack else votes_BV), batch.y)
        context.backward(loss, tuple(self.readout.parameters()))
        context.commit(READOUT)
        forwards = contrasted / rows + (0 if self._unlabelled else 1)
        # Without errors between blocks a backward pass is half of one: weights only.
        backwards = 0.5 * contrasted / rows * len(learning) / depth
        return StepReport(loss.detach(), forwards, backwards, self._quantities(goodness, rows))

    def predict(self, x: Tensor, dt: Tensor | None = None) -> Tensor:
        if self.spec.predict == "readout":
            return self._read_out(x, dt)
        labels_KK = self.spec.label_scale * torch.eye(self.task.outputs, dtype=x.dtype, device=x.device)
        scores = [self._goodness_of(self._with_label(x, label_K.expand(len(x), -1)), dt) for label_K in labels_KK]
        return self.spec.goodness_scale * torch.stack(scores, dim=1)

    def reference(self, batch: Batch) -> Tensor:
        return self.task.loss(self._read_out(batch.x, batch.dt), batch.y)

    def _read_out(self, x: Tensor, dt: Tensor | None) -> Tensor:
        """Scores [B,K] of the read-out on rows without a label, with all blocks attached."""
        scores_BK: Tensor = self.readout(self._votes(self._blocks[0](self._neutral(x), None, dt)[0], dt))
        return scores_BK

    def _votes(self, y: Tensor, dt: Tensor | None) -> Tensor:
        """What the read-out reads [B,V], from the first block's output."""
        votes = []
        for index, block in enumerate(self._blocks):
            if index > 0:
                y, _ = block(y, None, dt)
            y = self._passed_on(y, _mean_squares(y))
            if index >= self._first_voter:
                votes.append(features(y, block.layout))
        return torch.cat(votes, 1)

    def _votes_of_neutral_rows(
        self, batch: Batch, context: UpdateContext, shared: LabelledRows | None
    ) -> Tensor | None:
        """Their votes [B,V] where they have a pass of their own: to train the read-out, or to choose false labels."""
        if self._votes_in_stack and self.spec.negatives != "hard_label":
            return None
        with torch.no_grad():
            if shared is not None:
                return self._votes(shared.outputs_alike(self._neutral_label(batch.x)), batch.dt)
            statistics: Statistics = "batch" if self._one_pass else "update"
            with self.network.passing(context.step, context.part, batch.rows, statistics):
                return self._votes(self._blocks[0](self._neutral(batch.x), None, batch.dt)[0], batch.dt)

    def _goodness_of(self, x: Tensor, dt: Tensor | None) -> Tensor:
        """Goodness [B] summed over the blocks that vote."""
        total = x.new_zeros(len(x))
        for index, block in enumerate(self._blocks):
            y, _ = block(x, None, dt)
            squares = _mean_squares(y)
            if index >= self._first_voter:
                total = total + self._goodness(squares, y)
            x = self._passed_on(y, squares)
        return total

    def _goodness(self, squares_N: Tensor, y: Tensor) -> Tensor:
        return squares_N * y[0].numel() if self.spec.goodness == "sum_squares" else squares_N

    def _slope(self, goodness_N: Tensor, rows: int, y: Tensor) -> Tensor:
        """dL/dG 2 [N], or its n-th part: what a row's activities are multiplied by to give dL/da.

        L is the mean loss of the real rows plus the mean loss of the false ones.
        """
        scale = self.spec.goodness_scale
        excess_N = scale * (goodness_N - self.spec.goodness_threshold)
        factor = 2 * scale if self.spec.goodness == "sum_squares" else 2 * scale / y[0].numel()
        real = torch.sigmoid(-excess_N[:rows]) * (-factor / rows)
        return torch.cat([real, torch.sigmoid(excess_N[rows:]) * (factor / max(1, len(goodness_N) - rows))])

    def _passed_on(self, y: Tensor, squares_N: Tensor) -> Tensor:
        return _times(y, (squares_N + 1e-8).rsqrt()) if self.spec.normalize_between_layers else y

    def _shared(self, x: Tensor) -> LabelledRows | None:
        """The first block's product that all copies of the rows share, where their label is an input of its own."""
        first, network = self._blocks[0], self.network
        if self._votes_in_stack or network.input_layout != "vector" or not isinstance(first, DenseBlock):
            return None
        if network.scope.rule is not None:
            return None  # another product stands in for the block's own, and must see the whole rows
        unlabelled = x.new_zeros((len(x), self.task.outputs))
        at = x[0].numel()
        return LabelledRows(first, self._with_label(x, unlabelled), slice(at, at + self.task.outputs))

    def _contrasted(
        self, batch: Batch, context: UpdateContext, shared: LabelledRows | None, votes_BV: Tensor | None
    ) -> tuple[Stack, int]:
        """The real rows and below them the false ones, for the first block; and how many these are."""
        x = batch.x
        if self._unlabelled:
            x_N = self._sums(x, context)
            return StackedRows(self._blocks[0], x_N, _repeated(batch.dt, len(x_N) // len(x))), len(x_N)
        labels_NK = self._labels(batch, context, votes_BV)
        if shared is not None:
            shared.label(labels_NK)
            return shared, len(labels_NK)
        x_N = self._with_label(torch.cat([x] * (len(labels_NK) // len(x))), labels_NK)
        if self._one_pass:
            # Batch statistics move once a part, so all rows must be in one pass.
            x_N = torch.cat([x_N, self._neutral(x)])
        return StackedRows(self._blocks[0], x_N, _repeated(batch.dt, len(x_N) // len(x))), len(labels_NK)

    def _sums(self, x: Tensor, context: UpdateContext) -> Tensor:
        """Self-contrastive rows: each with itself, and below them each with another."""
        if len(x) == 1:
            return x + x
        generator = context.streams.generator("partners", context.step, context.part)
        shift = 1 + int(torch.randint(len(x) - 1, (), generator=generator))
        return torch.cat([x + x, x + x.roll(shift, 0)])

    def _labels(self, batch: Batch, context: UpdateContext, votes_BV: Tensor | None) -> Tensor:
        """True labels [B,K], and below them the false ones: a false label is never the true one."""
        y, classes = batch.y, self.task.outputs
        if self.spec.negatives == "all_wrong":
            offsets = [torch.full_like(y, offset) for offset in range(1, classes)]
        else:
            draw_B = context.per_row("negatives", (), "rand")
            if votes_BV is None or self.spec.negatives != "hard_label":
                drawn_B = (draw_B * (classes - 1)).long()
            else:
                drawn_B = self._by_confusion(draw_B, votes_BV, y)
            offsets = [1 + drawn_B.clamp(max=classes - 2)]
        labels_N = torch.cat([y, *((y + offset) % classes for offset in offsets)])
        return F.one_hot(labels_N, classes).to(batch.x.dtype) * self.spec.label_scale

    def _by_confusion(self, draw_B: Tensor, votes_BV: Tensor, y: Tensor) -> Tensor:
        """The number of a wrong class, counted from the true one, by the read-out's probabilities and a draw."""
        with torch.no_grad():
            scores_BK = at_least_float32(self.readout(votes_BV))
        order_BW = (y[:, None] + torch.arange(1, self.task.outputs, device=y.device)) % self.task.outputs
        up_to_BW = torch.softmax(scores_BK.gather(1, order_BW), 1).cumsum(1)
        return (up_to_BW <= draw_B[:, None] * up_to_BW[:, -1:]).sum(1)

    def _neutral(self, x: Tensor) -> Tensor:
        """Rows that say nothing of their label."""
        return x + x if self._unlabelled else self._with_label(x, self._neutral_label(x).expand(len(x), -1))

    def _neutral_label(self, x: Tensor) -> Tensor:
        return x.new_full((self.task.outputs,), self.spec.label_scale / self.task.outputs)

    def _with_label(self, x: Tensor, label_NK: Tensor) -> Tensor:
        """Appends the label; a normalised row gets a one first, so that its length is not lost."""
        extra_NE = label_NK
        if self.spec.normalize_inputs:
            scale_N = ((x.flatten(1).square().sum(1) + 1) / (x[0].numel() + 1)).rsqrt()
            x = _times(x, scale_N)
            extra_NE = torch.cat([label_NK, scale_N[:, None]], 1)
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


def _mean_squares(y: Tensor) -> Tensor:
    """Mean squared activity of every row, in at least float32."""
    wide = torch.float32 if y.dtype in HALF else y.dtype
    norms_N: Tensor = torch.linalg.vector_norm(y.flatten(1), dim=1, dtype=wide)
    return norms_N.square() / y[0].numel()


def _times(y: Tensor, factor_N: Tensor) -> Tensor:
    """Every row by its factor."""
    return y * factor_N.reshape(-1, *(1 for _ in y.shape[1:]))


def _repeated(dt: Tensor | None, copies: int) -> Tensor | None:
    return None if dt is None else torch.cat([dt] * copies)
