"""SoftHebb (Moraitis et al. 2022, arXiv 2107.05747; Journe et al. 2023, arXiv 2209.11883): unsupervised Hebbian blocks.

The rule, for each unit k with drive u_k = w_k x (Journe et al., section 3):

    y = softmax(u / T) over units,   dw_k = |1 - |w_k||^q  y_k (x - u_k w_k)

averaged over rows (of a convolution: over places too) and written as a gradient, g = -dw. The length of w_k goes to
one. The read-out learns by its own loss on what the blocks put out; no label reaches a block.

What differs from the papers: read-out and blocks learn at the same time, by the same optimizer; first weights are the
network's own, scaled to ``initial_norm``; rows are normalised one by one, not by batch statistics; there are no biases
(they are set to zero) and no anti-Hebbian losers; the Triangle activation stands behind the pooling.
"""

# B = rows, O = units or channels, K = classes or targets

from typing import final

import torch
from torch import Tensor, nn

from learners.heads import Heads
from learners.learner import Batch, Learner, ParameterGroup, StepReport, UpdateContext
from learners.networks.block import PlainBlock
from learners.networks.block_network import BlockNetwork
from learners.networks.synapses import Synapse
from learners.streams import Streams
from learners.task import Task
from specs.learners.soft_hebb import SoftHebbSpec

# Below this mean square a row is all alike, and stays zero.
SMALLEST = 1e-24


@final
class SoftHebb(Learner):
    """Units that compete for inputs, under a read-out."""

    def __init__(self, spec: SoftHebbSpec) -> None:
        self.spec = spec

    def setup(self, network: BlockNetwork, task: Task, streams: Streams) -> nn.Module | None:
        if not len(network.blocks):
            raise ValueError("soft_hebb trains blocks, and this network has none")
        self.network = network
        self.task = task
        self._blocks: list[PlainBlock] = []
        for block in network.stages[: len(network.blocks)]:
            assert isinstance(block, PlainBlock)
            self._blocks.append(block)
            self._start(block.synapse)
        # A segment without a read-out reads its last block by a head of the learner's own.
        last = len(self._blocks) - 1
        self._head = Heads(network, [last], task, streams) if network.readout is None else None
        return self._head

    @torch.no_grad()
    def _start(self, synapse: Synapse) -> None:
        length_O = lengths(synapse.weight).clamp(min=torch.finfo(synapse.weight.dtype).tiny)
        synapse.weight.mul_(per_unit(self.spec.initial_norm / length_O, synapse.weight))
        if synapse.bias is not None:
            synapse.bias.zero_()

    def groups(self) -> list[ParameterGroup]:
        names = self.network.names
        hebbian = [
            ParameterGroup(names[i], (block.synapse.weight,), i, lr_factor=self.spec.hebbian_rate)
            for i, block in enumerate(self._blocks)
        ]
        if self._head is not None:
            return hebbian + self._head.groups()
        assert self.network.readout is not None
        return [*hebbian, ParameterGroup("readout", tuple(self.network.readout.parameters()), None)]

    def update(self, batch: Batch, context: UpdateContext) -> StepReport:
        x, lengths_of_blocks, uses, concentrations = batch.x, [], [], []
        with torch.no_grad():
            for block in self._blocks:
                x, seen, drive = self._pass(block, x)
                synapse = block.synapse
                y = self._won(seen, drive)
                context.write((synapse.weight,), (-self._change(synapse, seen, drive, y),))
                uses.append(use(y))
                concentrations.append(concentration(y))
                lengths_of_blocks.append(lengths(synapse.weight).mean())
        loss = self.task.loss(self._scores(x), batch.y)
        context.backward(loss, self.groups()[-1].parameters)
        share = 0.5 + 0.5 / len(self.network.stages)
        quantities = {
            "weight_length": torch.stack(lengths_of_blocks),
            "unit_use": torch.stack(uses),
            "win_concentration": torch.stack(concentrations),
        }
        return StepReport(loss.detach(), 1.0, share, quantities)

    def _pass(self, block: PlainBlock, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The block's output, and what its synapse saw and answered."""
        met: list[Tensor] = []

        def note(synapse: Synapse, x: Tensor) -> Tensor:
            u = synapse.operate(x, synapse.weight, synapse.bias)
            met.extend((x, u))
            return u

        with self.network.synapses(note):
            z = block.drive(self._entering(block.synapse, x))
        seen, drive = met
        return self._activate(block, z), seen, drive

    def _activate(self, block: PlainBlock, z: Tensor) -> Tensor:
        power = self.spec.triangle_power
        if power is None:
            return block.activate(z)
        h = block.activate(z - z.mean(1, keepdim=True))
        return h if power == 1 else h.sign() * h.abs() ** power

    def _entering(self, synapse: Synapse, x: Tensor) -> Tensor:
        """Rows [like x] centred and divided, so that what one unit sees has length one on average."""
        if not self.spec.normalize_inputs:
            return x
        own = tuple(range(1, x.dim()))
        x = x - x.mean(own, keepdim=True)
        return x * (x.square().mean(own, keepdim=True) * synapse.weight[0].numel()).clamp(min=SMALLEST).rsqrt()

    def _won(self, x: Tensor, u: Tensor) -> Tensor:
        """y, what each unit wins of each row and place."""
        return torch.softmax(self.spec.inverse_temperature * u.to(x.dtype), dim=1).to(x.dtype)

    def _change(self, synapse: Synapse, x: Tensor, u: Tensor, y: Tensor) -> Tensor:
        """dw [like the weight], a mean over rows and places."""
        weight, u = synapse.weight, u.to(x.dtype)
        towards = synapse.correlate(x, y)[0]
        forgotten_O = (y * u).sum(places(u))
        rate_O = (1 - lengths(weight)).abs() ** self.spec.rate_exponent / (u.numel() / u.shape[1])
        return (towards - per_unit(forgotten_O, weight) * weight) * per_unit(rate_O, weight)

    def _scores(self, x: Tensor) -> Tensor:
        if self.spec.normalize_inputs:
            own = tuple(range(1, x.dim()))
            x = x * x.square().mean(own, keepdim=True).clamp(min=SMALLEST).rsqrt()
        if self._head is not None:
            return self._head.score(0, x)
        assert self.network.readout is not None
        scores_BK: Tensor = self.network.readout(x)[0]
        return scores_BK

    def predict(self, x: Tensor, dt: Tensor | None = None) -> Tensor:  # noqa: ARG002
        for block in self._blocks:
            x, _, _ = self._pass(block, x)
        return self._scores(x)

    def reference(self, batch: Batch) -> Tensor:
        return self.task.loss(self.predict(batch.x, batch.dt), batch.y)


def lengths(weight: Tensor) -> Tensor:
    """The length [O] of every unit's weight vector."""
    length_O: Tensor = weight.flatten(1).norm(dim=1)
    return length_O


def places(y: Tensor) -> list[int]:
    """All axes but that of the units."""
    return [axis for axis in range(y.dim()) if axis != 1]


def use(y: Tensor) -> Tensor:
    """Share of the units that win, by the exponential of the entropy of their mean y."""
    won_O = y.mean(places(y))
    share: Tensor = torch.special.entr(won_O).sum().exp() / len(won_O)
    return share


def concentration(y: Tensor) -> Tensor:
    """How few units win a row: 1 where all win alike, the number of units where one wins."""
    units = y.shape[1]
    return y.square().sum() * units * units / y.numel()


def per_unit(value_O: Tensor, weight: Tensor) -> Tensor:
    """One value per unit in a shape that multiplies its weights."""
    return value_O.reshape(-1, *(1 for _ in weight.shape[1:]))
