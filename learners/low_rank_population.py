"""A population with low-rank noise on its weight matrices: many members in one pass, no noise matrix ever formed."""

# B = rows, N = members of a pass with their signs, M = perturbations, I = inputs, O = outputs, R = rank, S = signs

import math
from collections.abc import Iterator, Sequence
from typing import final

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import Parameter

from learners.learner import Batch, UpdateContext
from learners.networks.block import PlainBlock
from learners.networks.block_network import BlockNetwork
from learners.networks.synapses import LinearSynapse, Synapse
from learners.population import Population
from learners.task import Task

MOST_ROWS = 4096
"""Rows of one pass: more would leave the processor's cache, fewer would leave its products small."""


@final
class LowRankPopulation(Population):
    """E = A B^T / sqrt(r) for matrices, dense noise for all other parameters.

    Where every parameter is a synapse's and rows stay apart, members are stacked as rows: the product with the weights
    is one for all of them, and for the first layer, which sees the same rows, it is taken once. Else one by one.
    """

    def __init__(self, network: BlockNetwork, task: Task, signs: Sequence[float], scale: float, rank: int) -> None:
        self._network = network
        self._task = task
        self._signs = signs
        self._scale = scale
        self._rank = rank
        synapses = [module for module in network.modules() if isinstance(module, Synapse)]
        # A product of factors does not keep the zeros of a mask.
        self._synapses = [synapse for synapse in synapses if getattr(synapse, "mask", None) is None]
        matrices = {synapse.weight for synapse in self._synapses}
        self._names = {p: name for name, p in network.named_parameters()}
        self._others = [parameter for parameter in self._names if parameter not in matrices]
        first = network.stages[0]
        held = matrices | {synapse.bias for synapse in self._synapses if synapse.bias is not None}
        apart = not network.mixes_rows and all(stage.layout != "sequence" for stage in network.stages)
        self._first = first.synapse if isinstance(first, PlainBlock) else None
        self._stacks = apart and self._first is not None and held == set(self._names)
        self._factors: dict[Synapse, tuple[Tensor, Tensor]] = {}
        self._noise: dict[Parameter, Tensor] = {}

    def losses(self, batch: Batch, context: UpdateContext, members: int, *, at_once: float | None) -> Tensor:  # noqa: ARG002
        self._draw(context, members)
        total: Tensor | None = None
        for part in context.parts(batch):
            evaluate = self._stacked if self._stacks else self._one_by_one
            loss_SM = part.weight * torch.cat(list(evaluate(part, members)), 1)
            total = loss_SM if total is None else total + loss_SM
        assert total is not None
        return total

    def _draw(self, context: UpdateContext, members: int) -> None:
        """Factors A [M,O,R] and B [M,R,I,...] of every matrix, noise [M,...] of everything else."""

        def normal(name: str, like: Tensor, *shape: int) -> Tensor:
            generator = context.streams.generator(name, context.step, device=like.device)
            return torch.randn(members, *shape, generator=generator, dtype=like.dtype, device=like.device)

        for synapse in self._synapses:
            weight, name = synapse.weight, self._names[synapse.weight]
            a_MOR = normal(f"outputs.{name}", weight, weight.shape[0], self._rank)
            b_MRI = normal(f"inputs.{name}", weight, self._rank, *weight.shape[1:])
            self._factors[synapse] = a_MOR, b_MRI
        for parameter in self._others:
            self._noise[parameter] = normal(f"dense.{self._names[parameter]}", parameter, *parameter.shape)

    def _stacked(self, part: Batch, members: int) -> Iterator[Tensor]:
        """Losses [S,C] of chunks of perturbations, each in one pass."""
        rows = len(part.x)
        chunk = max(1, MOST_ROWS // (rows * len(self._signs)))
        for low in range(0, members, chunk):
            chosen = slice(low, min(low + chunk, members))

            def rule(synapse: Synapse, x: Tensor, chosen: slice = chosen) -> Tensor:
                return self._noisy_rows(synapse, x, chosen, shared=synapse is self._first)

            with self._network.synapses(rule):
                scores_N = self._network(part.x, part.dt).split(rows)
            losses = [self._task.loss(scores_BK, part.y) for scores_BK in scores_N]
            yield torch.stack(losses).reshape(len(self._signs), -1)

    def _noisy_rows(self, synapse: Synapse, x: Tensor, chosen: slice, *, shared: bool) -> Tensor:
        """The output [N*B,O,...] of a synapse whose members' rows are stacked; [B,I,...] where all share them."""
        a_COR, b_CRI = (factor[chosen] for factor in self._factors[synapse])
        scale = self._scale / math.sqrt(self._rank)
        a_NOR = torch.cat([a_COR * (sign * scale) for sign in self._signs])
        b_NRI = b_CRI if len(self._signs) == 1 else torch.cat([b_CRI] * len(self._signs))
        base = synapse.operate(x, synapse.weight, synapse.bias)
        copies = len(a_NOR)
        if isinstance(synapse, LinearSynapse):
            if shared:
                # One product for the factors of all perturbations; the signs stand in A.
                h_BCR = (x @ b_CRI.flatten(0, 1).t()).reshape(len(x), -1, self._rank)
                h_NBR = h_BCR.transpose(0, 1).repeat(len(self._signs), 1, 1)
                base_NBO = base.expand(copies, *base.shape)
            else:
                h_NBR = torch.bmm(x.reshape(copies, -1, x.shape[1]), b_NRI.transpose(1, 2))
                base_NBO = base.reshape(copies, -1, base.shape[1])
            y = torch.baddbmm(base_NBO, h_NBR, a_NOR.transpose(1, 2))
        else:
            x_N = [x] * copies if shared else x.chunk(copies)
            base_N = [base] * copies if shared else base.chunk(copies)
            members = zip(base_N, x_N, a_NOR, b_NRI, strict=True)
            y = torch.stack([one + synapse.mix(synapse.operate(x_n, b), a) for one, x_n, a, b in members])
        if synapse.bias is not None:
            e_CO = self._noise[synapse.bias][chosen]
            e_NO = torch.cat([e_CO * (sign * self._scale) for sign in self._signs])
            y = y + e_NO.reshape(copies, 1, -1, *[1] * (y.dim() - 3))
        return y.flatten(0, 1)

    def _one_by_one(self, part: Batch, members: int) -> Iterator[Tensor]:
        """Losses [S,1] of each perturbation in turn."""
        for member in range(members):
            losses = []
            for sign in self._signs:

                def rule(synapse: Synapse, x: Tensor, member: int = member, sign: float = sign) -> Tensor:
                    y = synapse.operate(x, synapse.weight, synapse.bias)
                    if synapse not in self._factors:
                        return y
                    a_OR, b_RI = (factor[member] for factor in self._factors[synapse])
                    scale = sign * self._scale / math.sqrt(self._rank)
                    return y + synapse.mix(synapse.operate(x, b_RI), a_OR * scale)

                noisy = {
                    self._names[p]: torch.add(p, noise[member], alpha=sign * self._scale)
                    for p, noise in self._noise.items()
                }
                with self._network.synapses(rule):
                    scores_BK = functional_call(self._network, noisy, (part.x, part.dt))
                losses.append(self._task.loss(scores_BK, part.y))
            yield torch.stack(losses).unsqueeze(1)

    def write(self, context: UpdateContext, weight_M: Tensor) -> None:
        for synapse, (a_MOR, b_MRI) in self._factors.items():
            weighed_OMR = (a_MOR * weight_M.to(a_MOR.dtype)[:, None, None]).transpose(0, 1) / math.sqrt(self._rank)
            gradient = weighed_OMR.flatten(1) @ b_MRI.flatten(0, 1).flatten(1)
            context.write([synapse.weight], [gradient.reshape(synapse.weight.shape)])
        for parameter, noise in self._noise.items():
            context.write([parameter], [torch.tensordot(weight_M.to(noise.dtype), noise, 1)])
        self._factors, self._noise = {}, {}
