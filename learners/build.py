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
from learners.padded import Padded
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

    rule: Rule
    update: Update
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
    network.extra_inputs = extra
    network.build_with(rebuild)
    network.to(device=device, dtype=dtype)
    network.attach(Scope(streams.child("masks")))
    network.checkpoint_activations(activation_checkpointing, every_k=every_k)
    return network


def learner_for(spec: Rule, network: BlockNetwork, task: Task) -> Learner:
    """The rule's learner, not set up. A network that was widened for another rule gets rows filled with zeros."""
    learner: Learner = implementation(spec, "learners")(spec)
    if spec.holds_rules:
        return learner  # it sees to each of its rules
    extra = network.extra_inputs - spec.extra_inputs("classification" if task.classes else "regression", task.outputs)
    return Padded(learner, extra) if extra else learner


def build_learner(spec: Rule, network: BlockNetwork, task: Task, streams: Streams) -> tuple[Learner, nn.Module | None]:
    """The learner on its network, and its own tensors. Parameters that are in none of its groups are frozen."""
    learner = learner_for(spec, network, task)
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
    before: Training | None = None,
) -> Training:
    """One phase: a learner set up on ``network``, its optimizers and its context.

    What ``before``, the phase that ends, kept for a group is taken over where the same kind of rule goes on with it.
    """
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
    made = Training(learner_spec, optimizer_spec, network, task, learner, own, groups, optimizers, context)
    if before is not None:
        _take_over(made, before)
    return made


def _take_over(made: Training, before: Training) -> None:
    """Own tensors and optimizer state of groups that the same kind of rule trained before, under the same name."""
    earlier = {group.name: group for group in before.groups}
    kept = set()
    for group in made.groups:
        old = earlier.get(group.name)
        if old is None or made.rule.trainer_of(group.name) != before.rule.trainer_of(group.name):
            continue
        if [p.shape for p in group.parameters] != [p.shape for p in old.parameters]:
            continue
        kept.add(group.name)
        with torch.no_grad():
            for new, was in zip(group.parameters, old.parameters, strict=True):
                if new is not was:
                    new.copy_(was)
    if made.rule == before.rule:
        made.learner.load_state_dict(before.learner.state_dict())
    if type(made.update) is type(before.update):
        states = before.optimizers.state_tensors()
        made.optimizers.load_state_tensors({key: t for key, t in states.items() if key.rsplit(".", 2)[0] in kept})
