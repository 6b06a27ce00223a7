"""Activation checkpointing (Chen et al. 2016, arXiv 1604.06174): which blocks are recomputed together in backward.

With groups, what is held at once is the inputs of the groups up to one and all that this one stores while it is
recomputed. For n equal blocks that store a bytes and hand on b, k equal groups hold k b + n a / k: least at
k = sqrt(n a / b), where it is 2 sqrt(b / (n a)) of what is held without.

``auto`` measures a and b of every block and takes the groups that hold least. They shrink towards the end: a group that
is recomputed later leaves fewer inputs beside it. So they hold sqrt(2 b / (n a)), 0.7 of what equal groups hold.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from learners.networks.block import Block

Checkpointing = Literal["none", "sqrt", "every_k", "auto"]

HALVINGS = 30
"""Of the interval in which the least peak lies: to within a billionth of it."""


@dataclass(frozen=True)
class Stored:
    """Bytes of one block: its input, what it stores beside it, and whether it stores the input too."""

    input: float
    beside: float
    stores_input: bool

    @property
    def all(self) -> float:
        """What it stores in the middle of a group."""
        return self.beside + (self.input if self.stores_input else 0.0)


def plan(
    mode: Checkpointing, blocks: int, every_k: int, *, measure: Callable[[], list[Stored]] | None = None
) -> list[range] | None:
    """Groups of consecutive blocks, each recomputed as one; None when nothing is.

    ``sqrt`` makes about sqrt(n) groups of sqrt(n) blocks; ``auto`` takes those that hold the fewest of the bytes that
    ``measure`` finds, none where checkpointing would save nothing.
    """
    if mode == "none" or blocks == 0:
        return None
    if mode == "auto":
        if measure is None:
            raise ValueError("auto chooses by measured bytes, and nothing measures them")
        return lightest(measure())
    size = every_k if mode == "every_k" else math.ceil(math.sqrt(blocks))
    return [range(start, min(start + size, blocks)) for start in range(0, blocks, size)]


def held(stored: Sequence[Stored], groups: Sequence[range]) -> float:
    """The most bytes that are held at once: the inputs of the groups up to one, and what that one stores."""
    inputs, most = 0.0, 0.0
    for group in groups:
        inputs += stored[group.start].input
        inside = stored[group.start].beside + sum(stored[index].all for index in group[1:])
        most = max(most, inputs + inside)
    return most


def lightest(stored: Sequence[Stored]) -> list[range] | None:
    """The groups that hold the fewest bytes; None where no groups hold less than all blocks store without."""
    total = sum(block.all for block in stored)
    low, high = 0.0, total
    best = None
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        groups = _within(stored, middle)
        if groups is None:
            low = middle
        else:
            best, high = groups, middle
    return best if best is not None and held(stored, best) < total else None


def _within(stored: Sequence[Stored], limit: float) -> list[range] | None:
    """Groups that hold at most ``limit``, or None: for every block, the least inputs that groups up to it can keep."""
    blocks = len(stored)
    kept = [0.0] + [math.inf] * blocks
    starts = [0] * (blocks + 1)
    for stop in range(1, blocks + 1):
        after_first = 0.0
        for start in range(stop - 1, -1, -1):
            inputs = kept[start] + stored[start].input
            if after_first + stored[start].beside > limit:
                break
            if inputs + stored[start].beside + after_first <= limit and inputs < kept[stop]:
                kept[stop], starts[stop] = inputs, start
            after_first += stored[start].all
    if math.isinf(kept[blocks]):
        return None
    groups, stop = [], blocks
    while stop > 0:
        groups.append(range(starts[stop], stop))
        stop = starts[stop]
    return groups[::-1]


def per_row(few: Sequence[Stored], many: Sequence[Stored], more: int) -> list[Stored]:
    """Bytes per row from two passes, the second with ``more`` rows: what does not grow with the rows is left out."""
    return [
        Stored((b.input - a.input) / more, (b.beside - a.beside) / more, b.stores_input)
        for a, b in zip(few, many, strict=True)
    ]


def measured(blocks: Sequence[Block], x: Tensor) -> list[Stored]:
    """What every block stores for rows ``x`` of the first: distinct storages, each where it is first stored."""
    alive: list[Tensor] = [p for block in blocks for p in (*block.parameters(), *block.buffers())]
    counted = {tensor.untyped_storage().data_ptr() for tensor in alive}
    found = []
    for index, block in enumerate(blocks):
        stored: list[Tensor] = []
        with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(_keeping(stored), lambda kept: kept):
            y, _ = block(x.requires_grad_(index > 0), None, None)
        storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in stored}
        new = {place: size for place, size in storages.items() if place not in counted}
        of_input = new.pop(x.untyped_storage().data_ptr(), None)
        found.append(Stored(x.untyped_storage().nbytes(), sum(new.values()), of_input is not None))
        counted |= storages.keys()
        alive += [*stored, x, y]  # or a later storage could lie at the same place
        x = y.detach()
    return found


def _keeping(stored: list[Tensor]) -> Callable[[Tensor], Tensor]:
    def keep(tensor: Tensor) -> Tensor:
        stored.append(tensor)
        return tensor

    return keep


def run_checkpointed(blocks: Sequence[Block], groups: Sequence[range], x: Tensor, dt: Tensor | None) -> Tensor:
    """The blocks' output; the backward pass computes the groups' inner activations again, bit for bit.

    Not those of the last group: backward needs them first of all, so they would only be stored a moment later.
    """
    for group in groups[:-1]:
        chain = _chain([blocks[index] for index in group])
        # Masks are replayed by the scope, so no generator state needs to be kept.
        x = checkpoint(chain, x, dt, use_reentrant=False, preserve_rng_state=False)
    return _chain([blocks[index] for index in groups[-1]])(x, dt)


def _chain(blocks: Sequence[Block]) -> Callable[[Tensor, Tensor | None], Tensor]:
    def run(x: Tensor, dt: Tensor | None) -> Tensor:
        for block in blocks:
            x, _ = block(x, None, dt)
        return x

    return run
