"""From specs to things that train: network, task, learner, optimizers and context."""

from dataclasses import dataclass

import torch
from torch import nn

from learners.context import TrainingContext
from learners.learner import Learner, ParameterGroup
from learners.networks.block_network import BlockNetwork
from learners.networks.block_network import DoesNotFit as DoesNotFit
from learners.networks.checkpointing import Checkpointing
from learners.networks.scope import Scope
from learners.optimizers import Optimizers
from learners.streams import Streams
from learners.task import Classification, Regression, Task
from specs.architecture import Architecture
from specs.kinds import implementation
from specs.optimizers import Update
from specs.rule import Rule
from specs.signature import DataSignature


@dataclass(frozen=True)
class Training:
    """Everything that one phase of a job trains with."""

    network: BlockNetwork
    task: Task
    learner: Learner
    own: nn.Module | None
    groups: tuple[ParameterGroup, ...]
    optimizers: Optimizers
    context: TrainingContext

    def train(self) -> None:
        """Puts the network and the learner's own modules into training mode."""
        self.network.train()
        if self.own is not None:
            self.own.train()

    def eval(self) -> None:
        """Puts the network and the learner's own modules into evaluation mode."""
        self.network.eval()
        if self.own is not None:
            self.own.eval()


def build_task(signature: DataSignature) -> Task:
    """The task of a data set."""
    if signature.task == "regression":
        return Regression(signature.outputs)
    return Classification(signature.outputs)


def build_network(
    spec: Architecture,
    signature: DataSignature,
    streams: Streams,
    *,
    learner: Rule | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    activation_checkpointing: Checkpointing = "none",
    every_k: int = 1,
) -> BlockNetwork:
    """A network for data of this signature, widened by the inputs that ``learner`` appends.

    Weights are drawn on the CPU in float32, so that all devices and dtypes start from the same numbers. Raises
    ``DoesNotFit`` when the network cannot read such data.
    """
    extra = 0 if learner is None else learner.extra_inputs(signature.task, signature.outputs)
    make = implementation(spec, "learners.networks")

    def rebuild() -> BlockNetwork:
        made: BlockNetwork = make(
            spec, input_shape=signature.input_shape, extra_inputs=extra, outputs=signature.outputs
        )
        return made

    misfit = spec.misfit(signature.input_shape)
    if misfit is not None:
        raise DoesNotFit(misfit)
    with streams.initialising("network"):
        network = rebuild()
    network.build_with(rebuild)
    network.to(device=device, dtype=dtype)
    network.attach(Scope(streams.child("masks")))
    network.checkpoint_activations(activation_checkpointing, every_k=every_k)
    return network


def build_learner(spec: Rule, network: BlockNetwork, task: Task, streams: Streams) -> tuple[Learner, nn.Module | None]:
    """The learner on its network, and its own tensors. Parameters that are in none of its groups are frozen."""
    learner: Learner = implementation(spec, "learners")(spec)
    own = learner.setup(network, task, streams.child("learner"))
    trained = {id(parameter) for group in learner.groups() for parameter in group.parameters}
    for parameter in network.parameters():
        parameter.requires_grad_(id(parameter) in trained)
    return learner, own


def build(
    network: BlockNetwork,
    task: Task,
    learner_spec: Rule,
    optimizer_spec: Update,
    streams: Streams,
    *,
    planned_steps: int | None,
    micro_batch_size: int | None = None,
) -> Training:
    """One phase: a learner set up on ``network``, its optimizers and its context."""
    learner, own = build_learner(learner_spec, network, task, streams)
    groups = tuple(learner.groups())
    optimizers = Optimizers(optimizer_spec, groups, commits=learner_spec.commits, planned_steps=planned_steps)
    context = TrainingContext(
        network,
        optimizers,
        streams.child("update"),
        whole_batch=learner_spec.whole_batch,
        micro_batch_size=micro_batch_size,
    )
    return Training(network, task, learner, own, groups, optimizers, context)
