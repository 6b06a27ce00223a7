"""Activation checkpointing: which blocks are recomputed together in the backward pass."""

import math
from collections.abc import Callable, Sequence
from typing import Literal

from torch import Tensor
from torch.utils.checkpoint import checkpoint

from learners.networks.block import Block

Checkpointing = Literal["none", "sqrt", "every_k", "auto"]


def plan(mode: Checkpointing, blocks: int, every_k: int) -> list[range] | None:
    """Groups of consecutive blocks, each recomputed as one; None when nothing is.

    ``sqrt`` makes about sqrt(n) groups of sqrt(n) blocks; ``auto`` makes twice as many, which needs less memory where
    a block saves about four times its output (Chen et al. 2016, arXiv 1604.06174).
    """
    if mode == "none" or blocks == 0:
        return None
    if mode == "every_k":
        size = every_k
    else:
        groups = math.sqrt(blocks) * (2 if mode == "auto" else 1)
        size = max(1, math.ceil(blocks / groups))
    return [range(start, min(start + size, blocks)) for start in range(0, blocks, size)]


def run_checkpointed(blocks: Sequence[Block], groups: Sequence[range], x: Tensor, dt: Tensor | None) -> Tensor:
    """The blocks' output; the backward pass computes each group's inner activations again, bit for bit."""
    for group in groups:
        chain = _chain([blocks[index] for index in group])
        # Masks are replayed by the scope, so no generator state needs to be kept.
        x = checkpoint(chain, x, dt, use_reentrant=False, preserve_rng_state=False)
    return x


def _chain(blocks: Sequence[Block]) -> Callable[[Tensor, Tensor | None], Tensor]:
    def run(x: Tensor, dt: Tensor | None) -> Tensor:
        for block in blocks:
            x, _ = block(x, None, dt)
        return x

    return run
