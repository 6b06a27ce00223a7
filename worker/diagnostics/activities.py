"""The outputs of a network's stages in one pass of the learner's own, whatever it feeds them."""

import torch
from torch import Tensor, nn

from learners.learner import Batch, Learner
from learners.networks.block_network import BlockNetwork


@torch.no_grad()
def stage_outputs(network: BlockNetwork, learner: Learner, batch: Batch) -> dict[str, Tensor]:
    """Output of each stage by name, in the pass of ``learner.reference``; stages that it leaves out are missing.

    The caller chooses the mode (train or eval) and, in train mode, opens ``network.passing``.
    """
    outputs: dict[str, Tensor] = {}
    hooks = []
    for name, stage in zip(network.names, network.stages, strict=True):

        def note(module: nn.Module, inputs: object, output: tuple[Tensor, object], name: str = name) -> None:
            del module, inputs
            outputs.setdefault(name, output[0])

        hooks.append(stage.register_forward_hook(note))
    try:
        learner.reference(batch)
    finally:
        for hook in hooks:
            hook.remove()
    return outputs
