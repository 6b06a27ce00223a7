"""The fused solver of a layer of liquid neurons over a whole sequence, plain and as one node of the graph.

    v_{n+1} = (a_n + cm v_n + sum_s p s(sigma v_source + offset)) / (d_n + sum_s q s(sigma v_source + offset))

With u = v_{n+1}, g = dE/du: dE/d(above) = g / below and dE/d(below) = -u g / below. The node keeps potentials and
denominators alone; the sigmoids, which are most of the memory, are computed again in the backward pass.
"""

# L = units of the layer, S = slots for incoming synapses, N = solver steps, T = inputs, B = rows, C = steps of a chunk

from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor

from learners.networks.one_node import differentiable_gradients, may_be_one_node

CHUNK = 1 << 19


def solved(inputs: Sequence[Tensor], source_LS: Tensor, *, everyone: bool) -> Tensor:
    """Potentials [N+1,L,B] before every solver step, and after the last.

    ``inputs``: v [L,B]; a, d [N,L,B]; cm [T,L,B]; sigma, offset [L,S,1]; p and q together [L,2,S]. ``everyone``: all
    units reach all units, in order.
    """
    if not may_be_one_node(inputs):
        return _solved_plainly(inputs, source_LS)
    found: Tensor = Solver.apply(*inputs, source_LS, everyone)  # type: ignore[no-untyped-call]
    return found


def _solved_plainly(inputs: Sequence[Tensor], source_LS: Tensor) -> Tensor:
    v_LB, a, d, cm, sigma, offset, pq = inputs
    unfolds = len(a) // len(cm)
    potentials = [v_LB]
    for n, (a_LB, d_LB) in enumerate(zip(a.unbind(), d.unbind(), strict=True)):
        sums = torch.bmm(pq, torch.sigmoid(torch.addcmul(offset, sigma, v_LB[source_LS])))
        v_LB = (torch.addcmul(a_LB, cm[n // unfolds], v_LB) + sums[:, 0]) / (d_LB + sums[:, 1])
        potentials.append(v_LB)
    return torch.stack(potentials)


@final
class Solver(torch.autograd.Function):
    """The loop as one node."""

    @staticmethod
    def forward(ctx: Any, *given: Any) -> Tensor:
        v_LB, a, d, cm, sigma, offset, pq, source, ctx.everyone = given
        steps, units, rows = a.shape
        unfolds = steps // len(cm)
        v: Tensor = a.new_empty(steps + 1, units, rows)
        below = a.new_empty(a.shape)
        v[0] = v_LB
        s, sums = a.new_empty(*source.shape, rows), a.new_empty(units, 2, rows)
        above_sum, below_sum = sums.unbind(1)
        flat_s, flat_source = s.view(-1, rows), source.flatten()
        potentials, denominators, capacities = v.unbind(), below.unbind(), cm.unbind()
        for n, (a_LB, d_LB) in enumerate(zip(a.unbind(), d.unbind(), strict=True)):
            now, after = potentials[n], potentials[n + 1]
            if ctx.everyone:
                torch.addcmul(offset, sigma, now, out=s).sigmoid_()
            else:
                torch.index_select(now, 0, flat_source, out=flat_s)
                torch.addcmul(offset, sigma, s, out=s).sigmoid_()
            torch.bmm(pq, s, out=sums)
            torch.addcmul(a_LB, capacities[n // unfolds], now, out=after).add_(above_sum)
            after.div_(torch.add(d_LB, below_sum, out=denominators[n]))
        ctx.save_for_backward(*given[:8], v, below)
        return v

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        *inputs, source, v, below = ctx.saved_tensors
        if torch.is_grad_enabled():

            def plainly(*again: Tensor) -> Tensor:
                return _solved_plainly(again, source)

            return (*differentiable_gradients(plainly, inputs, gradients[0], ctx.needs_input_grad[:7]), None, None)
        return (*_backward(gradients[0], inputs, source, v, below, everyone=ctx.everyone), None, None)


def _backward(
    gradient: Tensor, inputs: Sequence[Tensor], source: Tensor, v: Tensor, below: Tensor, *, everyone: bool
) -> tuple[Tensor, ...]:
    _, a, _, cm, sigma, offset, pq = inputs
    steps, units, rows = a.shape
    unfolds = steps // len(cm)
    qp = pq.transpose(1, 2).contiguous()
    chunk = max(1, min(steps, CHUNK // (source.numel() * rows)))
    # Row l of the scatter sums what all synapses that come from unit l send back.
    scatter = None if everyone else _scatter(source, sigma, units)
    # Below is divided by once: its inverse for the sums above, and -v over it for those below.
    g, inverse, ratio = gradient[steps], below.reciprocal(), (v[1:] / below).neg_()
    both = a.new_empty(steps, 2, units, rows)
    aboves, belows = both[:, 0].unbind(), both[:, 1].unbind()
    per_unit = both.permute(0, 2, 1, 3).unbind()
    inverses, ratios, capacities, told = inverse.unbind(), ratio.unbind(), cm.unbind(), gradient.unbind()
    d_pq, d_sigma, d_offset = torch.zeros_like(pq), torch.zeros_like(sigma), torch.zeros_like(offset)
    for start in range((steps - 1) // chunk * chunk, -1, -chunk):
        stop = min(start + chunk, steps)
        v_CLSB = v[start:stop].unsqueeze(1) if everyone else v[start:stop].index_select(1, source.flatten())
        v_CLSB = v_CLSB.expand(-1, units, -1, -1) if everyone else v_CLSB.view(-1, *source.shape, rows)
        s_CLSB = torch.addcmul(offset, sigma, v_CLSB, out=v.new_empty(v_CLSB.shape)).sigmoid_()
        # The slopes of the sigmoids, until the loop has passed.
        d_z = torch.addcmul(s_CLSB, s_CLSB, s_CLSB, value=-1, out=v.new_empty(v_CLSB.shape))
        sent_back = d_z.unbind()
        for n in range(stop - 1, start - 1, -1):
            torch.mul(g, inverses[n], out=aboves[n])
            torch.mul(g, ratios[n], out=belows[n])
            d_z_LSB = sent_back[n - start].mul_(torch.bmm(qp, per_unit[n]))
            if scatter is None:
                g = (sigma * d_z_LSB).sum(0).add_(told[n])
            else:
                g = torch.addmm(told[n], scatter, d_z_LSB.view(-1, rows))
            g.addcmul_(capacities[n // unfolds], aboves[n])
        d_pq += torch.einsum("nklb,nlsb->lks", both[start:stop], s_CLSB)
        d_offset += d_z.sum((0, 3)).unsqueeze(2)
        d_sigma += d_z.mul_(v_CLSB).sum((0, 3)).unsqueeze(2)
    d_cm = (both[:, 0] * v[:-1]).view(len(cm), unfolds, units, rows).sum(1)
    return g, both[:, 0], both[:, 1], d_cm, d_sigma, d_offset, d_pq


def _scatter(source_LS: Tensor, sigma: Tensor, units: int) -> Tensor:
    """[L, L S]: sigma of every synapse in the row of the unit that it comes from."""
    places = sigma.new_zeros(units, source_LS.numel())
    return places.scatter_(0, source_LS.flatten().unsqueeze(0), sigma.reshape(1, -1))


def drifted(v_LB: Tensor, keep_NLB: Tensor, gain_NLB: Tensor) -> Tensor:
    """Potentials [N+1,L,B] of a layer without synapses of its own: v <- keep v + gain."""
    if not may_be_one_node((v_LB, keep_NLB, gain_NLB)):
        return _drifted_plainly(v_LB, keep_NLB, gain_NLB)
    found: Tensor = Drift.apply(v_LB, keep_NLB, gain_NLB)  # type: ignore[no-untyped-call]
    return found


def _drifted_plainly(v_LB: Tensor, keep_NLB: Tensor, gain_NLB: Tensor) -> Tensor:
    potentials = [v_LB]
    for keep_LB, gain_LB in zip(keep_NLB.unbind(), gain_NLB.unbind(), strict=True):
        potentials.append(torch.addcmul(gain_LB, keep_LB, potentials[-1]))
    return torch.stack(potentials)


@final
class Drift(torch.autograd.Function):
    """The linear loop as one node."""

    @staticmethod
    def forward(ctx: Any, *inputs: Tensor) -> Tensor:
        v_LB, keep, gain = inputs
        v = gain.new_empty(len(gain) + 1, *v_LB.shape)
        v[0] = v_LB
        potentials = v.unbind()
        for n, (keep_LB, gain_LB) in enumerate(zip(keep.unbind(), gain.unbind(), strict=True)):
            torch.addcmul(gain_LB, keep_LB, potentials[n], out=potentials[n + 1])
        ctx.save_for_backward(*inputs, v)
        return v

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        *inputs, v = ctx.saved_tensors
        if torch.is_grad_enabled():
            return tuple(differentiable_gradients(_drifted_plainly, inputs, gradients[0], ctx.needs_input_grad))
        keep = inputs[1]
        g = gradients[0].contiguous().clone()
        reached = g.unbind()
        for n in range(len(keep) - 1, -1, -1):
            reached[n].addcmul_(keep[n], reached[n + 1])
        return g[0], g[1:] * v[:-1], g[1:]
