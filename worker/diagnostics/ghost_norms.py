"""Norms of single rows' gradients without the gradients (Goodfellow 2015, arXiv 1510.01799).

A weight matrix that saw inputs a_p and errors d_p at places p (or steps, or uses) has a row's gradient sum_p d_p a_p^T.
Its squared norm is sum_pq (a_p . a_q)(d_p . d_q): two Gram matrices, of which no gradient has to be formed; where there
are more places than weights the gradient itself is the smaller one. A bias has sum_p d_p; a norm's weight sum_p d_p x_p
of the normalised x.
"""

# B = rows, P = places, steps or uses, I = inputs of a place, O = outputs, C = channels or features

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn import Parameter

from learners.networks.block import RecurrentBlock
from learners.networks.block_network import BlockNetwork
from learners.networks.synapses import ConvSynapse, LinearSynapse, Synapse


@dataclass(frozen=True)
class Use:
    """One use of a module in a forward pass: what went in, and the output whose error is asked for."""

    x: Tensor
    output: Tensor
    time_first: bool = False


@final
@dataclass(frozen=True)
class Shares:
    """Of one pass: squared norms [B] of the rows' gradients by parameter, and the gradients themselves.

    A row's gradient is that of its own loss. Parameters that the loss does not depend on are in neither; those that
    have no formula here are in ``gradients`` alone.
    """

    squares: dict[Parameter, Tensor] = field(default_factory=dict)
    gradients: dict[Parameter, Tensor] = field(default_factory=dict)


def row_gradients(
    network: BlockNetwork,
    loss_of: Callable[[], Tensor | None],
    parameters: Sequence[Parameter],
    *,
    rows: int,
    own: nn.Module | None = None,
) -> Shares | None:
    """One pass there and back of ``loss_of``, a mean over ``rows`` that do not mix; None where it has no loss.

    ``own`` are the learner's modules, among them copies of the network's.
    """
    uses: dict[nn.Module, list[Use]] = {}
    modules = [*network.modules(), *([] if own is None else own.modules())]
    with _noting(network, modules, uses):
        loss = loss_of()
        if loss is None:
            return None
        noted = [(module, use) for module, its in uses.items() for use in its if use.output.requires_grad]
        outputs = [use.output for _, use in noted]
        found = torch.autograd.grad(loss, (*outputs, *parameters), allow_unused=True)
    errors: dict[nn.Module, list[tuple[Use, Tensor]]] = {}
    for (module, use), error in zip(noted, found, strict=False):
        if error is not None:
            errors.setdefault(module, []).append((use, error * rows))
    gradients = found[len(outputs) :]
    made = Shares(gradients={p: g for p, g in zip(parameters, gradients, strict=True) if g is not None})
    for module, its_uses in errors.items():
        _add(made, module, its_uses)
    return made


def _add(made: Shares, module: nn.Module, uses: list[tuple[Use, Tensor]]) -> None:
    if isinstance(module, Synapse):
        pairs = [_unfolded(module, use, error) for use, error in uses]
        a_BPI, d_BPO = (torch.cat(both, 1) for both in zip(*pairs, strict=True))
        squares = matrix_squares(a_BPI, d_BPO)
        bias_BO = d_BPO.sum(1)
    else:
        x_BC, bias_BO = (torch.stack(both).sum(0) for both in zip(*(_of_norm(module, *u) for u in uses), strict=True))
        squares = x_BC.square().sum(1)
    for parameter, square in ((module.weight, squares), (module.bias, bias_BO.square().sum(1))):
        if parameter in made.gradients:
            assert isinstance(parameter, Parameter)
            made.squares[parameter] = square


def matrix_squares(a_BPI: Tensor, d_BPO: Tensor) -> Tensor:
    """|sum_p d_p a_p^T|^2 [B], by the smaller of the Gram matrices and the gradients."""
    places, inputs, outputs = a_BPI.shape[1], a_BPI.shape[2], d_BPO.shape[2]
    if places == 1:
        return a_BPI.square().sum((1, 2)) * d_BPO.square().sum((1, 2))
    if places * (inputs + outputs) < inputs * outputs:
        return (torch.bmm(a_BPI, a_BPI.mT) * torch.bmm(d_BPO, d_BPO.mT)).sum((1, 2))
    return torch.bmm(d_BPO.mT, a_BPI).square().sum((1, 2))


def _unfolded(synapse: Synapse, use: Use, error: Tensor) -> tuple[Tensor, Tensor]:
    """Inputs [B,P,I] and errors [B,P,O] of every place."""
    x = use.x.detach()
    if isinstance(synapse, ConvSynapse):
        size = synapse.weight.shape[2]
        patches_BIP = F.unfold(x, size, padding=synapse.padding, stride=synapse.stride)
        return patches_BIP.mT, error.flatten(2).mT
    if x.dim() == 2:
        return x.unsqueeze(1), error.unsqueeze(1)
    return (x.transpose(0, 1), error.transpose(0, 1)) if use.time_first else (x, error)


def _of_norm(norm: nn.Module, use: Use, error: Tensor) -> tuple[Tensor, Tensor]:
    """Sums over places of d x and of d, [B,C]."""
    assert isinstance(norm, nn.LayerNorm | nn.GroupNorm)
    x = use.x.detach()
    if isinstance(norm, nn.LayerNorm):
        normal = F.layer_norm(x, norm.normalized_shape, eps=norm.eps)
        places = list(range(1, x.dim() - 1))
    else:
        normal = F.group_norm(x, norm.num_groups, eps=norm.eps)
        places = list(range(2, x.dim()))
    if not places:
        return normal * error, error
    return (normal * error).sum(places), error.sum(places)


@contextmanager
def _noting(network: BlockNetwork, modules: Sequence[nn.Module], uses: dict[nn.Module, list[Use]]) -> Iterator[None]:
    """Inside, every use of a matrix or of a norm layer is noted; a recomputed one adds nothing that is asked for."""
    recurrent = {inner for module in modules if isinstance(module, RecurrentBlock) for inner in module.modules()}

    def rule(synapse: Synapse, x: Tensor) -> Tensor:
        output = synapse.operate(x, synapse.weight, synapse.bias)
        # The zeros of a mask would need a product of their own.
        if not isinstance(synapse, LinearSynapse) or synapse.mask is None:
            uses.setdefault(synapse, []).append(Use(x, output, time_first=synapse in recurrent and x.dim() == 3))
        return output

    def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        uses.setdefault(module, []).append(Use(inputs[0], output))

    norms = dict.fromkeys(module for module in modules if isinstance(module, nn.LayerNorm | nn.GroupNorm))
    hooks = [norm.register_forward_hook(hook) for norm in norms]
    try:
        with network.synapses(rule):
            yield
    finally:
        for one in hooks:
            one.remove()
