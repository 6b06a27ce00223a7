"""The outputs of a network's stages in one pass of the learner's own, whatever it feeds them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor

from learners.learner import Batch, Learner
from learners.networks.block import Block, PlainBlock
from learners.networks.block_network import BlockNetwork


@torch.no_grad()
def stage_outputs(network: BlockNetwork, learner: Learner, batch: Batch) -> dict[str, Tensor]:
    """Output of each stage by name, in the pass of ``learner.reference``; stages that it leaves out are missing.

    Of a stage that runs several times the last output counts: for rules that settle, the one at rest. The caller
    chooses the mode (train or eval) and, in train mode, opens ``network.passing``.
    """
    outputs: dict[str, Tensor] = {}
    with listening(network, outputs.__setitem__):
        learner.reference(batch)
    return outputs


@contextmanager
def listening(network: BlockNetwork, note: Callable[[str, Tensor], None]) -> Iterator[None]:
    """Inside, ``note`` is called with every output of every stage, by the stage's name, in the order of computation.

    Rules that settle or compete call a plain block's two halves by themselves, so the second one is listened to.
    """
    try:
        for name, stage in zip(network.names, network.stages, strict=True):
            method = "activate" if isinstance(stage, PlainBlock) else "forward"
            stage.__dict__[method] = _listened(stage, method, partial(note, name))
        yield
    finally:
        for stage in network.stages:
            for method in ("activate", "forward"):
                stage.__dict__.pop(method, None)


def _listened(stage: Block, method: str, note: Callable[[Tensor], None]) -> Callable[..., object]:
    original: Callable[..., object] = getattr(stage, method)

    def noted(*inputs: object, **named: object) -> object:
        given = original(*inputs, **named)
        output = given[0] if isinstance(given, tuple) else given
        assert isinstance(output, Tensor)
        note(output)
        return given

    return noted
