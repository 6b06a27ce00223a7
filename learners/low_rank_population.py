"""A population with low-rank noise on its weight matrices: many members in one pass, no noise matrix ever formed."""

# B = rows, N = members of a pass with their signs, M = perturbations, I = inputs, O = outputs, R = rank, S = signs

import math
from collections.abc import Iterator, Sequence
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call
from torch.nn import Parameter

from learners.learner import Batch, UpdateContext
from learners.networks.block import PlainBlock
from learners.networks.block_network import BlockNetwork
from learners.networks.synapses import LinearSynapse, Synapse
from learners.population import Population
from learners.task import Task

PASS_BYTES = {"cpu": 2**20}
"""Of the widest layer's outputs in one pass: more would leave the processor's cache, and the allocator would give their
memory back to the system after every layer; fewer would leave products small."""
PASS_BYTES_ELSEWHERE = 2**23


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
        self._widest = max(math.prod(shape) for shape in network.shapes())
        self._factors: dict[Synapse, tuple[Tensor, Tensor]] = {}
        self._noise: dict[Parameter, Tensor] = {}
        self._base: Tensor | None = None
        """What the weights of the first layer make of the rows."""

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
        device = next(iter(self._names)).device
        generator = context.streams.generator("population", context.step, device=device)

        def normal(like: Tensor, *shape: int) -> Tensor:
            return torch.randn(members, *shape, generator=generator, dtype=like.dtype, device=device)

        for synapse in self._synapses:
            weight = synapse.weight
            a_MOR = normal(weight, weight.shape[0], self._rank)
            self._factors[synapse] = a_MOR, normal(weight, self._rank, *weight.shape[1:])
        for parameter in self._others:
            self._noise[parameter] = normal(parameter, *parameter.shape)

    def _stacked(self, part: Batch, members: int) -> Iterator[Tensor]:
        """Losses [S,C] of chunks of perturbations, each in one pass."""
        self._base = None
        rows = len(part.x)
        device = part.x.device.type
        item = 2 if torch.is_autocast_enabled(device) else part.x.element_size()
        row = self._widest * item
        chunk = max(1, PASS_BYTES.get(device, PASS_BYTES_ELSEWHERE) // (row * rows * len(self._signs)))
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
        a_MOR, b_MRI = self._factors[synapse]
        a_COR, b_CRI = a_MOR[chosen] * (self._scale / math.sqrt(self._rank)), b_MRI[chosen]
        bias = synapse.bias
        e_CO = None if bias is None else self._noise[bias][chosen] * self._scale
        base = self._base if shared else None
        if base is None:
            base = synapse.operate(x, synapse.weight, bias)
            self._base = base if shared else self._base
        if isinstance(synapse, LinearSynapse):
            return self._noisy_linear(base, x, a_COR, b_CRI, e_CO, shared=shared)
        a_NOR, b_NRI = self._signed(a_COR), torch.cat([b_CRI] * len(self._signs))
        copies = len(a_NOR)
        x_N = [x] * copies if shared else x.chunk(copies)
        base_N = [base] * copies if shared else base.chunk(copies)
        members = zip(base_N, x_N, a_NOR, b_NRI, strict=True)
        y = torch.stack([one + synapse.mix(synapse.operate(x_n, b), a) for one, x_n, a, b in members])
        if e_CO is not None:
            y = y + self._signed(e_CO).reshape(copies, 1, -1, *[1] * (y.dim() - 3))
        return y.flatten(0, 1)

    def _noisy_linear(
        self, base: Tensor, x: Tensor, a_COR: Tensor, b_CRI: Tensor, e_CO: Tensor | None, *, shared: bool
    ) -> Tensor:
        """``base`` with every member's h A^T and e added in place: one product, its last column is the bias's noise."""
        signs, copies = len(self._signs), len(self._signs) * len(a_COR)
        if shared:
            # One product for the factors of all perturbations; the signs stand in A.
            h_BCR = (x @ b_CRI.flatten(0, 1).t()).reshape(len(x), -1, self._rank)
            h_NBR = h_BCR.transpose(0, 1).repeat(signs, 1, 1)
            y_NBO = base.repeat(copies, 1, 1)
        else:
            b_NRI = b_CRI if signs == 1 else b_CRI.repeat(signs, 1, 1)
            h_NBR = torch.bmm(x.reshape(copies, -1, x.shape[1]), b_NRI.transpose(1, 2))
            y_NBO = base.reshape(copies, -1, base.shape[1])
        if e_CO is not None:
            a_COR = torch.cat([a_COR, e_CO.unsqueeze(2)], 2)
            h_NBR = F.pad(h_NBR, (0, 1), value=1.0)
        a_NOR = self._signed(a_COR).to(base.dtype)
        return y_NBO.baddbmm_(h_NBR.to(base.dtype), a_NOR.transpose(1, 2)).flatten(0, 1)

    def _signed(self, noise_C: Tensor) -> Tensor:
        """Noise [N,...] of all members from that of the perturbations."""
        return torch.cat([noise_C if sign == 1 else sign * noise_C for sign in self._signs])

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
            own_M = weight_M.to(a_MOR.dtype) / math.sqrt(self._rank)
            weighed_OMR = (a_MOR * own_M[:, None, None]).transpose(0, 1)
            gradient = weighed_OMR.flatten(1) @ b_MRI.flatten(0, 1).flatten(1)
            context.write([synapse.weight], [gradient.reshape(synapse.weight.shape)])
        for parameter, noise in self._noise.items():
            own = weight_M.to(noise.dtype) @ noise.reshape(len(noise), -1)
            context.write([parameter], [own.reshape(parameter.shape)])
        self._factors, self._noise, self._base = {}, {}, None
