"""Small trainings for tests: every network and learner of the menu on a few random rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import TypeAdapter
from torch import Tensor

from learners.build import Training, build, build_network, build_task
from learners.context import merged
from learners.learner import Batch, StepReport
from learners.networks.checkpointing import Checkpointing
from learners.streams import Streams
from specs.architecture import Architecture
from specs.compatibility import kind_of, refusals
from specs.learners import LEARNER_SPECS, LearnerSpec
from specs.networks import NETWORK_SPECS, NetworkSpec
from specs.optimizers import OptimizerSpec
from specs.rule import Rule
from specs.signature import DataSignature, TaskName

CLASSES = 3


def _said(fields: dict[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in fields.items())


def shape_for(network: Architecture) -> tuple[int, ...]:
    """Of one row that the network reads: [D], [C,H,W] or [T,I]."""
    return next(shape for shape in ((5,), (2, 8, 8), (4, 3)) if network.misfit(shape) is None)


NETWORKS: dict[str, dict[str, Any]] = {
    name: {"kind": kind_of(spec), **fields} for spec in NETWORK_SPECS for name, fields in spec.small.items()
}
LEARNERS: dict[str, dict[str, Any]] = {
    f"{kind_of(rule)} {_said(fields)}".strip(): {"kind": kind_of(rule), **fields}
    for rule in LEARNER_SPECS
    for fields in ({}, *rule.variants)
}


def network_spec(fields: dict[str, Any]) -> Architecture:
    made: Architecture = TypeAdapter(NetworkSpec).validate_python(fields)
    return made


def learner_spec(fields: dict[str, Any]) -> Rule:
    made: Rule = TypeAdapter(LearnerSpec).validate_python(fields)
    return made


def pairs() -> list[tuple[str, str]]:
    """Names of every learner and network that may train together; a variant meets one network of each layout."""
    return [
        (learner, network)
        for learner, rule in LEARNERS.items()
        for network in (fitting(rule) if learner == rule["kind"] else one_of_each_layout(fitting(rule)))
    ]


def fitting(rule: dict[str, Any]) -> list[str]:
    """Names of the networks that the rule trains."""
    return [name for name, fields in NETWORKS.items() if not refusals(learner_spec(rule), network_spec(fields))]


def one_of_each_layout(networks: list[str]) -> list[str]:
    """The first network with a hidden block that reads vectors, the first for images and the first for sequences."""
    first: dict[int, str] = {}
    for name in networks:
        network = network_spec(NETWORKS[name])
        if network.depth > 0:
            first.setdefault(len(shape_for(network)), name)
    return list(first.values())


@dataclass
class SmallJob:
    """A training on one random batch, stepped by hand as the loop does it."""

    training: Training
    batch: Batch
    step: int = 0

    def run(self, steps: int) -> list[StepReport]:
        self.training.train()
        return [self._one() for _ in range(steps)]

    def _one(self) -> StepReport:
        context, learner = self.training.context, self.training.learner
        context.begin(self.step)
        report = merged([(part.weight, learner.update(part, context)) for part in context.passes(self.batch)])
        context.finish()
        self.step += 1
        return report

    def gradients(self) -> dict[str, list[Tensor]]:
        """What the learner writes at this step, group by group; the step is not taken."""
        context, found = self.training.context, {}

        def read(groups: Sequence[Any], gradients: Sequence[Sequence[Tensor]]) -> bool:
            for group, own in zip(groups, gradients, strict=True):
                found[group.name] = [gradient.clone() for gradient in own]
            return False

        context.read = read
        self._one()
        context.read = None
        self.step -= 1
        return found

    def weights(self) -> dict[str, Tensor]:
        return {
            f"{group.name}.{index}": parameter.detach().clone()
            for group in self.training.groups
            for index, parameter in enumerate(group.parameters)
        }


def small_job(
    network: dict[str, Any],
    learner: dict[str, Any],
    *,
    seed: int = 0,
    rows: int = 8,
    task: TaskName = "classification",
    optimizer: dict[str, Any] | None = None,
    dtype: torch.dtype = torch.float64,
    micro_batch_size: int | None = None,
    checkpointing: Checkpointing = "none",
    rows_seed: int = 1,
) -> SmallJob:
    """``seed`` decides weights, masks and noise; ``rows_seed`` the rows."""
    architecture, rule = network_spec(network), learner_spec(learner)
    shape = shape_for(architecture)
    draw = torch.Generator().manual_seed(rows_seed)
    outputs = 2 if task == "regression" else CLASSES
    signature = DataSignature(task=task, input_shape=shape, outputs=outputs, has_dt=len(shape) == 2, rows_train=rows)
    x = torch.randn(rows, *shape, generator=draw, dtype=torch.float64).to(dtype)
    y = torch.randint(CLASSES, (rows,), generator=draw)
    if task == "regression":
        y = torch.randn(rows, outputs, generator=draw, dtype=torch.float64).to(dtype)
    dt = torch.rand(rows, shape[0], generator=draw, dtype=torch.float64).to(dtype) + 0.1 if len(shape) == 2 else None
    default = {"kind": "adam" if rule.optimizers is None else min(rule.optimizers), "lr": 0.01}
    streams = Streams(seed)
    built = build_network(
        architecture, signature, streams, learner=rule, dtype=dtype, activation_checkpointing=checkpointing
    )
    training = build(
        built,
        build_task(signature),
        rule,
        TypeAdapter(OptimizerSpec).validate_python(optimizer or default),
        streams,
        planned_steps=10,
        micro_batch_size=micro_batch_size,
    )
    return SmallJob(training, Batch.whole(x, y, dt))
